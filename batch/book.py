"""The book of a run: a job's move is written to the ledger, then told to the budget and to whoever listens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from batch.budget import Budget
    from batch.ledger.desk import Desk
    from batch.ledger.states import Event, State
    from batch.model import Task
    from batch.tally import Tally, Told


@dataclass(frozen=True, slots=True)
class Book:
    """Where the moves of all jobs are noted."""

    desk: Desk
    budget: Budget
    tally: Tally

    async def move(self, task: Task, event: Event, **facts: Any) -> State:
        """Move a job; return its new state once it is on disk. Raises FolderError where it cannot be written."""
        state = await self.desk.do(lambda ledger: ledger.move(task.job, event, **facts))
        self.tell(task, event, state, facts)
        return state

    def tell(self, task: Told, event: Event, state: State, facts: dict[str, Any]) -> None:
        """Tell of a move that is on disk already."""
        self.budget.moved(event, task.estimate, facts.get("cost"))
        self.tally.moved(task, event, state, facts)
