"""What a job costs: what was paid wins over what was given, and that over the list price."""

from batch.core.config import LIST_PRICE
from batch.ledger.prices import PriceSource, job_price
from batch.ledger.states import State


def test_what_was_paid_wins_over_what_was_given_and_that_over_the_list_price(book, payload):
    assert job_price(book.ledger) == (LIST_PRICE, PriceSource.LISTED)
    assert job_price(book.ledger, 50_000) == (50_000, PriceSource.GIVEN)
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED, cost=40_000)
    assert job_price(book.ledger, 50_000) == (40_000, PriceSource.PAID)


def test_an_estimate_on_the_bill_was_not_paid(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED, cost=40_000, billed=40_000, estimated=40_000)
    assert job_price(book.ledger, 50_000) == (50_000, PriceSource.GIVEN)
