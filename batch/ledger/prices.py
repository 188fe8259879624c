"""What a job costs, as far as it is known, and where that is known from.

One order everywhere: what the account really paid last, then what a person gave with --price, then the list price. Only
the first is a fact; the others are estimates, and a bill takes their place as soon as there is one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from batch.core.config import LIST_PRICE, LIST_PRICE_READ

if TYPE_CHECKING:
    from batch.ledger.ledger import Ledger


class PriceSource(StrEnum):
    """Where a price is known from, as people read it."""

    PAID = "as paid last"
    GIVEN = "as given"
    LISTED = f"the list price of {LIST_PRICE_READ}"


class JobPrice(NamedTuple):
    """What the next job is expected to cost, in micro-dollars."""

    micro: int
    source: PriceSource


LISTED = JobPrice(LIST_PRICE, PriceSource.LISTED)


def job_price(ledger: Ledger, given: int | None = None) -> JobPrice:
    """Return what a job of a folder costs; `given` is --price in micro-dollars, which counts until something was paid."""
    if paid := ledger.price():
        return JobPrice(paid, PriceSource.PAID)
    if given is not None:
        return JobPrice(given, PriceSource.GIVEN)
    return LISTED
