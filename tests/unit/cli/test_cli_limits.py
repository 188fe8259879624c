"""What bounds a run is never lifted by an empty value or a price of nothing; ids may hold commas."""

from __future__ import annotations

import pytest
from support import rows, submits, write_csv

from batch import RunSettings, UsageError

BOUNDS = ("only", "max-cost", "price", "max-failures", "max-duration", "pilot")


@pytest.fixture
def pairs(tmp_path):
    lines = rows(3)
    lines[0]["id"] = "Chair, oak"
    return write_csv(tmp_path / "pairs.csv", lines)


@pytest.fixture
def job(tmp_path, pairs):
    def write(line: str):
        (tmp_path / "job.yaml").write_text(f"manifest: pairs.csv\nout: out\nyes: true\n{line}\n")
        return tmp_path / "job.yaml"

    return write


@pytest.mark.parametrize("empty", ["", " ", ","])
@pytest.mark.parametrize("command_line", [["run"], ["run", "--dry-run"], ["plan"]])
def test_an_empty_selection_is_an_error_and_not_everything(
    hosted, command, pairs, tmp_path, empty, command_line
):
    code, _, why = command(*command_line, pairs, "--out", tmp_path / "out", "--only", empty)
    assert (code, submits(hosted)) == (2, 0)
    assert "--only" in why


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("empty", ["", "  "])
def test_a_bound_given_empty_is_an_error(hosted, command, pairs, tmp_path, monkeypatch, name, empty):
    """On the command line and in the environment, where for other options an empty variable is none."""
    code, _, why = command("run", pairs, "--out", tmp_path / "out", f"--{name}", empty)
    assert (code, submits(hosted)) == (2, 0)
    assert f"--{name}" in why
    monkeypatch.setenv("TEXBATCH_" + name.upper().replace("-", "_"), empty)
    code, _, why = command("run", pairs, "--out", tmp_path / "out")
    assert (code, submits(hosted)) == (2, 0)
    assert "is empty" in why


@pytest.mark.quick(12)
@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize(
    "value", ["", '""', "' '", "~", "[]", "${UNSET_HERE:-}", "${EMPTY_HERE}", '"${EMPTY_HERE}"']
)
def test_a_bound_that_is_empty_in_a_job_file_is_an_error(hosted, command, job, monkeypatch, name, value):
    monkeypatch.setenv("EMPTY_HERE", "")
    code, _, why = command("run", job(f"{name}: {value}"))
    assert (code, submits(hosted)) == (2, 0)
    assert "job.yaml" in why
    assert "empty" in why or "names no row" in why


@pytest.mark.parametrize(
    "option", ["--out", "--name", "--encoding", "--prompt", "--api-key-file", "--metrics-file"]
)
def test_no_option_is_given_empty_on_the_command_line(hosted, command, pairs, tmp_path, monkeypatch, option):
    """Where a shell's variable was meant. An empty --out would be the current folder."""
    monkeypatch.chdir(tmp_path)
    code, _, why = command("run", pairs, "--out", "out", option, "")
    assert (code, submits(hosted)) == (2, 0)
    assert f"'{option}': is empty." in why


def test_an_empty_variable_of_another_option_is_none(hosted, command, pairs, tmp_path, monkeypatch):
    for name in ("NAME", "PROMPT", "CONCURRENCY", "YES", "RATE"):
        monkeypatch.setenv(f"TEXBATCH_{name}", "")
    assert command("run", pairs, "--out", tmp_path / "out")[0] == 0


@pytest.mark.parametrize("price", ["0", "0.0", "$0", "0.0000001", "-0.03", "-0", "NaN", "inf", "1e-9"])
@pytest.mark.parametrize("place", ["command line", "environment", "job file"])
def test_a_price_is_positive(hosted, command, pairs, job, tmp_path, monkeypatch, price, place):
    """With a price of nothing --max-cost would bound nothing."""
    args = ["run", pairs, "--out", tmp_path / "out", "--max-cost", "0.05"]
    if place == "command line":
        args += [f"--price={price}"]
    elif place == "environment":
        monkeypatch.setenv("TEXBATCH_PRICE", price)
    else:
        args = ["run", job(f"max-cost: 0.05\nprice: {price}")]
    code, _, why = command(*args)
    assert (code, submits(hosted)) == (2, 0)
    assert "price" in why


def test_the_settings_of_a_run_take_no_price_of_nothing(tmp_path):
    with pytest.raises(UsageError, match="--price"):
        RunSettings(tmp_path, price=0)


@pytest.mark.parametrize(
    "limit",
    [{"max_failures": 0}, {"max_failures": -1}, {"max_failure_share": 0.0}, {"max_failure_share": 1.5}],
)
def test_a_limit_of_failures_that_bounds_nothing_is_refused(tmp_path, limit):
    with pytest.raises(UsageError, match=r"--max-failures: .* is out of range"):
        RunSettings(tmp_path, **limit)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ('"Chair, oak"', {"Chair, oak"}), ('"Chair, oak",row-1', {"Chair, oak", "row-1"}), ('row-1 , "Chair, oak"', {"Chair, oak", "row-1"}),
        ("row-1\nrow-2\n", {"row-1", "row-2"}), ("row-1,", {"row-1"}),
    ],
)  # fmt: skip
def test_an_id_with_a_comma_is_named_in_quotes(hosted, command, pairs, tmp_path, monkeypatch, asked, sent):
    assert command("run", pairs, "--out", tmp_path / "out", "--only", asked)[0] == 0
    assert submits(hosted) == len(sent)
    monkeypatch.setenv("TEXBATCH_ONLY", asked)
    assert command("run", pairs, "--out", tmp_path / "out2")[0] == 0
    assert submits(hosted) == 2 * len(sent)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "value", ["[Chair\\, oak]", '["Chair, oak"]', "'\"Chair, oak\"'", '\n  - "Chair, oak"']
)
def test_a_list_in_a_job_file_keeps_its_ids_whole(hosted, command, job, tmp_path, value):
    if "\\" in value:
        assert (
            command("run", job(f"only: {value}"))[0] == 2
        )  # YAML knows no such escape: two ids, neither there
        return
    assert command("run", job(f"only: {value}"))[0] == 0
    assert submits(hosted) == 1


@pytest.mark.parametrize("asked", ['"Chair, oak', '"row-1"x'])
def test_a_selection_that_cannot_be_read_is_an_error(hosted, command, pairs, tmp_path, asked):
    code, _, why = command("run", pairs, "--out", tmp_path / "out", "--only", asked)
    assert (code, submits(hosted)) == (2, 0)
    assert "double quotes" in why


@pytest.mark.parametrize("option", ["--only", "--name", "--prompt", "--encoding"])
def test_bytes_that_are_not_utf8_are_refused(hosted, command, pairs, tmp_path, option):
    code, _, why = command("run", pairs, "--out", tmp_path / "out", option, "\udce9")
    assert (code, submits(hosted)) == (2, 0)
    assert "not valid UTF-8" in why


def test_words_that_a_job_file_cuts_are_told(hosted, command, job):
    code, _, told = command("run", job("prompt: Apply swatch #7 (oak)\nretries: 2  # gently"))
    assert (code, submits(hosted)) == (0, 3)
    assert "job.yaml:4:prompt: warning: ends before '#7 (oak)'" in told
    assert "gently" not in told
