"""What a person sees while a run goes on: one plain line a minute in a log, a bar on a terminal, nothing with -q."""

import io
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from batch.cli import console
from batch.cli.console import ProgressLine
from batch.cli.log import Log
from batch.execution.progress import Progress
from batch.pacing.forecast import Forecast

HALF = Progress(
    total=200, saved=97, failed=2, unknown=1, in_flight=12, spent=2_910_000, price=30_000, resumed=600_000
)
FIRST = Progress(total=200, saved=3, in_flight=12, price=30_000, expected=Forecast(110.0, 240.0))


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that is moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines():
    return []


@pytest.fixture
def log(lines):
    with closing(Log()) as log:
        log.configure()
        log.write = lines.append
        yield log


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_log_gets_one_line_a_minute_with_all_figures(clock, log, lines):
    with closing(ProgressLine("log", log)) as line:
        for _ in range(240):
            clock[0] += 0.5
            line.on_progress(HALF)
    assert lines == [
        "100/200 done, 2 failed, 1 unknown, 12 in flight, spent $2.91, at risk $0.39, saved $0.60, 100.0/min, 1 min left",
        "100/200 done, 2 failed, 1 unknown, 12 in flight, spent $2.91, at risk $0.39, saved $0.60, 50.0/min, 2 min left",
    ]


def test_the_cost_of_an_accepted_image_is_shown_once_one_is(clock, log, lines):
    """What was spent in the folder before counts too."""
    with closing(ProgressLine("log", log)) as line:
        clock[0] += 60
        line.on_progress(replace(HALF, accepted=50, spent_before=90_000))
    assert "spent $2.91, $0.06 an accepted image, at risk $0.39" in lines[0]


def test_until_eight_jobs_have_ended_the_time_left_is_what_the_plan_expects(clock, log, lines):
    with closing(ProgressLine("log", log)) as line:
        clock[0] += 60
        line.on_progress(FIRST)
    assert lines[0].endswith("1 min 50 s … 4 min 0 s in all")


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        (HALF, "2 failed, 1 unknown, 12 in flight, spent $2.91, at risk $0.39, saved $0.60"),
        (FIRST, "1 min 50 s … 4 min 0 s in all"),
    ],
    ids=["half way", "at first"],
)
def test_a_bar_shows_the_same_figures_with_rate_and_time_left(monkeypatch, log, moment, told):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with closing(ProgressLine("auto", log)) as line:
        line.on_progress(moment)
    seen = terminal.getvalue()
    assert f"{moment.ended}/200 [" in seen
    assert told in seen
    assert "image" in seen  # the rate's unit


def test_a_simulated_run_says_that_its_money_is_none(clock, log, lines):
    with closing(ProgressLine("log", log)) as line:
        clock[0] += 60
        line.on_progress(Progress(total=4, saved=2, spent=60_000, simulated=True))
    assert "spent $0.06 (simulated)" in lines[0]


@pytest.mark.parametrize("style", ["none", "bar", "log"])
def test_quiet_shows_nothing_of_it(monkeypatch, clock, log, lines, style):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log.configure("text", quiet=True, verbose=False)
    with closing(ProgressLine(style, log)) as line:
        clock[0] += 600
        line.on_progress(HALF)
    assert (lines, terminal.getvalue()) == ([], "")
