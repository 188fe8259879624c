"""Was a submit without an answer accepted? Decided from the history alone; pure, no clock, no network.

Found: the history lists a request of this model, created after the reserve (less the clocks' doubt), whose body equals
what we sent on the keys we sent, and whose id no other row holds. Each listed request is claimed once.

Absent, and only then is it sent again: ALL of
  settled   `settle_s` has passed since the POST ended, so a late row has had its time;
  complete  every page back to the reserve was read;
  current   every request of ours that was accepted after that POST is listed already, else the history lags;
  trusted   where the history lists any request of ours, one of them at least was matched by its body, else the service
            rewrites what it was sent and the comparison proves nothing;
  alone     no unclaimed request lies in the window, except ones that differ in prompt, seed or image.
Otherwise it stays unknown: a person is asked, never the wallet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.parameters import IMAGE_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.remote.history import Entry, Listing

DOUBT_S = 5.0  # how far our clock and the service's may disagree when the answers carry a date
DOUBT_WITHOUT_DATE_S = 65.0

TELLING = ("prompt", "seed", *IMAGE_PARAMETERS)
"""Keys that tell two requests apart whatever else the service rewrites."""


@dataclass(frozen=True, slots=True)
class LostSubmit:
    """A submit whose answer was lost: what was sent, and when (our clock): reserved before, given up after."""

    job: int
    body: Mapping[str, Any]
    reserved_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request that a row of ours holds: `body` None where the body is no longer known."""

    request_id: str
    accepted_at: float
    body: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Found:
    """The history lists it."""

    job: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Absent:
    """The history proves that it never arrived."""

    job: int


@dataclass(frozen=True, slots=True)
class Undecided:
    """Neither is certain; `waiting` says that time alone may decide it."""

    job: int
    why: str
    waiting: bool


Finding = Found | Absent | Undecided


def reconcile(
    lost: Sequence[LostSubmit], own: Sequence[OwnRequest], listing: Listing, now: float, settle_s: float
) -> list[Finding]:
    """Decide each lost submit, oldest first. Times in epoch seconds, our clock but for the listing's own."""
    held = {request.request_id for request in own}
    free = [entry for entry in listing.entries if entry.request_id not in held]
    findings: list[Finding] = []
    undecided: list[LostSubmit] = []
    for submit in sorted(lost, key=lambda submit: submit.reserved_at):
        opened = _window(submit, listing)
        claimed = next(
            (
                entry
                for entry in sorted(free, key=lambda entry: entry.created or 0.0)
                if entry.created is not None and entry.created >= opened and equal(submit.body, entry.body)
            ),
            None,
        )
        if claimed is None:
            undecided.append(submit)
        else:
            free.remove(claimed)
            findings.append(Found(submit.job, claimed))
    return findings + [
        _absent(submit, own, free, listing, settled=now >= submit.ended_at + settle_s) for submit in undecided
    ]


def _absent(
    submit: LostSubmit, own: Sequence[OwnRequest], free: Sequence[Entry], listing: Listing, *, settled: bool
) -> Absent | Undecided:
    job, listed = submit.job, {entry.request_id: entry for entry in listing.entries}
    if not settled:
        return Undecided(job, "the history may still list it late", waiting=True)
    if not listing.complete:
        return Undecided(job, "the history does not reach back to it", waiting=False)
    if any(request.accepted_at > submit.ended_at and request.request_id not in listed for request in own):
        return Undecided(job, "the history lags: later requests are not listed yet", waiting=True)
    known = [(request, listed[request.request_id]) for request in own if request.request_id in listed]
    if known and not any(
        request.body is not None and equal(request.body, entry.body) for request, entry in known
    ):
        return Undecided(job, "the history does not show requests as they were sent", waiting=False)
    opened = _window(submit, listing)
    if any(
        (entry.created is None or entry.created >= opened) and not differs(submit.body, entry)
        for entry in free
    ):
        return Undecided(job, "the history lists a request that may be this one", waiting=False)
    return Absent(job)


def _window(submit: LostSubmit, listing: Listing) -> float:
    """Return the earliest time, by the service's clock, at which the submit can have been created."""
    if listing.skew is None:
        return submit.reserved_at - DOUBT_WITHOUT_DATE_S
    return submit.reserved_at - listing.skew - DOUBT_S


def equal(sent: Mapping[str, Any], listed: Mapping[str, Any] | None) -> bool:
    """Compare on the keys that were sent; scalars by what they say, so that 1 equals "1" and true "true"."""
    return listed is not None and all(
        key in listed and normal(value) == normal(listed[key]) for key, value in sent.items()
    )


def differs(sent: Mapping[str, Any], entry: Entry) -> bool:
    """Tell whether a listed request is certainly another one: it differs in prompt, seed or image."""
    body = entry.body
    return body is not None and any(
        key in sent and key in body and normal(sent[key]) != normal(body[key]) for key in TELLING
    )


def normal(value: Any) -> str:
    """Return a scalar as the text it says; anything else as canonical JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
