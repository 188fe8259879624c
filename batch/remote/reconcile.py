"""Was a submit without an answer accepted? Decided from the history alone; pure, no clock, no network.

Found: the history lists a request of this model, created after the reserve (less the clocks' doubt), whose body equals
what we sent on the keys we sent, and whose id no other row holds. Each listed request is claimed once.

Absent, and only then is it sent again: ALL of
  settled   `settle_s` has passed since the POST ended, so a late row has had its time;
  complete  every page back to LOOK_BACK_S before the reserve was read;
  current   every request of ours that was accepted since then is listed already, else the history lags: those from
            before the reserve count too, since nothing may have been accepted after it;
  trusted   where the history lists any request of ours, one of them at least would be found by this very rule, else the
            service rewrites what it was sent, or tells times of an unknown zone, and the comparison proves nothing;
  alone     no unclaimed request lies in the window, except ones that differ in prompt, seed or pictures; where no
            request at all vouches for the comparison, they must differ in two of the three, and none with the very body
            may lie before the window either.
Otherwise it stays unknown: a person is asked, never the wallet.
"""

from __future__ import annotations

import html
import json
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.parameters import IMAGE_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batch.remote.history import Entry, Listing

DOUBT_S = 5.0  # how far our clock and the service's may disagree when the answers carry a date
DOUBT_WITHOUT_DATE_S = 65.0

LOOK_BACK_S = 600.0
"""How long before a lost submit the history is read: requests of that time show whether it lags."""

TELLING = ("prompt", "seed", *IMAGE_PARAMETERS)
"""Keys that tell two requests apart whatever else the service rewrites."""

LEAST_CUT = 40  # letters and digits: a prompt shown that long may be the start of the one that was sent


@dataclass(frozen=True, slots=True)
class LostSubmit:
    """A submit whose answer was lost: what was sent, and when (our clock): reserved before, given up after."""

    job: int
    body: Mapping[str, Any]
    reserved_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request that a row of ours holds; `body` and `reserved_at` None where what was sent then is no longer known."""

    request_id: str
    accepted_at: float
    body: Mapping[str, Any] | None
    reserved_at: float | None


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
    vouched = _vouched(own, listing)
    free = [entry for entry in listing.entries if entry.request_id not in held]
    findings: list[Finding] = []
    undecided: list[LostSubmit] = []
    for submit in sorted(lost, key=lambda submit: submit.reserved_at):
        opened = _opened(submit.reserved_at, listing)
        oldest_first = sorted(free, key=lambda entry: entry.created or 0.0)
        claimed = next((entry for entry in oldest_first if _matches(submit.body, opened, entry)), None)
        if claimed is None:
            undecided.append(submit)
        else:
            free.remove(claimed)
            findings.append(Found(submit.job, claimed))
    vouched = True if findings else vouched  # what was found was shown as it was sent
    return findings + [
        _absent(submit, own, free, listing, vouched=vouched, settled=now >= submit.ended_at + settle_s)
        for submit in undecided
    ]


def _vouched(own: Sequence[OwnRequest], listing: Listing) -> bool | None:
    """Tell whether the history shows a request of ours as it was sent; None when it shows none of ours."""
    listed = {entry.request_id: entry for entry in listing.entries}
    shown = [request for request in own if request.request_id in listed]
    if not shown:
        return None
    return any(
        request.body is not None
        and request.reserved_at is not None
        and _matches(request.body, _opened(request.reserved_at, listing), listed[request.request_id])
        for request in shown
    )


def _matches(body: Mapping[str, Any], opened: float, entry: Entry) -> bool:
    return entry.created is not None and entry.created >= opened and equal(body, entry.body)


def _absent(
    submit: LostSubmit,
    own: Sequence[OwnRequest],
    free: Sequence[Entry],
    listing: Listing,
    *,
    vouched: bool | None,
    settled: bool,
) -> Absent | Undecided:
    job, listed = submit.job, {entry.request_id for entry in listing.entries}
    if not settled:
        return Undecided(job, "the history may still list it late", waiting=True)
    if not listing.complete:
        return Undecided(job, "the history does not reach back to it", waiting=False)
    since = min(submit.reserved_at, submit.ended_at)  # a clock that was put right may have turned them round
    if any(request.accepted_at > since - LOOK_BACK_S and request.request_id not in listed for request in own):
        return Undecided(
            job, "the history lags: requests that were accepted are not listed yet", waiting=True
        )
    if vouched is False:
        return Undecided(job, "the history does not show requests as they were sent", waiting=False)
    opened = _opened(submit.reserved_at, listing)
    if any(
        (entry.created is None or entry.created >= opened or (not vouched and equal(submit.body, entry.body)))
        and len(differences(submit.body, entry)) < (1 if vouched else 2)
        for entry in free
    ):
        return Undecided(job, "the history lists a request that may be this one", waiting=False)
    return Absent(job)


def _opened(reserved_at: float, listing: Listing) -> float:
    """Return the earliest time, by the service's clock, at which a submit reserved then can have been created."""
    if listing.skew is None:
        return reserved_at - DOUBT_WITHOUT_DATE_S
    return reserved_at - listing.skew - DOUBT_S


def equal(sent: Mapping[str, Any], listed: Mapping[str, Any] | None) -> bool:
    """Compare on the keys that were sent; scalars by what they say, so that 1 equals "1" and true "true"."""
    return listed is not None and all(
        key in listed and normal(value) == normal(listed[key]) for key, value in sent.items()
    )


def differences(sent: Mapping[str, Any], entry: Entry) -> set[str]:
    """Tell in which of prompt, seed and pictures a listed request certainly is another one; none if it cannot be read."""
    body = entry.body or {}
    return {
        "pictures" if key in IMAGE_PARAMETERS else key
        for key in TELLING
        if key in sent and key in body and _apart(key, normal(sent[key]), normal(body[key]))
    }


def _apart(key: str, sent: str, shown: str) -> bool:
    """Tell whether two values differ by more than a service's tidying: spaces, case, escapes, a cut end, 7.0 for 7."""
    if key == "prompt":
        sent, shown = _core(sent), _core(shown)
        return sent != shown and not (len(shown) >= LEAST_CUT and sent.startswith(shown))
    if key == "seed" and sent != shown:
        try:
            return float(sent) != float(shown)
        except ValueError:
            return True
    return sent != shown


def _core(text: str) -> str:
    """Return the letters and digits of a text, as any way of writing it has them."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    return "".join(filter(str.isalnum, plain))


def normal(value: Any) -> str:
    """Return a scalar as the text it says; anything else as canonical JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
