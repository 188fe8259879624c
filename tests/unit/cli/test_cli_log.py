"""The log: one event, told as a line for people or as JSON, with secrets masked in both."""

import json

import pytest

from batch.cli.log import Log
from batch.log import ERROR, INFO, WARNING, LogEvent
from batch.model import Problem

ACCEPTED = LogEvent(
    "job.accepted", INFO, {"id": "chair", "request_id": "r-1", "attempt": 1, "waited_s": None}
)
FAILED = LogEvent("job.failed", ERROR, {"id": "chair", "error": "no"})


@pytest.fixture
def log():
    log = Log()
    log.lines = []
    log.write = log.lines.append
    return log


def told(log):
    return [json.loads(line) for line in log.lines]


def test_text_and_json_are_of_one_event(log):
    log.tell(ACCEPTED)
    assert log.lines == ["job.accepted id=chair request_id=r-1 attempt=1"]
    log.lines.clear()
    log.configure("json", quiet=False, verbose=False)
    log.named("run-1")
    log.tell(ACCEPTED)
    (line,) = told(log)
    assert list(line) == ["ts", "level", "event", "run_id", "id", "request_id", "attempt"]
    assert line["ts"].endswith("Z")
    assert (line["event"], line["run_id"], line["attempt"]) == ("job.accepted", "run-1", 1)


@pytest.mark.parametrize(
    ("log_format", "quiet", "verbose", "expected"),
    [
        ("text", False, False, []),
        ("text", False, True, ["job.accepted", "job.failed"]),
        ("text", True, True, []),
        ("json", False, False, ["job.failed"]),
        ("json", False, True, ["job.accepted", "job.failed"]),
        ("json", True, True, ["job.failed"]),
    ],
)
def test_which_steps_of_a_job_are_told(log, log_format, quiet, verbose, expected):
    log.configure(log_format, quiet=quiet, verbose=verbose)
    log.step(ACCEPTED)
    log.step(FAILED)
    assert [name for line in log.lines for name in ("job.accepted", "job.failed") if name in line] == expected


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(log, log_format):
    log.configure(log_format, quiet=False, verbose=False)
    log.hide('SG_"quoted"', "http://me:word@proxy:3128", None, "", "x")
    fields = {"error": 'key SG_"quoted" refused', "deep": [{"proxy": "http://me:word@proxy:3128"}], "x": "x"}
    log.tell(LogEvent("run.warning", WARNING, fields))
    assert "SG_" not in log.lines[0]
    assert "word" not in log.lines[0]
    assert log.lines[0].count("***") == 2


def test_a_line_of_json_is_one_line(log):
    log.configure("json", quiet=False, verbose=False)
    log.say("two\nlines\u2028three", id="Stühle")
    assert len(log.lines[0].splitlines()) == 1 or "\\n" in log.lines[0]
    assert "\n" not in log.lines[0]
    assert told(log)[0]["message"] == "two\nlines\u2028three"


def test_problems_of_a_manifest_are_events_with_their_place(log):
    log.configure("json", quiet=False, verbose=False)
    log.problems([Problem("p.csv", 3, "seed", "no number", "Give one.", warning=True)])
    assert told(log)[0] | {"ts": ""} == {
        "ts": "", "level": "warning", "event": "manifest.problem", "file": "p.csv", "row": 3, "column": "seed",
        "reason": "no number", "remedy": "Give one.",
    }  # fmt: skip


def test_a_log_says_what_it_is(log):
    assert repr(log) == "<Log text>"
    log.configure("json", quiet=True, verbose=True)
    assert repr(log) == "<Log json, quiet>"
