"""How a folder stands at this moment: where its jobs are, how fast they go, what last went wrong. It changes nothing.

Made to be read every second beside a run: the rate looks at the end of the events only, never at all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.ledger import bill
from batch.ledger.states import IN_FLIGHT, Event, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.ledger.store import Ledger

WINDOW_S = 300.0
"""The rate is that of the last minutes: a job may take one."""

MOST_EVENTS = 20_000
LAST_ERRORS = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    """A job that came to no good end, and when (epoch seconds)."""

    at: float
    id: str
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """One moment: the last run's line (None: never run), jobs by state, and the pace.

    `per_minute` pictures over the last minutes, `left` rows that this run still has before it, `eta_s` seconds until
    they are done at that pace, None when it cannot be told. `quiet_s` is how long ago anything happened.
    """

    run: Mapping[str, Any] | None
    states: Mapping[str, int]
    in_flight: int
    per_minute: float
    left: int
    eta_s: float | None
    quiet_s: float
    troubles: tuple[Trouble, ...]

    @property
    def going_on(self) -> bool:
        """Whether the last run has not said that it ended; it may have been killed."""
        return self.run is not None and self.run["ended_at"] is None


def pulse(ledger: Ledger) -> Pulse:
    """Return how the folder stands now."""
    now, run = ledger.clock(), bill.last_run(ledger)
    states = {
        row["state"]: row["n"]
        for row in ledger.connection.execute(
            "SELECT state, count(*) AS n FROM jobs WHERE job IN (SELECT job FROM rows WHERE position IS NOT NULL) "
            "GROUP BY state"
        )
    }
    left = bill.statuses(ledger, selected_only=True).get("pending", 0)
    rate = 0.0
    if run is not None:
        until = run["ended_at"] or now
        window = min(max(until - run["started_at"], 1.0), WINDOW_S)
        rate = _kept_since(ledger, until - window) / window
    last = ledger.connection.execute("SELECT at FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    latest = max(last["at"] if last else 0.0, run["started_at"] if run else 0.0)
    return Pulse(
        run=run,
        states=states,
        in_flight=sum(states.get(state, 0) for state in IN_FLIGHT),
        per_minute=rate * 60,
        left=left,
        eta_s=left / rate if rate else None,
        quiet_s=max(now - latest, 0.0),
        troubles=_troubles(ledger),
    )


def last_success(ledger: Ledger) -> float | None:
    """Return when a run last ended with everything done, epoch seconds, None when none has."""
    ended: float | None = ledger.connection.execute(
        "SELECT max(ended_at) FROM runs WHERE exit_code=0"
    ).fetchone()[0]
    return ended


def _kept_since(ledger: Ledger, moment: float) -> int:
    count: int = ledger.connection.execute(
        "SELECT count(*) FROM events WHERE seq > (SELECT coalesce(max(seq), 0) FROM events) - ? AND at >= ? AND event = ?",
        (MOST_EVENTS, moment, Event.KEEP),
    ).fetchone()[0]
    return count


def _troubles(ledger: Ledger) -> tuple[Trouble, ...]:
    """Return the last jobs that failed, expired or became unknown and still are, the latest first."""
    rows = ledger.connection.execute(
        "SELECT j.state, j.error, "
        "(SELECT r.id FROM rows r WHERE r.job = j.job ORDER BY r.position LIMIT 1) AS id, "
        "(SELECT max(e.at) FROM events e WHERE e.job = j.job) AS at "
        "FROM jobs j WHERE j.state <> 'saved' AND j.state IN (?, ?, ?) ORDER BY 4 DESC LIMIT ?",
        (State.FAILED, State.EXPIRED, State.UNKNOWN, LAST_ERRORS),
    )
    return tuple(Trouble(row["at"], row["id"] or "", row["state"], row["error"] or "") for row in rows)
