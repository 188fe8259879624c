"""Counting a run while it goes on, for the progress line and for a caller's callback."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batch.ledger.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batch.model import Task


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment: jobs of this run by what became of them, micro-dollars spent by it, and the last event.

    `total` jobs are to be carried; `ended` counts those that are saved or failed, expired or unknown.
    """

    total: int = 0
    saved: int = 0
    failed: int = 0
    unknown: int = 0
    in_flight: int = 0
    spent: int = 0
    simulated: bool = False
    throttled: int = 0
    message: str = ""

    @property
    def ended(self) -> int:
        """Jobs that need nothing more from this run."""
        return self.saved + self.failed + self.unknown


@dataclass
class Tally:
    """Turns moves of jobs into Progress, and hands it to the listener after each."""

    listener: Callable[[Progress], None]
    progress: Progress = field(default_factory=Progress)

    def begin(self, total: int, *, simulated: bool) -> None:
        """Say how many jobs there are to carry."""
        self._tell(total=total, simulated=simulated, message="")

    def tick(self) -> None:
        """Tell the listener that time passes."""
        self._tell(message="")

    def flew(self, change: int) -> None:
        """Take note of a job that took (+1) or left (-1) a slot."""
        self._tell(in_flight=self.progress.in_flight + change, message="")

    def moved(self, task: Task, event: Event, state: State, facts: Mapping[str, Any]) -> None:
        """Take note of a move that is on disk."""
        now, name = self.progress, f"id={task.name}"
        if event is Event.ACCEPT:
            self._tell(message=f"job.accepted {name} request_id={facts['request_id']}")
        elif event is Event.THROTTLE:
            self._tell(throttled=now.throttled + 1, message=f"job.throttled {name}")
        elif event is Event.COMPLETE:
            self._tell(
                spent=now.spent + (facts["cost"] or 0), message=f"job.completed {name} cost={facts['cost']}"
            )
        elif event is Event.BOUNCE:
            self._tell(message=f"job.bounced {name} error={facts['error']}")
        elif state is State.UNKNOWN:
            self._tell(unknown=now.unknown + 1, message=f"job.unknown {name} error={facts['error']}")
        elif state in {State.FAILED, State.EXPIRED}:
            self._tell(failed=now.failed + 1, message=f"job.{state} {name} error={facts['error']}")

    def saved(self, task: Task) -> None:
        """Take note of a picture that is on disk."""
        self._tell(saved=self.progress.saved + 1, message=f"job.saved id={task.name}")

    def _tell(self, **changes: Any) -> None:
        self.progress = replace(self.progress, **changes)
        self.listener(self.progress)
