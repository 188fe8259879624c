"""What a folder tells the reconciliation of its own requests."""

import pytest

from batch.ledger.states import Event, State
from batch.settle import DAY_S, _own


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
    [(request, _)] = _own(book.ledger, book.clock() - DAY_S)
    assert request.request_id == "q-old"
    assert request.accepted_at <= began
