"""`status --watch`: what it shows of a run, where, and when it ends."""

import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from unicodedata import east_asian_width

import pytest
import support

from batch.cli import status_screen
from batch.cli.status_screen import GONE_S, watch
from batch.ledger.states import State
from batch.output.folder import OutputFolder

STARTED = 1_800_000_000.0
ENDS = "UPDATE runs SET ended_at=?, exit_code=?"


@pytest.fixture
def running(book, payload, clock):
    """A run that began a minute ago in the folder of `book`, by this process: one image saved, one job failed."""
    book.adopt(*(payload(name, prompt=name) for name in ("a", "b", "c", "d", "e")))
    clock.now = STARTED + 60
    with book.ledger.atomic() as connection:
        connection.execute(
            "INSERT INTO runs (run_id, pid, started_at) VALUES ('run-1', ?, ?)", (os.getpid(), STARTED)
        )
    book.bring("a", State.SAVED, sha256="aa")
    book.keep("a")
    book.bring("b", State.ACCEPTED)
    book.bring("c", State.FAILED, error_class="job_failed", error="blocked \x1b[31mword\n" + "very " * 30)
    return book


@pytest.fixture
def shown(running, capsys, monkeypatch, clock):
    """Watch with the folder's clock; `meanwhile` are called in turn, each in the place of a second's sleep."""

    def look(*meanwhile):
        steps = list(meanwhile)
        monkeypatch.setattr(status_screen.time, "sleep", lambda _: steps.pop(0)())
        read = status_screen.Ledger.read
        monkeypatch.setattr(status_screen.Ledger, "read", lambda path: read(path, clock=clock))
        watch(OutputFolder(running.ledger.path.parent))
        assert not steps
        return capsys.readouterr().out

    return look


@pytest.fixture
def shown_of(capsys, monkeypatch, clock):
    """Watch a folder, every block of it shown; `meanwhile` as in `shown`."""

    def look(folder, *meanwhile):
        steps = list(meanwhile)
        monkeypatch.setattr(status_screen.time, "sleep", lambda _: steps.pop(0)())
        monkeypatch.setattr(status_screen, "PLAIN_EVERY_S", 0.0)
        read = status_screen.Ledger.read
        monkeypatch.setattr(status_screen.Ledger, "read", lambda path: read(path, clock=clock))
        watch(folder)
        assert not steps
        return capsys.readouterr().out

    return look


def end(book, code=1):
    def ended():
        with book.ledger.atomic() as connection:
            connection.execute(ENDS, (book.clock(), code))

    return ended


def interrupt():
    raise KeyboardInterrupt


def test_rows_pace_money_and_errors_are_shown(running, shown):
    told = shown(interrupt)
    assert f"running for 1 min 0 s (pid {os.getpid()})" in told
    assert "1 of 5 saved (20%)" in told
    assert "rows   pending 3   failed 1" in told
    assert "jobs   planned 2   sending 0   accepted 1   completed 0" in told
    assert "1.0 images a minute   3 left, about 3 min 0 s" in told
    assert "$0.03 spent   $0.03 paid or perhaps paid, no image yet" in told
    assert re.search(r"last errors\n  \d\d:\d\d:\d\d  c  failed: blocked", told)


def test_every_line_fits_into_80_columns_and_controls_nothing(running, shown):
    running.bring("d", State.UNKNOWN, error_class="no_answer", error="椅子" * 60)
    told = shown(interrupt)
    lines = told.splitlines()
    assert max(sum(2 if east_asian_width(c) in "WF" else 1 for c in line) for line in lines) < 80
    assert "\x1b" not in told
    assert "椅子" in told


def test_it_ends_with_the_run_and_tells_its_exit_code(running, shown):
    assert "ended after 1 min 0 s with exit code 1" in shown(end(running))


