"""Whose the folder is: the service and account it is bound to, and the keys that are known to open that account.

Rule 1: a folder is free, for any service and account, while nothing was ever accepted in it and nothing is in doubt.
Rule 2: `bind` runs in the transaction that begins a run's work, so the account is on disk before the first POST.
Rule 3: the table of keys is append-only; the keys of the account are those since the folder was bound last.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from batch.core.config import LOCAL_SERVICE
from batch.ledger import runs
from batch.ledger.meta import Meta
from batch.ledger.states import OPEN, Event, State

if TYPE_CHECKING:
    from batch.core.config import Account
    from batch.ledger.ledger import Ledger

_NEWEST, _OLDEST = 3, 2
"""Requests the history is asked for: a service may have forgotten the old ones, and may list the new ones late."""

_GIVEN = ", ".join(
    f"'{event}'" for event in (Event.ACCEPT, Event.FIND_RUNNING, Event.FIND_DONE, Event.FIND_FAILED)
)
"""Events whose request id came from the service; one that a person attached proves nothing about a key."""


class How(StrEnum):
    """How a key is known."""

    BOUND = "bound"  # the folder was free, and this key's account took it
    USED = "used"  # a run worked with it
    HISTORY = "history"  # its history lists a request of this folder
    SAID = "said"  # a person said that it opens the same account


class Standing(Enum):
    """What a folder is to an account."""

    FREE = "free"  # nothing was ever accepted here
    OURS = "ours"  # the key is known
    NEW_KEY = "new key"  # the service is the folder's, the key was never seen
    ELSEWHERE = "elsewhere"  # the folder belongs to another service


@dataclass(frozen=True, slots=True)
class KeySeen:
    """A key of the folder's account: how it became known, when it was first and last used (epoch seconds)."""

    fingerprint: str
    how: How
    first: float
    last: float


def has_accepted_nothing(ledger: Ledger) -> bool:
    """Return whether nothing was ever accepted in this folder, and nothing may have been."""
    if runs.has_lost_end(ledger):
        return False
    found = ledger.connection.execute(
        "SELECT EXISTS (SELECT 1 FROM events WHERE request_id IS NOT NULL) "
        f"OR EXISTS (SELECT 1 FROM jobs WHERE {OPEN} AND state IN (?, ?))",
        (State.SENDING, State.UNKNOWN),
    )
    return not found.fetchone()[0]


def standing(ledger: Ledger, account: Account) -> Standing:
    """Return what the folder is to an account; changes nothing."""
    if has_accepted_nothing(ledger):
        return Standing.FREE
    bound = ledger.meta(Meta.SERVICE)
    if bound is not None and bound != account.host:
        return Standing.ELSEWHERE
    if bound == LOCAL_SERVICE or any(seen.fingerprint == account.key for seen in keys(ledger)):
        return Standing.OURS
    return Standing.NEW_KEY


def keys(ledger: Ledger) -> list[KeySeen]:
    """Return the keys of the account that the folder is bound to, in the order in which they were seen first."""
    found: dict[str, KeySeen] = {}
    for row in ledger.connection.execute(
        "SELECT fingerprint, how, at FROM keys "
        "WHERE seq >= coalesce((SELECT max(seq) FROM keys WHERE how=?), 0) ORDER BY seq",
        (How.BOUND,),
    ):
        before = found.get(row["fingerprint"])
        how, first = (How(row["how"]), row["at"]) if before is None else (before.how, before.first)
        found[row["fingerprint"]] = KeySeen(row["fingerprint"], how, first, row["at"])
    return list(found.values())


def note(ledger: Ledger, account: Account, how: How) -> None:
    """Record that a key belongs to the folder's account. Runs inside `atomic`."""
    ledger.connection.execute(
        "INSERT INTO keys (host, fingerprint, how, at, run_id) VALUES (?,?,?,?,?)",
        (account.host, account.key, how, ledger.clock(), ledger.run_id),
    )


def bind(ledger: Ledger, account: Account) -> None:
    """Let an account work in the folder: a free one is its own from now on. Runs inside `atomic`.

    The account is one that `standing` calls FREE or OURS, or whose new key has been noted.
    """
    bound, how = ledger.meta(Meta.SERVICE), How.USED
    known = bound == account.host and (
        bound == LOCAL_SERVICE or any(seen.fingerprint == account.key for seen in keys(ledger))
    )
    if not known and has_accepted_nothing(ledger):
        how = How.BOUND
        # They lie with the account that had the folder before.
        ledger.connection.execute("DELETE FROM uploads")
    if how is How.BOUND or bound is None:
        ledger.set_meta(Meta.SERVICE, account.host)
    if account.host != LOCAL_SERVICE:
        note(ledger, account, how)


def first_and_last(ledger: Ledger) -> tuple[str, str] | None:
    """Return the first and the last request id that the service gave this folder, None when it gave none."""
    given = f"SELECT request_id FROM events WHERE event IN ({_GIVEN}) AND request_id IS NOT NULL ORDER BY seq"
    first = ledger.connection.execute(f"{given} LIMIT 1").fetchone()
    last = ledger.connection.execute(f"{given} DESC LIMIT 1").fetchone()
    return (first["request_id"], last["request_id"]) if first else None


def requests(ledger: Ledger) -> list[str]:
    """Return a few request ids that the service gave this folder: the newest, newest first, then the oldest."""
    found: dict[str, None] = {}
    for order, most in (("DESC", _NEWEST), ("ASC", _OLDEST)):
        wanted = len(found) + most
        for row in ledger.connection.execute(
            f"SELECT request_id FROM events WHERE event IN ({_GIVEN}) AND request_id IS NOT NULL ORDER BY seq {order}"
        ):
            found[row["request_id"]] = None
            if len(found) >= wanted:
                break
    return list(found)
