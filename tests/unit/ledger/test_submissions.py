"""What a folder tells the reconciliation of its own requests."""

import sqlite3
from contextlib import closing
from importlib import resources

import pytest

from batch.execution.reconcile import DAY_S, _groups_by_time
from batch.ledger.connection import APPLICATION_ID
from batch.ledger.ledger import Ledger
from batch.ledger.states import Event, State
from batch.ledger.store import UnconfirmedSubmit


def accepted_by_its_answer(book):
    book.bring("old", State.ACCEPTED, request_id="q-old")


def found_by_the_history(book):
    sent_at = book.clock()
    book.bring("old", State.UNKNOWN)
    book.clock.now += 3 * DAY_S
    book.move("old", Event.FIND_RUNNING, request_id="q-old", submitted_at=sent_at)


@pytest.mark.parametrize("begin", [accepted_by_its_answer, found_by_the_history])
def test_a_request_that_went_on_today_was_accepted_when_it_was(book, payload, begin):
    """Else a history that does not list it among today's would seem to lag, and the lost submit stay unknown."""
    began = book.clock()
    book.adopt(payload("old"))
    begin(book)
    book.clock.now = began + 3 * DAY_S
    book.move("old", Event.COMPLETE, output_url="https://files.example/old.webp", cost=30_000)
    [request] = book.ledger.own_requests(book.clock() - DAY_S)
    assert request.request_id == "q-old"
    assert request.accepted_at <= began


def lost_at(reserved_at):
    return UnconfirmedSubmit(int(reserved_at), {}, reserved_at, reserved_at + 1.0)


def test_submits_lost_days_apart_are_looked_for_apart_the_latest_first():
    """One reading of all the time between would read a busy account's whole month."""
    groups = list(_groups_by_time([lost_at(at) for at in (0.0, 30.0 * DAY_S, 1.0 * DAY_S, 29.0 * DAY_S)]))
    assert [[lost.reserved_at / DAY_S for lost in group] for group in groups] == [[30, 29], [1, 0]]


def test_a_ledger_of_the_version_before_knows_its_lost_submits(tmp_path):
    """It did not note when they were lost in time that passed; nothing else about them is lost."""
    path = tmp_path / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(resources.files("batch.ledger").joinpath("schema.sql").read_text(encoding="utf-8"))
        old.executescript(
            "INSERT INTO jobs (job, payload_key, parameters, state, submitted_at) VALUES (1, 'k', '{\"seed\": 7}', 'unknown', 5);"
            "INSERT INTO events (job, attempt, event, state, at) VALUES (1, 1, 'lose', 'unknown', 6);"
            f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1;"
        )
    with Ledger.create_or_open(path) as ledger:
        (lost,) = ledger.unconfirmed()
    assert lost == UnconfirmedSubmit(1, {"seed": 7}, 5.0, 6.0)
