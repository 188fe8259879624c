"""The jobs of the server and their states; knows no HTTP, no money, no image.

Rule 1: every transition is in TRANSITIONS; another one raises InvalidJobTransition and changes nothing. Rule 2: a state
is a frozen value with its own times (epoch seconds, the server's clock); nothing is None until later. Rule 3: polls no
longer find a job once its lifetime since the submit has passed, whatever its state; the history keeps it.

    Queued ─start→ Processing ─complete→ Completed
                        └ fail → Failed
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batch.server.engines.base import canonical


class InvalidJobTransition(RuntimeError):
    """A transition that is not in TRANSITIONS."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting for a worker."""

    name = "QUEUED"


@dataclass(frozen=True, slots=True)
class Processing:
    """On a worker since `started_at`."""

    started_at: float
    name = "PROCESSING"


@dataclass(frozen=True, slots=True)
class Completed:
    """Done and billed: `balance` micro-dollars were left then; `file` is the name of the output file."""

    started_at: float
    ended_at: float
    balance: int
    file: str
    size_bytes: int
    name = "COMPLETED"


@dataclass(frozen=True, slots=True)
class Failed:
    """Ended without an image, not billed."""

    started_at: float
    ended_at: float
    reason: str
    name = "FAILED"


State = Queued | Processing | Completed | Failed
TRANSITIONS: frozenset[tuple[type[State], type[State]]] = frozenset(
    {(Queued, Processing), (Processing, Completed), (Processing, Failed)}
)


@dataclass(slots=True)
class Job:
    """An accepted submit. `ordinal` counts from 0; `seed` is the one drawn for -1; `fault` names what hit its POST."""

    request_id: str
    ordinal: int
    model: str
    body: Mapping[str, Any]
    seed: int
    cost: int
    accepted_at: float
    version: str
    fault: str
    state: State = Queued()

    @property
    def prompt(self) -> str:
        """The prompt as sent."""
        return str(self.body["prompt"])

    @property
    def body_key(self) -> str:
        """The SHA-256 (hex) of the body's canonical JSON."""
        return hashlib.sha256(canonical(self.body)).hexdigest()


class Jobs:
    """All jobs ever accepted, in the order of their acceptance."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def accept(self, job: Job) -> None:
        """Take in a new job, which is QUEUED."""
        if job.request_id in self._jobs:
            raise InvalidJobTransition(f"{job.request_id}: accepted twice")
        self._jobs[job.request_id] = job

    def transition(self, job: Job, state: State) -> None:
        """Put the job into `state`."""
        if (type(job.state), type(state)) not in TRANSITIONS:
            raise InvalidJobTransition(f"{job.request_id}: {job.state.name} → {state.name}")
        job.state = state

    def find(self, request_id: str) -> Job | None:
        """Return the job, of any age."""
        return self._jobs.get(request_id)

    def poll(self, request_id: str, now: float, lifetime_s: float) -> Job | None:
        """Return the job as a poll sees it: None when it is unknown or `lifetime_s` has passed since the submit."""
        job = self._jobs.get(request_id)
        return job if job is not None and now < job.accepted_at + lifetime_s else None