def test_a_run_that_was_killed_is_told_as_such(running, shown, clock):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with running.ledger.atomic() as connection:
        connection.execute("UPDATE runs SET pid=?", (gone.pid,))

    def pass_time():
        clock.now += GONE_S + 1

    assert f"the run was killed (no process {gone.pid})" in shown(pass_time)


def test_blocks_of_a_log_do_not_come_every_second(running, shown):
    told = shown(lambda: None, lambda: None, lambda: None, end(running))
    assert told.count("of 5 saved") == 2


def test_a_folder_that_never_ran(book, payload, capsys):
    book.adopt(payload("a"))
    watch(OutputFolder(book.ledger.path.parent))
    assert "never run" in capsys.readouterr().out


def test_watch_is_for_people(command, running):
    code, _, why = command("status", running.ledger.path.parent, "--watch", "--json")
    assert code == 2
    assert "give one of them" in why


def test_a_terminal_sees_one_screen_updated_until_the_run_ends(running, tmp_path):
    """On a real terminal of 80 columns, beside a run that goes on."""
    now = time.time()
    with running.ledger.atomic() as connection:
        connection.execute("UPDATE runs SET started_at=?", (now - 5,))
    env = os.environ | {"TERM": "xterm"}
    with support.on_a_terminal("status", tmp_path, "--watch", env=env, size=(24, 80)) as (process, terminal):
        seen = support.seen_on(terminal, lambda text: text.count("of 5 saved") >= 2)
        with running.ledger.atomic() as connection:
            connection.execute(ENDS, (now, 7))
        seen += support.seen_on(terminal)
        assert process.wait(20) == 0
    first, *others = re.split(r"\x1b\[(\d+)F\x1b\[J", seen)
    drawn = first.count("\n")
    assert others[::2] == [str(drawn)] * len(
        others[::2]
    )  # each one goes back to the first line of the one before
    assert len(others) >= 4
    assert "exit code 7" in others[-1]
    assert support.without_controls(others[-1].replace("\r", ""))
    assert max(map(len, re.sub(r"\x1b\[\d*[FJ]", "", seen).splitlines())) <= 80


def test_a_folder_that_a_run_holds_is_waited_for_though_its_line_is_not_there_yet(book, payload, shown_of):
    """It reads its manifest; then it begins, ends, writes its reports, and only then lets go."""
    folder = OutputFolder(book.ledger.path.parent)
    book.adopt(payload("a"))
    run = ExitStack()
    run.enter_context(folder.hold())

    def begin():
        with book.ledger.atomic() as connection:
            connection.execute(
                "INSERT INTO runs (run_id, pid, started_at) VALUES ('run-1', ?, ?)", (os.getpid(), STARTED)
            )

    told = shown_of(folder, lambda: None, begin, end(book, 0), run.close)
    titles = [block.splitlines()[1:3] for block in told.strip().split("\n\n") if "of 1 saved" in block]
    assert titles[0] == [
        "never run",
        "held by a run that reads its manifest or writes its reports, or by resolve",
    ]
    assert titles[-1][0].startswith("ended after")
    assert not titles[-1][1].startswith("held")


def test_an_earlier_runs_end_is_not_the_end_while_the_next_one_begins(running, shown_of):
    folder = OutputFolder(running.ledger.path.parent)
    end(running)()
    run = ExitStack()
    run.enter_context(folder.hold())
    assert "ended after 1 min 0 s with exit code 1\nheld by a run" in shown_of(
        folder, lambda: None, run.close
    )


def test_the_real_command_waits_for_the_lock(book, payload):
    """Beside a process that holds the folder, without a line in the ledger."""
    folder = OutputFolder(book.ledger.path.parent)
    book.adopt(payload("a"))
    with ExitStack() as run:
        run.enter_context(folder.hold())
        with support.Command("status", folder.path, "--watch", env=os.environ) as watched:
            assert watched.hears("held by a run")
            assert watched.running
            run.close()
            assert watched.end() == 0
    assert "never run" in watched.output
