"""The page of the local API: every example runs, and its tables are the code's."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex

import click
import httpx
import pytest
import yaml
from local_helpers import SUBMIT, body, get

from batch.cli.commands import texbatch
from batch.cli.serve_command import server_settings
from batch.server import LocalApi, LocalSettings, SettingsError, read_settings
from batch.server.settings import FIXED
from batch.server.simulation.faults import ACTIONS, Fault
from batch.server.simulation.responses import VENDOR
from batch.server.simulation.stats import CALLS
from batch.server.subprocesses import ROOT

PAGE = (ROOT / "batch/server/README.md").read_text(encoding="utf-8")

GROUP = click.Context(texbatch, **texbatch.context_settings)
"""What a command is a part of: click keeps the help option that it makes first."""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def table(title):
    """The cells of the first table after a heading or text, without its two head lines."""
    lines = PAGE.split(title, 1)[1].split("\n| ", 1)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_the_settings_table_is_the_settings():
    """Same names in the same order, same defaults, the same mark at those that are read at start only."""
    rows = table("## Settings")
    fields = dataclasses.fields(LocalSettings)
    assert [name.strip("`") for name, *_ in rows] == [item.name for item in fields]
    defaults = LocalSettings()
    for (_, default, meaning), item in zip(rows, fields, strict=True):
        assert json.loads(default.strip("`")) == json.loads(json.dumps(getattr(defaults, item.name)))
        assert meaning.startswith("*start*") == (item.name in FIXED), item.name


def test_the_fault_tables_are_the_fault_format():
    fields = [name for first, _ in table("## Script an outage") for name in re.findall(r"`(\w+)`", first)]
    assert sorted(fields) == sorted(Fault.model_fields)
    actions = [(name.strip("`"), handled == "yes") for name, _, handled in table("| `size_bytes`")]
    assert actions == list(ACTIONS.items())
    for name in (*CALLS, *VENDOR, "rate_limit"):
        assert f"`{name}`" in PAGE


def test_the_commands_are_accepted(tmp_path, monkeypatch):
    outage, hosted = blocks("yaml")[1], blocks("yaml")[0]
    (tmp_path / "outage.yaml").write_text(outage)
    (tmp_path / "hosted.yaml").write_text(hosted)
    monkeypatch.chdir(tmp_path)
    found = []
    for line in "".join(blocks("sh")).splitlines():
        command = texbatch.commands["serve"]
        with command.make_context("serve", shlex.split(line)[2:], parent=GROUP) as ctx:
            found.append(server_settings(ctx.params))
    plain, placeholder, faulty, like_hosted = found
    assert (plain.port, plain.engine) == (8787, "cpu")
    assert (placeholder.latency, placeholder.latency_s, placeholder.rate_limit, placeholder.balance_usd) == (
        "fixed",
        2.0,
        50,
        5.0,
    )
    assert (faulty.faults_file, faulty.seed) == ("outage.yaml", 7)
    assert (like_hosted.latency, like_hosted.cold_start_s, like_hosted.port) == ("lognormal", 120, 8787)


def test_the_test_of_the_page_passes():
    spread = {}
    exec(blocks("python")[0], spread)
    with LocalApi(engine="placeholder") as api:
        spread["test_my_integration"](api)


def test_the_context_manager_of_the_page_runs(capsys):
    exec(blocks("python")[1], {})
    assert "http://127.0.0.1:" in capsys.readouterr().out


def test_the_outage_of_the_page_happens(start, tmp_path):
    """Every fault of the example is met by a client that goes through it; its delay is cut to a tenth."""
    path = tmp_path / "outage.yaml"
    path.write_text(blocks("yaml")[1].replace("after_s: 2,", "after_s: 0.2,"))
    api, client = start(faults_file=str(path), seed=7)
    told = []
    for prompt in ("chair", "sofa 2", "sofa 3", "chair 4", "chair 5", "chair 6", "chair 7", "chair 8"):
        try:
            told.append(client.post(SUBMIT, json=body(prompt)))
        except httpx.TransportError:
            told.append(None)
    assert [answer and answer.status_code for answer in told] == [200, None, 200, 504, 200, 429, 429, 200]
    assert api.stats()["accepted_by_prompt"].keys() == {
        *("chair", "sofa 2", "sofa 3", "chair 4", "chair 5", "chair 8")
    }
    request_id = told[2].json()["request_id"]
    polls = [client.status(request_id).status_code for _ in range(40)]
    assert 1 <= polls.count(503) < 25
    result = client.result(request_id)
    assert result.elapsed.total_seconds() >= 0.2
    with pytest.raises(httpx.RemoteProtocolError):
        get(result.json()["output"])
    assert get(result.json()["output"]).status_code == 200
    hits = api.stats()["fault_hits"]
    assert {(hit["call"], hit["action"]) for hit in hits} == {
        (fault["call"], fault["action"]) for fault in yaml.safe_load(path.read_text())
    }


def test_a_settings_file_names_its_faults_file_from_where_it_lies(tmp_path):
    (tmp_path / "s.yaml").write_text("faults_file: f.yaml\nport: 1\nseed: 4\n")
    settings = read_settings(tmp_path / "s.yaml", {"port": 8787}, {"seed": 5})
    assert (settings.faults_file, settings.port, settings.seed) == (str(tmp_path / "f.yaml"), 1, 5)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"- 1", "not a list of settings"),
        (b"{", "not YAML"),
        (b"\xff", "not UTF-8"),
        (b"prot: 1", "prot: no such setting. Did you mean port?"),
        (b"engine: fast", "engine: 'fast' is not a known engine"),
        (None, "cannot be read"),
    ],
)
def test_a_settings_file_that_cannot_be_used_says_why(tmp_path, text, problem):
    path = tmp_path / "s.yaml"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(SettingsError) as caught:
        read_settings(path, {}, {})
    assert problem in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--faults", "missing.yaml"], "missing.yaml"),
        (["--faults", "f.yaml"], "faults[0].call"),
        (["--settings", "s.yaml"], "prot: no such setting"),
        (["--engine", "fast"], "fast"),
        (["--rate", "0"], "--rate"),
    ],
)
def test_serve_refuses_what_makes_no_sense_before_it_serves(command, tmp_path, monkeypatch, given, problem):
    (tmp_path / "f.yaml").write_text("- {call: submt, action: empty}")
    (tmp_path / "s.yaml").write_text("prot: 1")
    monkeypatch.chdir(tmp_path)
    code, _, err = command("serve", *given)
    assert code == 2
    assert problem in err


def test_serve_takes_an_engine_by_its_former_name_with_a_warning(tmp_path, capsys):
    """On the command line and in a settings file."""
    (tmp_path / "s.yaml").write_text("engine: drape")
    for given, engine in (
        (["--engine", "card"], "placeholder"),
        (["--settings", str(tmp_path / "s.yaml")], "cpu"),
    ):
        with texbatch.commands["serve"].make_context("serve", given, parent=GROUP) as ctx:
            assert server_settings(ctx.params).engine == engine
        assert f"is now '{engine}'" in capsys.readouterr().err


def test_every_option_delivers():
    """Each option of `serve` changes a setting, and none is forgotten."""
    given = {
        "--port": ("0", {"port": 0}),
        "--api-key": ("SG_x", {"api_key": "SG_x"}),
        "--engine": ("placeholder", {"engine": "placeholder"}),
        "--latency": ("1m", {"latency": "fixed", "latency_s": 60.0}),
        "--workers": ("3", {"workers": 3}),
        "--rate": ("5", {"rate_limit": 5, "rate_window_s": 60.0}),
        "--balance": ("0.5", {"balance_usd": 0.5}),
        "--seed": ("9", {"seed": 9}),
    }
    serve = texbatch.commands["serve"]
    declared = {opt for param in serve.params if isinstance(param, click.Option) for opt in param.opts}
    assert declared == {*given, "--faults", "--settings"}
    for option, (text, expected) in given.items():
        with serve.make_context("serve", [option, text], parent=GROUP) as ctx:
            settings = server_settings(ctx.params)
        wanted = dataclasses.replace(LocalSettings(port=8787), **expected)
        assert settings == wanted, option
