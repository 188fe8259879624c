"""Rows, payloads and ledgers for the unit tests of the core."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batch.core.models import Payload
from batch.core.parameters import EXTENSIONS, PARAMETERS
from batch.ledger.ledger import Ledger
from batch.ledger.staging import Stage
from batch.ledger.states import Event, State
from batch.manifest.naming import fold_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS} | {
    "image_1": "https://h/p.jpg",
    "image_2": "https://h/t.jpg",
}

# The shortest way from planned to each state, as (event, facts).
WAYS: dict[State, list[tuple[Event, dict[str, Any]]]] = {State.PLANNED: []}
WAYS[State.SENDING] = [(Event.RESERVE, {"submitted_at": 1000.0})]
WAYS[State.ACCEPTED] = [*WAYS[State.SENDING], (Event.ACCEPT, {"request_id": "r-{job}"})]
WAYS[State.COMPLETED] = [
    *WAYS[State.ACCEPTED],
    (Event.COMPLETE, {"output_url": "https://h/out.webp", "cost": 30_000}),
]
WAYS[State.SAVED] = [*WAYS[State.COMPLETED], (Event.KEEP, {"sha256": "aa"})]
WAYS[State.FAILED] = [*WAYS[State.ACCEPTED], (Event.FAIL, {"error_class": "job_failed", "error": "no"})]
WAYS[State.EXPIRED] = [*WAYS[State.ACCEPTED], (Event.EXPIRE, {"error_class": "expired", "error": "gone"})]
WAYS[State.UNKNOWN] = [*WAYS[State.SENDING], (Event.LOSE, {"error_class": "no_answer", "error": "cut"})]
WAYS[State.ABANDONED] = [*WAYS[State.UNKNOWN], (Event.ABANDON, {})]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Book:
    """A ledger and the few moves that every test makes with it."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock

    def stage(self, payloads: Sequence[Payload]) -> Stage:
        """Stage payloads as the intake would."""
        stage = Stage(self.ledger)
        stage.fill(payloads, fold_name)
        return stage

    def adopt(
        self,
        *payloads: Payload,
        merge: bool = False,
        retry_failed: bool = False,
        columns: Sequence[str] = ("id",),
        only: Sequence[str] = (),
        pay_again: bool = False,
    ) -> None:
        """Make payloads the manifest."""
        stage = self.stage(payloads)
        if only:
            stage.select(only)
        with self.ledger.atomic():
            stage.adopt(columns, merge=merge, retry_failed=retry_failed, pay_again=pay_again)

    def job(self, row_id: str) -> int:
        """Return the job of a row."""
        return self.row(row_id)["job"]

    def row(self, row_id: str) -> dict[str, Any]:
        """Return a row as it stands, with its job's columns."""
        found = self.ledger.connection.execute(
            "SELECT j.*, r.* FROM rows r JOIN jobs j USING (job) WHERE r.id=?", (row_id,)
        ).fetchone()
        return dict(found)

    def bring(self, row_id: str, state: State, **facts: Any) -> int:
        """Move a planned row's job to a state the shortest way; `facts` replace those of the last step."""
        job = self.job(row_id)
        way = WAYS[state]
        with self.ledger.atomic():
            for number, (event, given) in enumerate(way, 1):
                told = {
                    name: self._new_id(value.format(job=job)) if name == "request_id" else value
                    for name, value in given.items()
                }
                self.ledger.transition(job, event, **(told | (facts if number == len(way) else {})))
        return job

    def _new_id(self, request_id: str) -> str:
        """Return a request id that no attempt of before was accepted with."""
        return f"{request_id}-again" if self.ledger.holds(request_id) else request_id

    def move(self, row_id: str, event: Event, **facts: Any) -> State:
        """Move a row's job by one event."""
        with self.ledger.atomic():
            return self.ledger.transition(self.job(row_id), event, **facts)

    def keep(self, row_id: str, output: str | None = None) -> None:
        """Write down that a row's picture lies on disk."""
        with self.ledger.atomic() as connection:
            connection.execute(
                "UPDATE rows SET kept_job=job, kept_output=coalesce(?, output) WHERE id=?", (output, row_id)
            )

    def states(self) -> dict[str, str]:
        """Return each row's state."""
        return {
            row["id"]: row["state"]
            for row in self.ledger.connection.execute("SELECT id, state FROM rows JOIN jobs USING (job)")
        }


@pytest.fixture(autouse=True)
def on_a_quick_machine(no_syncing: None) -> None:
    """Spend no time on what these tests are not about."""


@pytest.fixture
def clock() -> Clock:
    """A clock at a fixed time."""
    return Clock()


@pytest.fixture
def book(tmp_path: Path, clock: Clock) -> Iterator[Book]:
    """A fresh ledger of a real service."""
    with Ledger.create_or_open(tmp_path / "ledger.sqlite", clock=clock) as ledger:
        ledger.run_id = "run-1"
        yield Book(ledger, clock)


@pytest.fixture
def payload() -> Callable[..., Payload]:
    """Make payloads: `payload("a", prompt="…")`; numbers count up from 2, as lines of a CSV do."""
    numbers = iter(range(2, 1_000_000))

    def make(
        row_id: str,
        *,
        output: str | None = None,
        files: dict[str, str] | None = None,
        cells: dict[str, str] | None = None,
        derived: bool = False,
        **given: Any,
    ) -> Payload:
        parameters = DEFAULTS | given
        return Payload(
            number=next(numbers),
            id=row_id,
            derived_id=derived,
            output=output or f"{row_id}.{EXTENSIONS[str(parameters['image_format'])]}",
            parameters=parameters,
            files={content: Path(path) for content, path in (files or {}).items()},
            cells={"id": row_id} | (cells or {}),
        )

    return make
