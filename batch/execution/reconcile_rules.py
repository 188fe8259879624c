"""Was a submit without an answer accepted? Decided from the history alone; pure, no clock, no network.

There are three findings; the first that applies counts:

1. Found: the history lists an unclaimed request with the very body that was sent, at the time it was sent.
2. Absent: the whole, current history of that time lists no unclaimed request that could be this submit. Only then is it
   sent again. A listed request is another one for certain in two cases only: its time lies beyond every doubt about
   clocks, or its prompt or seed differs in a history that was seen to show prompts or seeds of that form as they were
   sent. Every other request could be this submit.
3. Undecided: everything else. The submit stays unknown until a later history or a person decides.

The terms:
  unclaimed No row of ours holds or held its id, and no other lost submit has it. Where a request has the body of one lost
            submit, and could be another's whose body the service has tidied, neither gets it. A request that a row holds,
            but that is shown with a lost submit's body, which its row cannot have sent, could be that submit's: a late
            answer went to the wrong request.
  its time  A range: from the reserve to the end of the POST, widened by how far clocks were seen to disagree (many
            answers, and our own requests in this very list) and by how coarse the listed time is. For "found" that is
            all; for "absent" an hour is added, or a day and more where the times may be of another zone.
  whole     Every page of that time was read (history.py says when).
  current   `--settle` has passed since the POST ended, in time that provably passed; and every request of ours that was
            accepted since `look_back_s` before is listed already. Otherwise the history lags.
  as sent   Where the history lists requests of ours, at least one is shown just as it was sent, at a time that fits. A
            prompt proves something only where a listed prompt of ours with all that is special about it (accents,
            scripts, line ends, markup, length: `form`) was shown as it was sent; a seed likewise. An image's URL proves
            nothing.

"Absent" is therefore right as long as three things hold: a request is listed within `--settle`, or while one of ours of
that time is missing too; clocks of the service's nodes differ by less than an hour; prompts of one form are treated alike.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.client.bodies import differences, equal, letters, normal, tidied
from batch.client.history import NEAR_S, ZONES_S
from batch.core.parameters import MODEL
from batch.core.units import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batch.client.history import Listing
    from batch.client.history_page import Entry
    from batch.core.config import Timeouts
    from batch.ledger.store import OwnRequest, UnconfirmedSubmit

DOUBT_WITHOUT_DATE_S = 65.0
NODES_S = 900.0  # the clocks of the service's nodes may differ by minutes
DELIVERED_LATE_S = 600.0  # a POST may still be delivered for so long after we gave it up

MOST_NAMED = 3


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
    lost: Sequence[UnconfirmedSubmit],
    own: Sequence[OwnRequest],
    listing: Listing,
    overdue: Iterable[int],
    timeouts: Timeouts,
) -> list[Finding]:
    """Decide each lost submit; `overdue` are the jobs that had their `--settle`.

    Times are in epoch seconds by our clock, but for the listing's own.
    """
    return _Reconciliation(own, listing, timeouts).decide(
        sorted(lost, key=lambda submit: submit.reserved_at), frozenset(overdue)
    )


class _Reconciliation:
    """One history against the submits that were lost and the requests we hold."""

    def __init__(self, own: Sequence[OwnRequest], listing: Listing, timeouts: Timeouts) -> None:
        self._look_back_s = timeouts.look_back_s
        self._our_requests = own
        self._listing = listing
        self._listed = {entry.request_id: entry for entry in listing.entries}
        held = {request.request_id for request in own}
        self._free = [entry for entry in listing.entries if entry.request_id not in held]
        self._mistaken = [self._listed[request.request_id] for request in own if self._is_mistaken(request)]
        skew = listing.skew or 0.0
        doubt_s = DOUBT_WITHOUT_DATE_S if listing.skew is None else listing.spread + timeouts.clock_doubt_s
        # What is added to our times for the service's.
        self._low, self._high = -skew - doubt_s, -skew + doubt_s
        self._fitting = [request for request in own if self._fits(request)]
        for request in self._fitting:
            earliest, latest = self._offset(request)
            self._low, self._high = min(self._low, earliest), max(self._high, latest)
        known = listing.zone_known and listing.skew is not None
        self._doubt_s = NEAR_S if known or self._fitting else ZONES_S
        self._seen = _Seen()
        for request in self._fitting:
            if request.body is not None:
                self._seen.add(request.body, self._listed[request.request_id])

    def _offset(self, request: OwnRequest) -> tuple[float, float]:
        """Return between what and what the listed time of a request of ours differs from our own."""
        entry, reserved_at = self._listed[request.request_id], request.reserved_at
        assert entry.created is not None and reserved_at is not None  # noqa: S101, PT018  it fits
        latest = max(request.accepted_at, request.accepted_at + request.shift, reserved_at)
        earliest = min(reserved_at, reserved_at + request.shift)
        return entry.created - entry.coarse_s - latest, entry.created + entry.coarse_s - earliest

    def _fits(self, request: OwnRequest) -> bool:
        """Return whether a request of ours is listed at a time that fits ours, as far as nodes may differ."""
        entry = self._listed.get(request.request_id)
        if entry is None or entry.created is None or request.reserved_at is None:
            return False
        earliest, latest = self._offset(request)
        return earliest <= self._high + NODES_S and latest >= self._low - NODES_S

    def decide(self, lost: Sequence[UnconfirmedSubmit], overdue: frozenset[int]) -> list[Finding]:
        """Give each submit, oldest first, the request that is its own; judge those that get none."""
        findings: list[Finding] = []
        left = list(lost)
        for submit in lost:
            entry = self._claim(submit, left)
            if entry is None:
                continue
            left.remove(submit)
            self._free.remove(entry)
            self._seen.add(submit.body, entry)  # what was found was shown as it was sent
            findings.append(Found(submit.job, entry))
        trusted = bool(findings) or self._comparison_trusted()
        return findings + [
            self._judge(submit, trusted=trusted, overdue=submit.job in overdue) for submit in left
        ]

    def _claim(self, submit: UnconfirmedSubmit, left: Sequence[UnconfirmedSubmit]) -> Entry | None:
        """Return the request that is certainly this submit's and none of the others' that are left.

        Of several with its body it is the one nearest in time.
        """
        mine = [entry for entry in self._free if self._is_of(submit, entry)]
        for entry in sorted(mine, key=lambda entry: self._away(submit, entry)):
            rivals = [
                other
                for other in left
                if not equal(other.body, entry.body)
                and tidied(other.body, entry.body)
                and self._in_time(other, entry, self._doubt_s)
            ]
            # A rival that has a request with its very own body is none.
            if all(any(self._is_of(rival, own) for own in self._free) for rival in rivals):
                return entry
        return None

    def _is_of(self, submit: UnconfirmedSubmit, entry: Entry) -> bool:
        return _of_model(entry) and equal(submit.body, entry.body) and self._in_time(submit, entry, 0.0)

    def _away(self, submit: UnconfirmedSubmit, entry: Entry) -> tuple[float, float]:
        """Return how far an entry lies from the time of the POST; of those within it the oldest is the first."""
        created = entry.created or 0.0
        middle = (self._low + self._high) / 2
        early = submit.reserved_at + middle - created
        late = created - (submit.ended_at + middle)
        return max(early, late, 0.0), created

    def _in_time(self, submit: UnconfirmedSubmit, entry: Entry, doubt_s: float) -> bool:
        """Return whether an entry may have been created while the submit was under way, give or take `doubt_s`.

        Without a readable time it may where anything may, but is claimed by nobody.
        """
        if entry.created is None:
            return doubt_s > 0
        doubt_s += entry.coarse_s
        opened = min(submit.reserved_at, submit.reserved_at + submit.shift) + self._low - doubt_s
        ended_at = max(submit.ended_at, submit.ended_at + submit.shift, submit.reserved_at)
        return opened <= entry.created <= ended_at + self._high + DELIVERED_LATE_S + doubt_s

    def _is_mistaken(self, request: OwnRequest) -> bool:
        """Return whether a request of ours is listed with what its row cannot have sent, whatever a service tidies."""
        entry = self._listed.get(request.request_id)
        return entry is not None and request.body is not None and not tidied(request.body, entry.body)

    def _comparison_trusted(self) -> bool:
        """Return whether the history shows a request of ours as it was sent, if it shows any."""
        shown = [request for request in self._our_requests if request.request_id in self._listed]
        return not shown or any(
            request.body is not None and equal(request.body, self._listed[request.request_id].body)
            for request in self._fitting
        )

    def _judge(self, submit: UnconfirmedSubmit, *, trusted: bool, overdue: bool) -> Absent | Undecided:
        """Decide whether a submit that has no request certainly never arrived."""
        job = submit.job
        if not overdue:
            return Undecided(job, "the history may still list it late", waiting=True)
        if not self._listing.complete:
            return Undecided(job, self._listing.gap, waiting=False)
        # A clock that was put right may have turned them round.
        since = min(submit.reserved_at, submit.ended_at)
        if any(
            request.accepted_at > since - self._look_back_s and request.request_id not in self._listed
            for request in self._our_requests
        ):
            return Undecided(
                job, "the history lags: requests that were accepted are not listed yet", waiting=True
            )
        if not trusted:
            return Undecided(job, "the history does not show requests as they were sent", waiting=False)
        mistaken = [entry for entry in self._mistaken if tidied(submit.body, entry.body)]
        may_be = [entry.request_id for entry in (*self._free, *mistaken) if self._could_be(submit, entry)]
        if may_be:
            return Undecided(
                job,
                f"the history lists a request that may be this one: {named(may_be, MOST_NAMED)}",
                waiting=False,
            )
        return Absent(job)

    def _could_be(self, submit: UnconfirmedSubmit, entry: Entry) -> bool:
        """Return whether nothing proves that a listed request is another one."""
        if not self._in_time(submit, entry, self._doubt_s):
            return False
        if not _of_model(entry) and self._seen.models:
            return False
        return not self._seen.proves(submit.body, entry.body)


class _Seen:
    """What the history was seen to show as it was sent: forms of prompts and of seeds, and the model's name."""

    def __init__(self) -> None:
        self._prompts: list[frozenset[str]] = []
        self._longest = 0
        self._seeds: set[str] = set()
        self.models = False

    def add(self, sent: Mapping[str, Any], entry: Entry) -> None:
        """Note how a request of ours is shown."""
        shown = entry.body or {}
        self.models = self.models or (entry.model is not None and _of_model(entry))
        if "prompt" in sent and "prompt" in shown and normal(sent["prompt"]) == normal(shown["prompt"]):
            self._prompts.append(form(normal(sent["prompt"])))
            self._longest = max(self._longest, len(normal(sent["prompt"])))
        if "seed" in sent and "seed" in shown and normal(sent["seed"]) == normal(shown["seed"]):
            self._seeds.add(_seed_form(normal(sent["seed"])))

    def proves(self, sent: Mapping[str, Any], shown: Mapping[str, Any] | None) -> bool:
        """Return whether a shown body is certainly not the one that was sent: by a prompt or seed of a form that was seen."""
        if shown is None:
            return False
        apart = differences(sent, shown)
        if "seed" in apart and _seed_form(normal(sent["seed"])) in self._seeds:
            return True
        return "prompt" in apart and self._knows(normal(sent["prompt"]))

    def _knows(self, prompt: str) -> bool:
        """Return whether prompts with all that is special about this one were shown as they were sent, and as long ones."""
        wanted = form(prompt)
        if not self._prompts or len(prompt).bit_length() > max(
            self._longest.bit_length(), SHORT.bit_length()
        ):
            return False
        return wanted <= frozenset().union(*self._prompts)


