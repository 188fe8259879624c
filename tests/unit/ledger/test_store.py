"""The ledger file: opened, bound, refused; and what one move writes."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from batch.errors import FolderError, IllegalMove
from batch.ledger import opening
from batch.ledger.opening import MIGRATIONS
from batch.ledger.states import Event, State
from batch.ledger.store import Ledger

REAL, OTHER, LOCAL = "h with key 1", "h with key 2", "local"


def test_a_new_file_is_bound_and_opened_again_by_the_same_service(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger.create_or_open(path, service=REAL).close()
    with Ledger.create_or_open(path, service=REAL) as ledger:
        assert ledger.meta("service") == REAL


@pytest.mark.parametrize(
    ("bound", "asked", "told"),
    [
        pytest.param(REAL, OTHER, "belongs to h with key 1, this run is for h with key 2", id="another key"),
        pytest.param(REAL, LOCAL, "this run is for the local service", id="local into paid"),
        pytest.param(LOCAL, REAL, "or add --local", id="paid into local"),
    ],
)
def test_another_service_is_refused_with_a_remedy(tmp_path, bound, asked, told):
    path = tmp_path / "ledger.sqlite"
    Ledger.create_or_open(path, service=bound).close()
    with pytest.raises(FolderError, match=told) as refused:
        Ledger.create_or_open(path, service=asked)
    assert "Use another --out folder" in str(refused.value)


def test_an_opening_killed_before_it_was_bound_is_finished_by_the_next(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger.create_or_open(path, service=REAL) as ledger, ledger.atomic() as connection:
        connection.execute("DELETE FROM meta")
    with Ledger.create_or_open(path, service=REAL) as ledger:
        assert ledger.meta("service") == REAL


def test_a_foreign_sqlite_file_is_refused_and_stays_byte_for_byte(tmp_path):
    path = tmp_path / "ledger.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE somebody_elses (x)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(FolderError, match=r"is not a texbatch ledger"):
        Ledger.create_or_open(path, service=REAL)
    with pytest.raises(FolderError, match=r"is not a texbatch ledger"):
        Ledger.read(path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("opening", ["write", "read"])
def test_a_damaged_file_is_refused_and_stays_as_it_is(tmp_path, opening):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(FolderError, match=r"Move it away, or restore it"):
        Ledger.create_or_open(path, service=REAL) if opening == "write" else Ledger.read(path)
    assert path.read_bytes() == b"this is no database at all" * 100


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger.create_or_open(path, service=REAL).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(FolderError, match=r"newer texbatch.*Upgrade"):
        Ledger.create_or_open(path, service=REAL)


def test_reading_where_no_ledger_is_names_the_remedy_and_makes_none(tmp_path):
    with pytest.raises(FolderError, match=r"there is no ledger here. Give the folder"):
        Ledger.read(tmp_path / "ledger.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_is_committed_while_a_run_writes(book, payload):
    book.adopt(payload("a"))
    with Ledger.read(book.ledger.path) as reader:
        with book.ledger.atomic():
            book.ledger.move(book.job("a"), Event.RESERVE)
            assert reader.connection.execute("SELECT state FROM jobs").fetchone()[0] == "planned"
        assert reader.connection.execute("SELECT state FROM jobs").fetchone()[0] == "sending"
        with pytest.raises(sqlite3.OperationalError, match=r"readonly"):
            reader.set_meta("x", "y")


def test_a_commit_is_on_disk_when_it_returns(book):
    assert book.ledger.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert book.ledger.connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


@pytest.mark.parametrize("statement", ["UPDATE events SET cost=0", "DELETE FROM events"])
def test_events_are_append_only(book, payload, statement):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only"):
        book.ledger.connection.execute(statement)


def test_event_and_state_are_written_together_or_not_at_all(book, payload):
    book.adopt(payload("a"))

    def fails_after_the_move():
        with book.ledger.atomic():
            book.ledger.move(book.job("a"), Event.RESERVE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_after_the_move()
    assert book.states() == {"a": "planned"}
    assert book.ledger.connection.execute("SELECT count(*) FROM events").fetchone()[0] == 0


def test_an_event_tells_the_attempt_time_request_cost_and_run(book, payload, clock):
    book.adopt(payload("a"))
    job = book.bring("a", State.ACCEPTED)
    clock.now += 5
    book.move("a", Event.COMPLETE, cost=30_000)
    last = book.ledger.connection.execute("SELECT * FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    expected = {"job": job, "attempt": 1, "event": "complete", "state": "completed", "at": clock.now}
    expected |= {"request_id": f"r-{job}", "cost": 30_000, "run_id": "run-1"}
    assert expected.items() <= dict(last).items()


def test_a_fact_that_no_job_has_is_a_fault_of_the_program(book, payload):
    book.adopt(payload("a"))
    with pytest.raises(TypeError, match=r"not facts of a job.*colour"):
        book.ledger.move(book.job("a"), Event.RESERVE, colour="red")
    assert book.states() == {"a": "planned"}


def test_a_job_that_does_not_exist_cannot_move(book):
    with pytest.raises(IllegalMove, match=r"there is no job 7"):
        book.ledger.move(7, Event.RESERVE)


def test_two_jobs_cannot_hold_one_request_id(book, payload):
    book.adopt(payload("a"), payload("b", prompt="other"))
    book.bring("a", State.ACCEPTED, request_id="same")
    book.bring("b", State.SENDING)
    with pytest.raises(sqlite3.IntegrityError):
        book.move("b", Event.ACCEPT, request_id="same")
    assert book.states() == {"a": "accepted", "b": "sending"}


@pytest.mark.parametrize(
    ("state", "event", "forgotten"),
    [
        pytest.param(State.SENDING, Event.BOUNCE, False, id="an unbilled refusal leaves its reason"),
        pytest.param(State.FAILED, Event.RETRY, True, id="a retry begins with a clean sheet"),
        pytest.param(State.UNKNOWN, Event.RESUBMIT, True, id="so does a person's resubmit"),
    ],
)
def test_what_a_planned_job_remembers(book, payload, state, event, forgotten):
    book.adopt(payload("a"))
    book.bring("a", state)
    book.move("a", event, **({"error": "busy"} if event is Event.BOUNCE else {}))
    row = book.row("a")
    assert forgotten == (row["submitted_at"] is None and row["error"] is None)
    assert row["attempts"] == 1


def test_money_stays_an_exact_integer(book, payload):
    """0.1 + 0.2 dollars are 300,000 micro-dollars, not 300,000.00000000006."""
    book.adopt(payload("a"), payload("b", prompt="other"))
    book.bring("a", State.COMPLETED, cost=100_000)
    book.bring("b", State.COMPLETED, cost=200_000)
    total, kind = book.ledger.connection.execute("SELECT sum(cost), typeof(sum(cost)) FROM events").fetchone()
    assert (total, kind) == (300_000, "integer")


def test_a_commit_that_fails_leaves_the_ledger_usable(book, payload):
    """A violated deferred key fails at COMMIT: the transaction must not stay open."""
    book.adopt(payload("a"))

    def fails_at_commit():
        with book.ledger.atomic() as connection:
            connection.execute("PRAGMA defer_foreign_keys=ON")
            connection.execute("UPDATE rows SET job=999")

    with pytest.raises(sqlite3.IntegrityError):
        fails_at_commit()
    assert book.move("a", Event.RESERVE) == State.SENDING


def test_an_error_that_rolled_back_by_itself_is_the_one_that_is_told(book):
    """SQLite rolls back on its own when a disk is full; a second ROLLBACK must not hide why."""

    def rolled_back():
        with book.ledger.atomic() as connection:
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(FolderError, match=r"disk is full.*Nothing is lost: make room"):
        rolled_back()


def test_a_ledger_that_was_deleted_under_a_run_is_not_written_on(book):
    book.ledger.path.unlink()
    with pytest.raises(FolderError, match=r"has vanished while it was in use"), book.ledger.atomic():
        pass


# -- looking at every page ---------------------------------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch):
    """Count how often every page is looked at."""
    times = []
    monkeypatch.setattr(opening, "_check_whole", lambda *_: times.append(1))
    return times


def opened(tmp_path):
    return Ledger.create_or_open(tmp_path / "ledger.sqlite", service=REAL)


def test_after_a_clean_close_not_every_page_is_looked_at(tmp_path, looks):
    for _ in range(3):
        with opened(tmp_path) as ledger, ledger.atomic():
            ledger.set_meta("name", "x")
    assert looks == []


def touch(path):
    os.utime(path)


def write_the_same_byte(path):
    data = path.read_bytes()
    path.write_bytes(data)


def edit_with_another_program(path):
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM meta WHERE name='name'")


@pytest.mark.parametrize("change", [touch, write_the_same_byte, edit_with_another_program])
def test_a_file_that_anyone_wrote_to_is_looked_at_whole(tmp_path, looks, change):
    with opened(tmp_path) as ledger, ledger.atomic():
        ledger.set_meta("name", "x")
    change(tmp_path / "ledger.sqlite")
    with opened(tmp_path):
        assert looks == [1]
    with opened(tmp_path):
        assert looks == [1]


def test_a_ledger_that_was_not_closed_is_looked_at_whole(tmp_path, looks):
    with opened(tmp_path):
        pass
    killed = opened(tmp_path)
    with killed.atomic():
        killed.set_meta("name", "x")
    (tmp_path / "copy").mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        shutil.copy2(tmp_path / name, tmp_path / "copy" / name)
    killed.close()
    with opened(tmp_path / "copy") as ledger:
        assert (ledger.meta("name"), looks) == ("x", [1])


def test_a_close_beside_a_reader_vouches_for_nothing(tmp_path, looks):
    with opened(tmp_path):
        pass
    with Ledger.read(tmp_path / "ledger.sqlite") as reader:
        assert reader.meta("service") == REAL
        with opened(tmp_path) as ledger, ledger.atomic():
            ledger.set_meta("name", "x")
    looks.clear()
    with opened(tmp_path) as ledger:
        assert (ledger.meta("name"), looks) == ("x", [1])


def test_a_run_that_found_its_file_in_trouble_does_not_vouch_for_it(tmp_path, looks):
    with pytest.raises(FolderError), opened(tmp_path):
        raise FolderError("full")
    with opened(tmp_path):
        assert looks == [1]
