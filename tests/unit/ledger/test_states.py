"""The state machine: the table, and the one function that writes it into the ledger."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tiers import examples

from batch.core.errors import InvalidTransition
from batch.ledger.ledger import Ledger
from batch.ledger.states import TRANSITIONS, Event, State, next_state

PAIRS = [(state, event) for state in State for event in Event]
UNBILLED = {Event.THROTTLE, Event.BOUNCE}
PERSON_OR_PROOF = {Event.ABSENT, Event.RESUBMIT, Event.RETRY, Event.RESTART}


@pytest.mark.quick(60)
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
        with pytest.raises(
            InvalidTransition, match=rf"a job that is {state} cannot {event}; nothing was changed"
        ):
            book.ledger.transition(job, event, error="x")
        assert before == book.row("a")
    assert written == book.ledger.connection.execute("SELECT count(*) FROM events").fetchone()[0]


def test_every_state_can_be_reached_and_every_event_is_used():
    assert set(State) == set(TRANSITIONS.values())
    assert set(Event) == {event for _, event in TRANSITIONS}


def test_nothing_returns_to_planned_but_what_was_certainly_not_billed_or_somebody_decided():
    returning = {event for (_, event), state in TRANSITIONS.items() if state is State.PLANNED}
    assert returning == UNBILLED | PERSON_OR_PROOF


def test_an_interrupted_submit_never_becomes_planned_by_a_loss():
    assert next_state(State.SENDING, Event.LOSE) == State.UNKNOWN


def test_only_a_person_who_pays_again_leads_away_from_saved():
    back = {event for (state, event), after in TRANSITIONS.items() if state is State.SAVED and after != state}
    assert {Event.REMAKE} == back


# -- made again --------------------------------------------------------------------------------------------------------

_E = Event
WAYS_BACK = [
    pytest.param([_E.THROTTLE], id="429"),
    pytest.param([_E.BOUNCE], id="not delivered"),
    pytest.param([_E.REFUSE], id="refused"),
    pytest.param([_E.LOSE, _E.ABSENT], id="lost, never arrived"),
    pytest.param([_E.LOSE, _E.GIVE_UP], id="lost, never arrives"),
    pytest.param([_E.LOSE, _E.RESUBMIT], id="lost, to be sent again"),
    pytest.param([_E.LOSE, _E.ABANDON], id="lost, abandoned"),
    pytest.param([_E.LOSE, _E.FIND_FAILED], id="lost, found failed"),
    pytest.param([_E.ACCEPT, _E.FAIL], id="failed"),
    pytest.param([_E.ACCEPT, _E.EXPIRE], id="expired"),
    pytest.param([_E.ACCEPT, _E.RESTART], id="a local service that was started again"),
    pytest.param([_E.ACCEPT, _E.COMPLETE, _E.UNUSABLE], id="paid, and unusable"),
    pytest.param([_E.ACCEPT, _E.COMPLETE, _E.EXPIRE], id="paid, and gone"),
]
GIVEN = {
    _E.ACCEPT: {"request_id": "again"},
    _E.COMPLETE: {"cost": 50_000, "output_url": "https://h/again.webp"},
    _E.FAIL: {"error": "blocked", "error_class": "job_failed", "http_status": 422},
}


def facts(book, row_id):
    return {name: value for name, value in book.row(row_id).items() if name not in {"attempts", "run_id"}}


@pytest.mark.parametrize("events", WAYS_BACK)
def test_a_saved_job_that_is_made_again_in_vain_is_saved_as_it_was(book, payload, events):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED, sha256="aa", width=3, height=2)
    book.keep("a")
    before = facts(book, "a")
    assert book.move("a", Event.REMAKE, submitted_at=9.0, estimate=1) == State.SENDING
    during = book.row("a")
    assert (during["sha256"], during["cost"], during["request_id"], during["kept_job"]) == (None,) * 4
    for event in events:
        state = book.move("a", event, **GIVEN.get(event, {}))
    assert state == State.SAVED
    assert facts(book, "a") == before


def test_a_saved_job_that_is_made_again_has_the_new_image_and_both_bills(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED, sha256="aa")
    book.move("a", Event.REMAKE)
    for event in (Event.ACCEPT, Event.COMPLETE):
        book.move("a", event, **GIVEN[event])
    assert book.move("a", Event.KEEP, sha256="bb") == State.SAVED
    row = book.row("a")
    assert (row["sha256"], row["request_id"], row["cost"], row["former"]) == ("bb", "again", 50_000, None)
    paid = book.ledger.connection.execute("SELECT sum(cost) FROM events").fetchone()[0]
    assert paid > 50_000


def test_a_saved_job_that_cannot_be_sent_again_is_untouched(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED, sha256="aa")
    before = book.row("a")
    assert book.move("a", Event.SPOIL, error="no such file", error_class="bad_input") == State.SAVED
    assert before == book.row("a")


class LedgerMachine(RuleBasedStateMachine):
    """Any sequence of events on a real file: the ledger follows the table and keeps the whole history."""

    @initialize()
    def open(self):
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "ledger.sqlite"
        self._ledger = Ledger.create_or_open(self._path)
        with self._ledger.atomic() as connection:
            connection.execute("INSERT INTO jobs (payload_key, parameters) VALUES ('k', '{}')")
        self.state = State.PLANNED
        self.remade = False
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
        self._ledger = Ledger.create_or_open(self._path)

    def _move(self, event):
        expected = TRANSITIONS.get((self.state, event))
        if self.remade and expected in {State.PLANNED, State.FAILED, State.EXPIRED, State.ABANDONED}:
            expected = State.SAVED
        facts = {"request_id": f"r{len(self.history)}"} if event is Event.ACCEPT else {}
        try:
            with self._ledger.atomic():
                after = self._ledger.transition(1, event, **facts)
        except InvalidTransition:
            assert expected is None
        else:
            assert expected == after
            self.state = after
            self.history.append((str(event), str(after)))
            self.posts += event in {Event.RESERVE, Event.REMAKE}
            self.remade = event is Event.REMAKE or (self.remade and after != State.SAVED)

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
    stateful_step_count=25, suppress_health_check=list(HealthCheck), **examples(25)
)