def _of_model(entry: Entry) -> bool:
    """Return whether an entry is of our model, as far as it says."""
    return (
        entry.model is None
        or letters(MODEL) in letters(entry.model)
        or letters(entry.model) in letters(MODEL)
    )


SHORT = 63
"""Characters: a prompt up to here is no longer than any service would show."""

_WRITTEN_OUT = "&<%\\{}"
"""Plain characters that a service may take out, or write as letters."""


def form(text: str) -> frozenset[str]:
    """Return what is special about a text: what a service may write in another way, or leave out, where it occurs."""
    special = {character for character in text.replace(">", "<") if character in _WRITTEN_OUT}
    special |= {_special(character) for character in text if not " " <= character <= "~"}
    if text != text.strip(" ") or "  " in text:
        special.add("spaces")
    if "://" in text:
        special.add("link")
    return frozenset(special)


def _special(character: str) -> str:
    """Return the kind of a character beyond plain ASCII: of letters the script, of signs the very one."""
    category = unicodedata.category(character)[0]
    if category == "P":
        return category
    if category not in "LM":
        return character
    script = unicodedata.name(character, "?").partition(" ")[0]
    return f"{category} {script}" + (" beyond Latin-1" if script == "LATIN" and character > "\xff" else "")


def _seed_form(seed: str) -> str:
    """Return the form of a seed: zero and negative seeds may be shown as none."""
    return "none" if seed.startswith("-") or not seed.strip("0.") else "number"
