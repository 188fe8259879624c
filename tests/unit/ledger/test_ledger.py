"""The ledger file: opened, refused; and what one move writes."""

import json
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from batch.core.errors import FolderError, InvalidTransition, RequestIdTaken
from batch.ledger import connection as opening
from batch.ledger.connection import MIGRATIONS
from batch.ledger.ledger import Ledger
from batch.ledger.states import Event, State


def test_a_foreign_sqlite_file_is_refused_and_stays_byte_for_byte(tmp_path):
    path = tmp_path / "ledger.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE somebody_elses (x)")
    foreign.commit()
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(FolderError, match=r"is not a texbatch ledger"):
        Ledger.create_or_open(path)
    with pytest.raises(FolderError, match=r"is not a texbatch ledger"):
        Ledger.read(path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("opening", ["write", "read"])
def test_a_damaged_file_is_refused_and_stays_as_it_is(tmp_path, opening):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(FolderError, match=r"Restore it from a copy, and leave it where it is"):
        Ledger.create_or_open(path) if opening == "write" else Ledger.read(path)
    assert path.read_bytes() == b"this is no database at all" * 100


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "ledger.sqlite"
    Ledger.create_or_open(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(FolderError, match=r"newer texbatch.*Upgrade"):
        Ledger.create_or_open(path)


def test_reading_where_no_ledger_is_names_the_remedy_and_makes_none(tmp_path):
    with pytest.raises(FolderError, match=r"there is no ledger here. Give the folder"):
        Ledger.read(tmp_path / "ledger.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_is_committed_while_a_run_writes(book, payload):
    book.adopt(payload("a"))
    with Ledger.read(book.ledger.path) as reader:
        with book.ledger.atomic():
            book.ledger.transition(book.job("a"), Event.RESERVE)
            assert reader.connection.execute("SELECT state FROM jobs").fetchone()[0] == "planned"
        assert reader.connection.execute("SELECT state FROM jobs").fetchone()[0] == "sending"
        with pytest.raises(sqlite3.OperationalError, match=r"readonly"):
            reader.set_meta("x", "y")


def test_a_commit_is_on_disk_when_it_returns(tmp_path, monkeypatch):
    monkeypatch.undo()  # other tests do without
    with Ledger.create_or_open(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert ledger.connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


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
            book.ledger.transition(book.job("a"), Event.RESERVE)
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
    with pytest.raises(TypeError, match=r"not fields of a job.*colour"):
        book.ledger.transition(book.job("a"), Event.RESERVE, colour="red")
    assert book.states() == {"a": "planned"}


def test_a_job_that_does_not_exist_cannot_move(book):
    with pytest.raises(InvalidTransition, match=r"there is no job 7"):
        book.ledger.transition(7, Event.RESERVE)


def test_two_jobs_cannot_hold_one_request_id(book, payload):
    book.adopt(payload("a"), payload("b", prompt="other"))
    book.bring("a", State.ACCEPTED, request_id="same")
    book.bring("b", State.SENDING)
    with pytest.raises(RequestIdTaken, match="another row holds request same"):
        book.move("b", Event.ACCEPT, request_id="same")
    with pytest.raises(sqlite3.IntegrityError):  # whatever the way
        book.ledger.connection.execute("UPDATE jobs SET request_id='same' WHERE state='sending'")
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
    monkeypatch.setattr(opening, "_check_pages", lambda *_: times.append(1))
    return times


def opened(tmp_path):
    return Ledger.create_or_open(tmp_path / "ledger.sqlite")


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
        assert reader.meta("name") is None
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


# -- uploads that a service perhaps has lost ---------------------------------------------------------------------------

SHAS = {name: name * 64 for name in "abc"}


def with_uploads(book, payload, *images, sent=None):
    """Bring a row whose local images were uploaded to accepted; `sent` replaces the URLs that it was sent with."""
    urls = {name: f"https://up/{name}" for name in images}
    parameters = {f"image_{n}": f"sha256:{SHAS[name]}" for n, name in enumerate(images, 1)}
    book.adopt(payload("row", **parameters))
    sent = json.dumps(sent or {f"image_{n}": urls[name] for n, name in enumerate(images, 1)})
    with book.ledger.atomic() as connection:
        connection.executemany(
            "INSERT INTO uploads VALUES (?,?,?)", [(SHAS[name], f"https://up/{name}", 1.0) for name in SHAS]
        )
        book.ledger.transition(book.job("row"), Event.RESERVE, sent=sent)


def left(book):
    return {row["sha256"][0] for row in book.ledger.connection.execute("SELECT sha256 FROM uploads")}


@pytest.mark.parametrize(
    ("events", "stay"),
    [
        pytest.param([Event.REFUSE], {"c"}, id="refused"),
        pytest.param([Event.ACCEPT, Event.FAIL], {"c"}, id="failed"),
        pytest.param([Event.LOSE, Event.FIND_FAILED], {"c"}, id="found failed"),
        pytest.param([Event.BOUNCE], {"a", "b", "c"}, id="sent again"),
        pytest.param([Event.THROTTLE], {"a", "b", "c"}, id="throttled"),
        pytest.param([Event.LOSE], {"a", "b", "c"}, id="lost"),
        pytest.param([Event.ACCEPT, Event.COMPLETE, Event.KEEP], {"a", "b", "c"}, id="saved"),
        pytest.param([Event.ACCEPT, Event.COMPLETE, Event.UNUSABLE], {"a", "b", "c"}, id="unusable"),
    ],
)
def test_a_row_that_the_service_refuses_or_fails_forgets_the_uploads_it_was_sent_with(
    book, payload, events, stay
):
    with_uploads(book, payload, "a", "b")
    for event in events:
        book.move("row", event)
    assert left(book) == stay


def test_an_upload_that_was_made_again_meanwhile_is_kept(book, payload):
    with_uploads(book, payload, "a", "b", sent={"image_1": "https://up/old", "image_2": "https://up/b"})
    book.move("row", Event.REFUSE)
    assert left(book) == {"a", "c"}
