"""Counting a run while it goes on, for the progress line and for a caller's callback."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from batch.ledger.states import Event, State
from batch.log import ERROR, INFO, WARNING, LogEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch.forecast import Forecast


MICRO = 1_000_000
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment: jobs of this run by what became of them, micro-dollars spent by it, and the last event.

    `total` jobs are to be carried or settled; `ended` counts those that are saved or failed, expired or unknown. It
    falls when an unknown one is found: that one is carried on. `expected` is how long it takes, told before it began.
    """

    total: int = 0
    saved: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: int = 0
    spent: int = 0
    price: int | None = None
    resumed: int = 0
    simulated: bool = False
    throttled: int = 0
    expected: Forecast | None = None
    event: LogEvent | None = None

    @property
    def message(self) -> str:
        """The last event as a line of text; empty when this moment has none."""
        return str(self.event) if self.event else ""

    @property
    def at_risk(self) -> int:
        """Micro-dollars that jobs in flight and unknown ones may cost, as far as the price is known."""
        return (self.in_flight + self.unknown) * (self.price or 0)

    @property
    def ended(self) -> int:
        """Jobs that need nothing more from this run."""
        return self.saved + self.failed + self.unknown


class Told(Protocol):
    """What an event says of a job: its id, the request it holds, how often it was sent, and what was set aside for it."""

    @property
    def name(self) -> str:
        """What a log calls it."""

    @property
    def request_id(self) -> str | None:
        """The service's name for it."""

    @property
    def attempts(self) -> int:
        """How often it was sent."""

    @property
    def estimate(self) -> int | None:
        """Micro-dollars that were set aside for it."""


_SETTLES = {Event.FIND_RUNNING, Event.FIND_DONE, Event.FIND_FAILED, Event.ABSENT, Event.GIVE_UP}


@dataclass
class Tally:
    """Turns moves of jobs into Progress, and hands it to the listener after each."""

    listener: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)
    returned: list[str] = field(default_factory=list)
    """Rows whose picture of before was brought back from images/.previous/."""
    away: int = 0
    """Paid pictures that could not be fetched; `why_away` is what was in the way of the last one."""
    why_away: str = ""

    @property
    def told_back(self) -> str:
        """What a person should know about rows that went back; empty when none did."""
        if not self.returned:
            return ""
        names = ", ".join(self.returned[:MOST_NAMES]) + (" …" if len(self.returned) > MOST_NAMES else "")
        return (
            f"As the manifest asks, earlier pictures are back, at no cost: {names}. Those that were redone meanwhile are "
            "in images/.previous/. To keep a redo, take its seed and prompt from report.csv into the manifest."
        )

    @property
    def told_away(self) -> str:
        """What a person should know about paid pictures that did not come; empty when all did."""
        if not self.away:
            return ""
        return (
            f"{self.away} paid picture{' was' if self.away == 1 else 's were'} not fetched ({self.why_away}). "
            "The next run fetches what is left, at no cost; the service keeps the files for seven days."
        )

    def begin(
        self,
        jobs: int,
        *,
        unknown: int = 0,
        price: int | None,
        resumed: int,
        simulated: bool,
        expected: Forecast | None = None,
    ) -> None:
        """Say how many jobs there are to carry and to settle, what one costs, what was done before, how long it takes.

        Money in micro-dollars.
        """
        self._tell(
            total=jobs + unknown,
            unknown=unknown,
            price=price,
            resumed=resumed,
            simulated=simulated,
            expected=expected,
        )

    def tick(self) -> None:
        """Tell the listener that time passes."""
        self._tell()

    def flew(self, change: int) -> None:
        """Take note of a job that took (+1) or left (-1) a slot."""
        self._tell(in_flight=self.progress.in_flight + change)

    def moved(self, task: Told, event: Event, state: State, facts: Mapping[str, Any]) -> None:
        """Take note of a move that is on disk."""
        if event in _SETTLES:
            self.progress = replace(self.progress, unknown=self.progress.unknown - 1)
        now, cost = self.progress, facts.get("cost")
        why = {name: facts.get(name) for name in ("error_class", "http_status", "error")}
        if event in {Event.FIND_RUNNING, Event.FIND_DONE}:
            told = {"cost_usd": None if cost is None else cost / MICRO}
            self._tell(
                _of(task, "found", INFO, request_id=facts["request_id"], **told),
                spent=now.spent + (cost or 0),
            )
        elif event is Event.ABSENT:
            self._tell(_of(task, "absent", WARNING))
        elif event is Event.ACCEPT:
            self._tell(_of(task, "accepted", INFO, request_id=facts["request_id"]))
        elif event is Event.THROTTLE:
            self._tell(_of(task, "throttled", WARNING), throttled=now.throttled + 1)
        elif event is Event.COMPLETE:
            told = {name: facts.get(name) for name in ("queue_s", "inference_s", "total_s")}
            told["cost_usd"] = None if cost is None else cost / MICRO
            self._tell(_of(task, "completed", INFO, **told), spent=now.spent + (cost or 0))
        elif event is Event.BOUNCE:
            self._tell(_of(task, "bounced", WARNING, **why))
        elif state is State.UNKNOWN:
            self._tell(_of(task, "unknown", ERROR, **why), unknown=now.unknown + 1)
        elif state in {State.FAILED, State.EXPIRED}:
            self._tell(_of(task, state, ERROR, **why), failed=now.failed + 1)

    def saved(self, task: Told) -> None:
        """Take note of a picture that is on disk."""
        self._tell(_of(task, "saved", INFO), saved=self.progress.saved + 1)

    def unfetched(self, task: Told, why: Exception) -> None:
        """Take note of a paid picture that did not come, and is left to the next run."""
        self.away, self.why_away = self.away + 1, str(why)
        self._tell(_of(task, "unfetched", WARNING, error=str(why)))

    def _tell(self, event: LogEvent | None = None, **changes: Any) -> None:
        self.progress = replace(self.progress, event=event, **changes)
        self.listener(self.progress)


def _of(task: Told, name: str, level: str, **more: Any) -> LogEvent:
    """Return an event of one job: its id, request id and attempt, then what is particular to it."""
    known = {"id": task.name, "request_id": task.request_id, "attempt": task.attempts or None}
    return LogEvent(f"job.{name}", level, known | more)
