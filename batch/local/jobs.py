"""The jobs of the server and their states; knows no HTTP, no money, no picture.

Rule 1: every move is in MOVES; another one raises IllegalMove and changes nothing. Rule 2: a state is a frozen
value with its own times (epoch seconds, the server's clock); nothing is None until later. Rule 3: the record of a
job is gone for polls when its lifetime since the submit has passed, whatever its state; the history keeps it.

    Queued ─start→ Processing ─complete→ Completed
                        └ fail → Failed
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class IllegalMove(RuntimeError):
    """A move that is not in MOVES."""


@dataclass(frozen=True, slots=True)
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

    @property
    def prompt(self) -> str:
        """The prompt as sent."""
        return str(self.body["prompt"])


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
    """Ended without a picture, not billed."""

    started_at: float
    ended_at: float
    reason: str
    name = "FAILED"


State = Queued | Processing | Completed | Failed
MOVES: frozenset[tuple[type[State], type[State]]] = frozenset(
    {(Queued, Processing), (Processing, Completed), (Processing, Failed)}
)


def body_key(body: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of the body's canonical JSON: keys sorted, no spaces, UTF-8."""
    return hashlib.sha256(canonical(body)).hexdigest()


def canonical(body: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a request body."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Jobs:
    """All jobs ever accepted, in the order of their acceptance, counted by state, prompt and body."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.prompts: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self._jobs: dict[str, Job] = {}
        self._states: dict[str, State] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[tuple[Job, State]]:
        return ((job, self._states[job.request_id]) for job in self._jobs.values())

    def accept(self, job: Job) -> None:
        """Take a new job in; it is QUEUED."""
        if job.request_id in self._jobs:
            raise IllegalMove(f"{job.request_id}: accepted twice")
        self._jobs[job.request_id] = job
        self._states[job.request_id] = Queued()
        self.states[Queued.name] += 1
        self.prompts[job.prompt] += 1
        self.bodies[body_key(job.body)] += 1

    def move(self, request_id: str, state: State) -> None:
        """Put the job into `state`."""
        now = self._states[request_id]
        if (type(now), type(state)) not in MOVES:
            raise IllegalMove(f"{request_id}: {now.name} → {state.name}")
        self._states[request_id] = state
        self.states[now.name] -= 1
        self.states[state.name] += 1

    def find(self, request_id: str) -> tuple[Job, State] | None:
        """Return job and state, of any age."""
        job = self._jobs.get(request_id)
        return None if job is None else (job, self._states[request_id])

    def poll(self, request_id: str, now: float, lifetime_s: float) -> tuple[Job, State] | None:
        """Return job and state as a poll sees them: None when unknown or `lifetime_s` has passed."""
        found = self.find(request_id)
        if found is None or now >= found[0].accepted_at + lifetime_s:
            return None
        return found
