"""Count a run while it goes on: for the progress line, a caller's callback and the job events of the log."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from batch.core.log_event import ERROR, INFO, WARNING, LogEvent
from batch.core.units import MICRO, counted
from batch.ledger.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batch.core.models import Task
    from batch.pacing.forecast import Forecast


MOST_NAMES = 10
"""Rows that a note names; the others are only counted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment: its jobs by what became of them, the micro-dollars it has spent, and the last event.

    `total` jobs are to be processed or reconciled; `ended` counts those that are saved, failed, expired or unknown. It
    falls when an unknown job is found in the history, because that job goes on. `price` is what one job costs in
    micro-dollars, `resumed` how many micro-dollars' worth was done before, `expected` the forecast made at the start. When the
    run began, `accepted` images of the folder were, and `spent_before` micro-dollars spent in it.
    """

    total: int = 0
    saved: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: int = 0
    spent: int = 0
    price: int = 0
    resumed: int = 0
    accepted: int = 0
    spent_before: int = 0
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
        """Micro-dollars that jobs in flight and unknown ones may cost."""
        return (self.in_flight + self.unknown) * self.price

    @property
    def usd_per_accepted(self) -> float:
        """US dollars spent in the folder for each image that was accepted when the run began; some must be."""
        return round((self.spent_before + self.spent) / self.accepted / MICRO, 6)

    @property
    def ended(self) -> int:
        """Jobs that need nothing more from this run."""
        return self.saved + self.failed + self.unknown


_RESOLVES = {Event.FIND_RUNNING, Event.FIND_DONE, Event.FIND_FAILED, Event.ABSENT, Event.GIVE_UP}
"""Events after which a job is not unknown any more."""


class _Kind(NamedTuple):
    """The log event of a transition: its name, its level, the fields it shows, and the counter it raises."""

    name: str
    level: str
    fields: tuple[str, ...] = ()
    counter: str = ""


_FOUND = ("request_id", "cost_usd")
_COMPLETED = ("queue_s", "inference_s", "total_s", "cost_usd")
_WHY = ("error_class", "http_status", "error")

_BY_EVENT = {
    Event.FIND_RUNNING: _Kind("found", INFO, _FOUND),
    Event.FIND_DONE: _Kind("found", INFO, _FOUND),
    Event.ABSENT: _Kind("absent", WARNING),
    Event.ACCEPT: _Kind("accepted", INFO, ("request_id",)),
    Event.THROTTLE: _Kind("throttled", WARNING, counter="throttled"),
    Event.COMPLETE: _Kind("completed", INFO, _COMPLETED),
    Event.KEEP: _Kind("saved", INFO, counter="saved"),
    Event.BOUNCE: _Kind("bounced", WARNING, _WHY),
}
_BY_STATE = {
    State.UNKNOWN: _Kind("unknown", ERROR, _WHY, "unknown"),
    State.FAILED: _Kind("failed", ERROR, _WHY, "failed"),
    State.EXPIRED: _Kind("expired", ERROR, _WHY, "failed"),
    # A job that was to be made again and failed: it is saved as before, its image moved away.
    State.SAVED: _Kind("not_remade", ERROR, _WHY, "failed"),
}
"""For every other event: by the state that it led to."""

_MOVED_AWAY = _Kind("moved_away", INFO)
_UNFETCHED = _Kind("unfetched", WARNING, ("error",))


@dataclass
class ProgressTracker:
    """Turns transitions of jobs into Progress, and gives it to the listener after each.

    `on_failures` gets it as well, once a job has failed; `first_saved` is set when an image has been saved.
    """

    listener: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)
    on_failures: Callable[[Progress], None] = lambda progress: None  # noqa: ARG005
    first_saved: anyio.Event = field(default_factory=anyio.Event)
    restored: list[str] = field(default_factory=list)
    """Rows whose earlier image was restored from images/.previous/."""
    missing: int = 0
    """Saved images that a row wants under another name, and that are in no file."""
    unfetched: int = 0
    """Paid images that could not be fetched; `why_unfetched` is the reason of the last one."""
    why_unfetched: str = ""
    other_formats: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Images that came in another format, by the one that was asked for and the one that came."""

    def notes(self) -> Iterator[str]:
        """Yield what the run should report at its end, beside its figures."""
        if self.restored:
            names = ", ".join(self.restored[:MOST_NAMES]) + (" …" if len(self.restored) > MOST_NAMES else "")
            yield (
                f"As the manifest asks, earlier images are back, at no cost: {names}. Those that were redone meanwhile are "
                "in images/.previous/. To keep a redo, take its seed and prompt from report.csv into the manifest."
            )
        if self.other_formats:
            yield " ".join(
                f"{counted(count, 'image')} came as {came.upper()} although {asked} was asked for; kept under "
                f"{'its' if count == 1 else 'their'} own suffix."
                for (asked, came), count in sorted(self.other_formats.items())
            )
        if self.missing:
            yield (
                f"{self.missing} saved image{' is' if self.missing == 1 else 's are'} nowhere in the folder: "
                f"{'its row stays' if self.missing == 1 else 'their rows stay'} saved, moved away, and nothing is fetched or "
                "sent. `texbatch restore DIR` brings images back."
            )
        if self.unfetched:
            yield (
                f"{self.unfetched} paid image{' was' if self.unfetched == 1 else 's were'} not fetched "
                f"({self.why_unfetched}). The next run fetches what is left, at no cost; the service keeps the files for "
                "seven days."
            )

    def update(
        self,
        kind: _Kind | None = None,
        task: Task | None = None,
        fields: Mapping[str, Any] = MappingProxyType({}),
        **changes: Any,
    ) -> None:
        """Change fields of the progress and give it to the listener, with the event of a job if there is one."""
        event = None
        if kind is not None and task is not None:
            known = {"id": task.name, "request_id": task.request_id, "attempt": task.attempts or None}
            shown = {name: fields.get(name) for name in kind.fields}
            event = LogEvent(f"job.{kind.name}", kind.level, known | shown)
            event.log()
        self.progress = replace(self.progress, event=event, **changes)
        self.listener(self.progress)

    def on_transition(self, task: Task, event: Event, state: State, fields: Mapping[str, Any]) -> None:
        """Count a transition that is on disk; KEEP for each image that is saved."""
        kind = _BY_EVENT.get(event) or _BY_STATE.get(state)
        if kind is None:
            return
        now, cost = self.progress, fields.get("cost")
        changes = {"unknown": now.unknown - 1} if event in _RESOLVES else {}
        if kind.counter:
            changes[kind.counter] = getattr(now, kind.counter) + 1
        if kind.fields is _FOUND or kind.fields is _COMPLETED:
            changes["spent"] = now.spent + (cost or 0)
        shown = {**fields, "cost_usd": None if cost is None else cost / MICRO}
        self.update(kind, task, shown, **changes)
        if self.progress.saved:
            self.first_saved.set()
        if self.progress.failed:
            self.on_failures(self.progress)

    def image_missing(self, task: Task) -> None:
        """Count a saved image that is in no file: nothing is done for it."""
        self.missing += 1
        self.update(_MOVED_AWAY, task, total=self.progress.total - 1)

    def image_unfetched(self, task: Task, why: Exception) -> None:
        """Count a paid image that did not come, and is left to the next run."""
        self.unfetched, self.why_unfetched = self.unfetched + 1, str(why)
        self.update(_UNFETCHED, task, {"error": str(why)})
