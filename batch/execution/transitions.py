"""What an answer does to a job and to the run's budget, and writing it down.

The functions are pure: from what the service or its history said to an event of the ledger and the fields that go with
it. `Recorder` writes an event, then informs the budget and the progress of the run. Rule: neither hears of a
transition that is not on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.client import responses
from batch.core import error_classes
from batch.core.errors import BudgetExceeded
from batch.core.units import format_usd
from batch.ledger.states import Event
from batch.pacing.limiter import Throttled

if TYPE_CHECKING:
    from batch.client.history_page import Entry
    from batch.core.models import Result, Task
    from batch.execution.progress import ProgressTracker
    from batch.ledger.store import AsyncLedger


UNDER_WAY = frozenset({"PENDING", "QUEUED", "PROCESSING", "RUNNING", "IN_PROGRESS"})
"""Statuses in the history of a request that has not ended."""

Transition = tuple[Event, dict[str, Any]]
"""An event and its fields, as `Ledger.transition` takes them."""


def is_output_url(output: str) -> bool:
    """Return whether a result is a URL; otherwise it is the image itself, in base64."""
    return output[:8].lower().startswith(("http://", "https://"))


def submitted(reply: responses.Submission, *, last: bool) -> Transition:
    """Return what the answer to a submit does to the job; `last` means that no further try is left."""
    match reply:
        case responses.Accepted(request_id):
            return Event.ACCEPT, {
                "request_id": request_id,
                "http_status": 200,
                "error": None,
                "error_class": None,
            }
        case Throttled():
            return Event.THROTTLE, {"http_status": 429}
        case responses.NotAccepted(error_class, reason, http_status):
            refused = last and error_class != error_classes.NOT_DELIVERED
            event = Event.REFUSE if refused else Event.BOUNCE
        case responses.Refused(reason, http_status):
            event, error_class = Event.REFUSE, error_classes.REFUSED
        case responses.Unknown(error_class, reason, http_status):
            event = Event.LOSE
        case responses.AccountRefused(reason, http_status):
            event, error_class = Event.BOUNCE, error_classes.STOPPED
    return event, {"error_class": error_class, "error": reason, "http_status": http_status}


def completed(result: Result, now: float, estimate: int | None) -> Transition:
    """Return what a result does. A base64 image is not written down: it can be asked for again.

    `estimate` (micro-dollars) goes on the bill where the service names no cost.
    """
    return Event.COMPLETE, {
        "completed_at": now,
        "output_url": result.output if is_output_url(result.output) else None,
        "queue_s": result.queue_s,
        "inference_s": result.inference_s,
        "total_s": result.total_s,
        "error": None,
        "error_class": None,
        "cost": estimate if result.cost is None else result.cost,
        "estimated": estimate if result.cost is None else None,
    }


def found(entry: Entry, submitted_at: float, estimate: int | None) -> Transition:
    """Return what the history's entry for a lost submit does; `submitted_at` is when it was sent, by our clock."""
    fields: dict[str, Any] = {"request_id": entry.request_id, "submitted_at": submitted_at}
    if entry.status == "FAILED":
        return Event.FIND_FAILED, fields | {
            "error_class": error_classes.JOB_FAILED,
            "error": entry.error or "no reason given",
        }
    fields |= {"error": None, "error_class": None}
    if entry.status != "COMPLETED":
        return Event.FIND_RUNNING, fields
    return Event.FIND_DONE, fields | {
        "output_url": entry.url,
        "cost": estimate if entry.cost is None else entry.cost,
        "estimated": estimate if entry.cost is None else None,
    }


def recalled(entry: Entry, cost: int | None, estimated: int, *, named: bool) -> Transition | None:
    """Return what the history's entry for an expired job does; None where the job stays expired.

    `cost` is what the bill has for it, in micro-dollars, `estimated` how much of that is marked as our estimate; `named`
    means that the service itself has named the cost. If it has not, the bill is corrected: a failed job is not billed,
    and one that is running is not billed yet.
    """
    fields: dict[str, Any] = {"error": None, "error_class": None, "http_status": None}
    if entry.status == "COMPLETED" and entry.url is not None:
        fields |= {"output_url": entry.url}
        if named or entry.cost is None:
            return Event.FIND_DONE, fields | {"cost": cost, "billed": 0}
        return Event.FIND_DONE, fields | {
            "cost": entry.cost,
            "billed": entry.cost - (cost or 0),
            "estimated": -estimated,
        }
    if named:
        return None
    fields |= {"cost": None, "billed": -(cost or 0), "estimated": -estimated}
    if entry.status == "FAILED":
        return Event.FIND_FAILED, fields | {
            "error_class": error_classes.JOB_FAILED,
            "error": entry.error or "no reason given",
        }
    return (Event.FIND_RUNNING, fields) if entry.status in UNDER_WAY else None


_GIVEN_BACK = frozenset(
    {Event.THROTTLE, Event.BOUNCE, Event.REFUSE, Event.FAIL, Event.FIND_FAILED, Event.ABSENT, Event.GIVE_UP}
)
"""Events after which a reserved job is certainly not billed. Not RESTART: an earlier run set that money aside."""

_NAMES_COST = frozenset({Event.COMPLETE, Event.FIND_DONE})
"""Events whose cost takes the place of what was set aside."""


@dataclass(repr=False)
class Budget:
    """What a run may still spend: reserved before each POST, released only when the job was certainly not billed.

    Integer micro-dollars. The `cap` bounds what this run spends plus what was unknown or in flight in the folder when it
    began, so `committed` starts with that; None for no cap. `price` is what the next job is expected to cost.
    The cap is kept as far as the price is known: a price that rises while jobs are in flight shows in the first
    new bill only. From then on it is set aside, so the cap can be passed by the rise of what was in flight then, and by no
    more.
    """

    cap: int | None
    price: int
    committed: int = 0

    def __repr__(self) -> str:
        return f"<Budget {self.committed}/{'unlimited' if self.cap is None else self.cap} micro-dollars>"

    def reserve(self) -> int:
        """Reserve the next job's price and return it; raises BudgetExceeded, with nothing reserved, when it does not fit."""
        if self.cap is not None and self.committed + self.price > self.cap:
            raise BudgetExceeded(
                f"--max-cost {format_usd(self.cap)}: {format_usd(self.committed)} are spent or set aside, and "
                f"the next job may cost {format_usd(self.price, 4)}. Raise it, then run the same command."
            )
        self.committed += self.price
        return self.price

    def on_transition(self, event: Event, estimate: int | None, cost: int | None) -> None:
        """Release or correct the `estimate` that was reserved for a job, as an event says; `cost` is what it was billed."""
        if event in _GIVEN_BACK:
            self.committed -= estimate or 0
        elif event in _NAMES_COST and cost is not None:
            self.committed += cost - (estimate or 0)
            self.price = max(self.price, cost)  # a price that rose is set aside from now on


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes the transitions of all jobs of a run."""

    ledger: AsyncLedger
    budget: Budget
    tracker: ProgressTracker

    async def record(self, task: Task, event: Event, **fields: Any) -> None:
        """Write a job's transition, then inform budget and progress. Raises FolderError when it cannot be written."""
        state = await self.ledger.run(lambda store: store.transition(task.job, event, **fields))
        self.budget.on_transition(event, task.estimate, fields.get("cost"))
        self.tracker.on_transition(task, event, state, fields)
