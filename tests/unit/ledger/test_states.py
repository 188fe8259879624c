"""The state machine: the table, and the one function that writes it into the ledger."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batch.errors import IllegalMove
from batch.ledger.states import TRANSITIONS, Event, State, step
from batch.ledger.store import Ledger

PAIRS = [(state, event) for state in State for event in Event]
UNBILLED = {Event.THROTTLE, Event.BOUNCE}
PERSON_OR_PROOF = {Event.ABSENT, Event.RESUBMIT, Event.RETRY, Event.RESTART}


@pytest.mark.parametrize(("state", "event"), PAIRS, ids=[f"{state}-{event}" for state, event in PAIRS])
def test_a_move_is_legal_exactly_when_the_table_has_it(book, payload, state, event):
    book.adopt(payload("a"))
    job = book.bring("a", state)
    written = book.ledger.connection.execute("SELECT count(*) FROM events").fetchone()[0]
    before = book.row("a")
    if (state, event) in TRANSITIONS:
        assert TRANSITIONS[state, event] == book.move("a", event)
        assert TRANSITIONS[state, event] == book.row("a")["state"]
        written += 1
    else:
        with pytest.raises(IllegalMove, match=rf"a job that is {state} cannot {event}; nothing was changed"):
            book.ledger.move(job, event, error="x")
        assert before == book.row("a")
    assert written == book.ledger.connection.execute("SELECT count(*) FROM events").fetchone()[0]


def test_every_state_can_be_reached_and_every_event_is_used():
    assert set(State) == set(TRANSITIONS.values())
    assert set(Event) == {event for _, event in TRANSITIONS}


def test_nothing_returns_to_planned_but_what_was_certainly_not_billed_or_somebody_decided():
    returning = {event for (_, event), state in TRANSITIONS.items() if state is State.PLANNED}
    assert returning == UNBILLED | PERSON_OR_PROOF


def test_an_interrupted_submit_never_becomes_planned_by_a_loss():
    assert step(State.SENDING, Event.LOSE) == State.UNKNOWN


def test_a_restart_is_the_only_way_back_from_a_picture_that_was_paid():
    back = {event for (state, event), after in TRANSITIONS.items() if state is State.SAVED and after != state}
    assert {Event.REFETCH, Event.RESTART} == back


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of events on a real file: the ledger follows the table and keeps the whole history."""

    @initialize()
    def open(self):
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "ledger.sqlite"
        self._ledger = Ledger.create_or_open(self._path, service="h")
        with self._ledger.atomic() as connection:
            connection.execute("INSERT INTO jobs (payload_key, parameters) VALUES ('k', '{}')")
        self.state = State.PLANNED
        self.history = []
        self.posts = 0

    @rule(event=st.sampled_from(Event))
    def any_event(self, event):
        self._move(event)

    @rule(data=st.data())
    def legal_event(self, data):
        possible = sorted(event for state, event in TRANSITIONS if state == self.state)
        if possible:
            self._move(data.draw(st.sampled_from(possible)))

    @rule()
    def killed_and_opened_again(self):
        self._ledger.close()
        self._ledger = Ledger.create_or_open(self._path, service="h")

    def _move(self, event):
        expected = TRANSITIONS.get((self.state, event))
        facts = {"request_id": f"r{len(self.history)}"} if event is Event.ACCEPT else {}
        try:
            with self._ledger.atomic():
                after = self._ledger.move(1, event, **facts)
        except IllegalMove:
            assert expected is None
        else:
            assert expected == after
            self.state = after
            self.history.append((str(event), str(after)))
            self.posts += event is Event.RESERVE

    @invariant()
    def the_file_says_what_happened(self):
        connection = self._ledger.connection
        row = connection.execute("SELECT state, attempts FROM jobs").fetchone()
        assert (self.state, self.posts) == tuple(row)
        events = connection.execute("SELECT event, state FROM events ORDER BY seq")
        assert self.history == [tuple(event) for event in events]

    def teardown(self):
        self._ledger.close()
        self._folder.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
