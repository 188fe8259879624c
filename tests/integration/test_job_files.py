"""The job files in jobs/: taken by the real command, and what a night of each does."""

import re
from pathlib import Path

import pytest
import yaml
from support import rows, write_csv

from batch.cli.commands import texbatch

JOBS = Path(__file__).parents[2] / "jobs"
PARSED = {
    path.name: yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # all text: a key `yes` stays one
    for path in sorted(JOBS.glob("*.yaml"))
}
JOB_FILES = [name for name, content in PARSED.items() if "manifest" in content]


def test_the_three_job_files_are_there():
    assert JOB_FILES == ["catalog.yaml", "nightly.yaml", "retry.yaml"]


@pytest.mark.parametrize("name", JOB_FILES)
def test_a_job_file_is_taken_by_the_command(command, tmp_path, name, monkeypatch):
    """Checked as a run checks it, with the samples it names, up to the plan."""
    monkeypatch.setenv("CATALOG_OUT", str(tmp_path / "out"))
    code, told, why = command("run", JOBS / name, "--dry-run", "--local")
    assert (code, why) == (0, "")
    assert told.startswith("42 rows:")


@pytest.mark.parametrize("name", JOB_FILES)
def test_a_job_file_holds_options_of_run_and_no_secret(name):
    options = {option for param in texbatch.commands["run"].params for option in param.opts}
    given = {f"--{key}" for key in PARSED[name] if key != "manifest"}
    assert given <= options
    assert not re.search(
        r"(?i)_KEY\}|_TOKEN|_SECRET|SG_",
        (JOBS / name).read_text(encoding="utf-8").replace("SEGMIND_API_KEY", ""),
    )


def test_the_nightly_job_has_its_caps_and_is_quiet():
    nightly = PARSED["nightly.yaml"]
    assert {"max-cost", "max-duration", "max-failures", "grace"} <= set(nightly)
    assert nightly["quiet"] == nightly["yes"] == "true"
    assert nightly["invalid"] == PARSED["retry.yaml"]["invalid"] == "skip"
    assert "retry-failed" not in nightly
    assert PARSED["retry.yaml"]["retry-failed"] == "true"


@pytest.fixture
def machine(hosted, installed, monkeypatch):
    """This process as the machine that the jobs are installed on, with the key of a hosted service."""
    monkeypatch.setenv("CATALOG", str(installed / "pairs.csv"))
    monkeypatch.setenv("CATALOG_OUT", str(installed / "out" / "nightly"))
    monkeypatch.chdir("/")
    return hosted


def test_the_nightly_job_sends_only_what_is_new_or_changed(machine, command, installed):
    """Three nights: all of it, nothing, then one changed and one new row."""
    accepted = []
    for edit in ({}, {}, {1: "marble", 3: "granite"}):
        lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(4 if edit else 3)]
        for number, prompt in edit.items():
            lines[number]["prompt"] = prompt
        write_csv(installed / "pairs.csv", lines)
        assert command("run", installed / "jobs" / "nightly.yaml") == (0, "", "")
        accepted.append(machine.stats(jobs=False)["accepted"])
    assert accepted == [3, 3, 5]


def test_the_retry_job_sends_what_failed_that_night(machine, command, installed):
    machine.settings(blocked_words=["oak 1"])
    code, told, _ = command("run", installed / "jobs" / "nightly.yaml")
    assert code == 1
    assert "1 failed" in told
    machine.settings(blocked_words=[])
    assert command("run", installed / "jobs" / "retry.yaml") == (0, "", "")
    assert machine.stats(jobs=False)["accepted"] == 4  # three, and one of them again
