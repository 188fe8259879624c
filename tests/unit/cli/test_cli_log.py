"""The log: one event, told as a line for people or as JSON, with secrets masked in both."""

import json
import logging
from contextlib import closing

import pytest

from batch.cli.log import Log, info, problems
from batch.core.log_event import ERROR, INFO, JOB_LOGGER, LOGGER, WARNING, LogEvent
from batch.core.models import Problem

ACCEPTED = LogEvent(
    "job.accepted", INFO, {"id": "chair", "request_id": "r-1", "attempt": 1, "waited_s": None}
)
FAILED = LogEvent("job.failed", ERROR, {"id": "chair", "error": "no"})


@pytest.fixture
def log():
    with closing(Log()) as log:
        log.configure()
        log.lines = []
        log.write = log.lines.append
        yield log


def told(log):
    return [json.loads(line) for line in log.lines]


def test_text_and_json_are_of_one_event(log):
    log.configure(verbose=True)
    ACCEPTED.log()
    assert log.lines == ["job.accepted id=chair request_id=r-1 attempt=1"]
    log.lines.clear()
    log.configure("json", quiet=False, verbose=True)
    log.run_id = "run-1"
    ACCEPTED.log()
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
    ACCEPTED.log()
    FAILED.log()
    assert [name for line in log.lines for name in ("job.accepted", "job.failed") if name in line] == expected


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(log, log_format):
    log.configure(log_format, quiet=False, verbose=False)
    log.mask('SG_"quoted"', "http://me:word@proxy:3128", None, "", "x")
    fields = {"error": 'key SG_"quoted" refused', "deep": [{"proxy": "http://me:word@proxy:3128"}], "x": "x"}
    LogEvent("run.warning", WARNING, fields).log()
    assert "SG_" not in log.lines[0]
    assert "word" not in log.lines[0]
    assert log.lines[0].count("***") == 2


KEY = 'SG_5ec/"4e7'


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "quoted",
    [
        pytest.param(json.dumps(KEY), id="as JSON"),
        pytest.param("".join(f"\\u{ord(c):04x}" for c in KEY), id="every character escaped"),
        pytest.param("".join(f"\\u{ord(c):04X}" for c in KEY), id="in capitals"),
        pytest.param("".join(f"\\\\u{ord(c):04x}" for c in KEY), id="escaped twice"),
        pytest.param(r"\u0053\u0047_5ec\/\"4\u00657", id="some of them"),
        pytest.param("".join(f"\\x{ord(c):02x}" for c in KEY), id="as Python does"),
        pytest.param("SG_5ec%2F%224e7", id="as in a URL"),
        pytest.param("SG_5ec/&#34;4&#x65;7", id="as in HTML"),
    ],
)
def test_a_secret_is_found_however_it_is_escaped(log, log_format, quoted):
    log.configure(log_format, quiet=False, verbose=False)
    log.mask(KEY)
    LogEvent("run.warning", WARNING, {"error": f"the key {quoted} is refused"}).log()
    info(f"Stopped: {quoted}")
    for line in log.lines:
        assert "***" in line
        for part in (quoted, "4e7", "0053", "x53"):
            assert part not in line


@pytest.mark.parametrize("secret", ["key", "a+b", "SG_12"])
def test_a_short_secret_is_masked_where_it_stands_alone(log, secret):
    log.mask(secret)
    info(f"{secret} refused: '{secret}', ({secret}) but not mon{secret} or {secret}board")
    assert log.lines == [f"*** refused: '***', (***) but not mon{secret} or {secret}board"]


def test_control_characters_are_shown_in_text_and_forge_no_line(log):
    log.configure(verbose=True)
    LogEvent("job.failed", ERROR, {"id": "a\tb", "error": "no\njob.saved id=b\x1b[2J\x9b\u202e"}).log()
    info("Stopped: no\r\njob.saved id=b")
    problems([Problem("p\x1b.csv", 3, "seed", "no\nnumber", "Give one.")])
    assert log.lines == [
        r"job.failed id=a\tb error=no\njob.saved id=b\x1b[2J\x9b\u202e",
        r"Stopped: no\r\njob.saved id=b",
        r"p\x1b.csv:3:seed: no\nnumber Give one.",
    ]


def test_json_holds_what_was_said_and_no_control_character(log):
    log.configure("json", quiet=False, verbose=False)
    said = "no\n\x1b[2J\x7f\x9b\u202e\u2066 Stühle"
    info(said)
    assert log.lines[0].isprintable()
    assert told(log)[0]["message"] == said


def test_lines_of_our_own_stay_lines(log):
    LogEvent("command.refused", ERROR, {"message": "x"}).log("first\nsecond\x1b")
    assert log.lines == ["first\nsecond\\x1b"]


def test_a_line_of_json_is_one_line(log):
    log.configure("json", quiet=False, verbose=False)
    info("two\nlines\u2028three", id="Stühle")
    assert len(log.lines[0].splitlines()) == 1 or "\\n" in log.lines[0]
    assert "\n" not in log.lines[0]
    assert told(log)[0]["message"] == "two\nlines\u2028three"


def test_problems_of_a_manifest_are_events_with_their_place(log):
    log.configure("json", quiet=False, verbose=False)
    problems([Problem("p.csv", 3, "seed", "no number", "Give one.", warning=True)])
    assert told(log)[0] | {"ts": ""} == {
        "ts": "", "level": "warning", "event": "manifest.problem", "file": "p.csv", "row": 3, "column": "seed",
        "reason": "no number", "remedy": "Give one.",
    }  # fmt: skip


def test_a_log_says_what_it_is(log):
    assert repr(log) == "<Log text>"
    log.configure("json", quiet=True, verbose=True)
    assert repr(log) == "<Log json, quiet>"


def test_a_library_user_gets_the_events_from_the_standard_logger(caplog):
    """With the name and the fields on the record; events of jobs come from a child of the logger."""
    with caplog.at_level(logging.INFO, logger="texbatch"):
        ACCEPTED.log()
        info("The disk is slow.", "run.warning", WARNING)
    accepted, warned = caplog.records
    assert (accepted.name, accepted.event, accepted.fields["request_id"]) == (
        "texbatch.job",
        "job.accepted",
        "r-1",
    )
    assert (warned.name, warned.levelno, warned.getMessage()) == (
        "texbatch",
        logging.WARNING,
        "The disk is slow.",
    )


def test_a_plain_record_of_the_logger_becomes_a_note(log):
    log.configure("json")
    logging.getLogger("texbatch.engine").warning("The disk of %s is slow.", "a")
    (line,) = told(log)
    assert (line["event"], line["level"], line["message"]) == (
        "run.note",
        "warning",
        "The disk of a is slow.",
    )


def test_a_library_that_nobody_configured_prints_nothing(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    FAILED.log()
    assert capfd.readouterr() == ("", "")


def test_the_handler_leaves_the_logger_as_it_found_it():
    handlers = list(LOGGER.handlers)
    with closing(Log()) as log:
        log.configure("json", verbose=True)
        assert LOGGER.handlers == [*handlers, log]
    assert (LOGGER.handlers, LOGGER.propagate) == (handlers, True)
    assert (LOGGER.level, JOB_LOGGER.level) == (logging.NOTSET, logging.NOTSET)
