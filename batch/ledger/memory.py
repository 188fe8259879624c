"""A ledger in dictionaries: the same operations as the SQLite file, under the same behaviour suite, and nothing on disk.

It is for tests, and no run uses it: when the process ends, nobody knows any more what was sent and paid for. Every
operation looks through all rows, so it is for thousands of them, not millions.
Nothing here waits for a disk, so `MemoryLedger` is its own AsyncLedger.

Every change replaces a frozen record in a dictionary by `_put`, which notes what was there before: so a block that raises
is undone step by step.
"""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from anyio.lowlevel import checkpoint

from batch.core import error_classes
from batch.core.config import LOCAL_SERVICE
from batch.core.errors import InvalidTransition, RequestIdTaken
from batch.core.models import CONTENT_PREFIX, Target, Task, aside_name, payload_key, seed_name
from batch.core.parameters import MAX_SEED, RANDOM_SEED
from batch.core.units import boot, counter
from batch.ledger import store
from batch.ledger.series import WITHOUT
from batch.ledger.states import FORGETS_UPLOADS, IN_FLIGHT, Event, State, next_state
from batch.ledger.store import LedgerStore, Part, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.core.models import Payload
    from batch.core.parameters import Scalar
    from batch.ledger.store import FileStamps

T = TypeVar("T")

_ABSENT = object()
_OF_TASK = ("request_id", "output_url", "submitted_at", "estimate", "sha256")
_DONE = {Event.COMPLETE, Event.FIND_DONE}


@dataclass(frozen=True, slots=True)
class _Job:
    """A piece of paid work; `fields` are what events brought, `former` those of a saved job while it is made again."""

    key: str
    parameters: Mapping[str, Scalar]
    state: State = State.PLANNED
    attempts: int = 0
    run_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    former: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """Return what was sent last."""
        return {**self.parameters, **json.loads(self.fields.get("sent") or "{}")}

    def expected(self, price: int | None) -> int:
        """Return the micro-dollars that it may cost: its own estimate, else the price, else 0."""
        estimate: int | None = self.fields.get("estimate")
        return (price or 0) if estimate is None else estimate


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the manifest; `position` None: no longer in it. `kept_job` is whose image lies at `kept_output`."""

    id: str
    position: int | None = None
    job: int = 0
    output: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    selected: bool = False
    kept_job: int | None = None
    kept_output: str | None = None
    kept_for: str | None = None
    nowhere: bool = False

    @property
    def place(self) -> str | None:
        """The output that the image was kept for."""
        return self.kept_output if self.kept_for is None else self.kept_for

    @property
    def misplaced(self) -> bool:
        """Whether the image of the row's job does not lie where the row wants it."""
        return self.kept_job != self.job or self.place != self.output


@dataclass(frozen=True, slots=True)
class _Member:
    """A job of a row's series: its candidate, `wanted` by the current command."""

    series: int
    wanted: bool = False


@dataclass(frozen=True, slots=True)
class _Event:
    job: int
    attempt: int
    event: Event
    at: float
    request_id: str | None
    cost: int | None
    run_id: str | None
    estimated: int | None


def _assign(into: dict[Any, Any], key: Any, value: Any) -> None:
    if value is _ABSENT:
        del into[key]
    else:
        into[key] = value


class MemoryLedger(LedgerStore):
    """A ledger that is forgotten with the process. LedgerStore says what its operations do.

    `service` is "local" for the service that nobody pays; `foreign_files` are the names below `images/`
    that no row has; `runs` what is known of each run, by its id.
    """

    def __init__(self, clock: Callable[[], float], *, service: str | None = None) -> None:
        self.clock = clock
        self.run_id: str | None = None
        self.service = service
        self.foreign_files: list[str] = []
        self.runs: dict[str | None, dict[str, Any]] = {}
        self._jobs: dict[int, _Job] = {}
        self._rows: dict[str, _Row] = {}
        self._members: dict[tuple[str, int], _Member] = {}
        self._events: dict[int, _Event] = {}
        self._uploads: dict[str, tuple[str, float]] = {}
        self._notes: dict[str, Any] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._fold: Callable[[str], str] = str

    async def run(self, work: Callable[[LedgerStore], T]) -> T:
        with self.atomic():
            result = work(self)
        await checkpoint()
        return result

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with self.savepoint():
            yield
        self._undo.clear()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        begun = len(self._undo)
        try:
            yield
        except BaseException:
            while len(self._undo) > begun:
                _assign(*self._undo.pop())
            raise

    def _put(self, into: dict[Any, Any], key: Any, value: Any) -> None:
        """Change a dictionary; `_ABSENT` takes the key out."""
        self._undo.append((into, key, into.get(key, _ABSENT)))
        _assign(into, key, value)

    def _change_row(self, row: _Row, **changes: Any) -> None:
        changed = replace(row, **changes)
        if row.job and row.job != changed.job and self._jobs[row.job].attempts:  # it can be chosen again
            known = self._members.get((row.id, row.job), _Member(row.job))
            self._put(self._members, (row.id, row.job), known)
        self._put(self._rows, row.id, changed)

    # -- the manifest ----------------------------------------------------------------------------------------------------

    def adopt(self, payloads: Iterable[Payload], only: Collection[str] | None = None) -> None:
        """Make these rows the manifest; rows that are no longer in it keep their history. Runs inside `atomic`.

        `only` selects the rows with these ids, None all. Rows of one payload key share a job. A seed of -1 is drawn.
        """
        for row in list(self._rows.values()):
            self._change_row(row, position=None, selected=False)
        jobs = {job.key: number for number, job in self._jobs.items()}
        for position, payload in enumerate(payloads, 1):
            parameters = dict(payload.parameters)
            if parameters["seed"] == RANDOM_SEED:
                parameters["seed"] = secrets.randbelow(MAX_SEED + 1)
            key = payload_key(parameters)
            job = jobs.setdefault(key, len(self._jobs) + 1)
            if job not in self._jobs:
                self._put(self._jobs, job, _Job(key, parameters))
            selected = only is None or payload.id in only
            known = self._rows.get(payload.id) or _Row(payload.id)  # its image lies where it lay
            self._change_row(
                known,
                position=position,
                job=job,
                output=payload.output,
                files=payload.files,
                selected=selected,
            )

    def adopt_candidates(self, number: int, draw: Callable[[], int]) -> None:
        """Let the selected rows have `number` images each, as the functions of candidates.py do. Runs inside `atomic`."""
        for place, member in list(self._members.items()):
            if member.wanted:
                self._put(self._members, place, replace(member, wanted=False))
        asking = [
            row
            for row in self._rows.values()
            if row.selected and row.position and self._jobs[row.job].state not in WITHOUT
        ]
        series: dict[int, list[_Row]] = {}
        for row in asking if number > 1 else ():
            series.setdefault(self._series(row), []).append(row)
        pools = {number_of: self._pool(number_of, rows) for number_of, rows in series.items()}
        for number_of, rows in sorted(series.items()):
            pool = pools[number_of]
            first = min(rows, key=lambda row: row.position or 0)
            while len(pool) < number:
                pool.append(self._planned({**self._jobs[first.job].parameters, "seed": draw()}))
            own = {row.job for row in rows}
            for row in rows:
                for rank, job in enumerate(pool):
                    if rank < number or job in own:
                        self._put(self._members, (row.id, job), _Member(number_of, wanted=job not in own))

    def _series(self, row: _Row) -> int:
        own = self._members.get((row.id, row.job))
        others = [member.series for (_, job), member in self._members.items() if job == row.job]
        return own.series if own else min(others, default=row.job)

    def _pool(self, series: int, rows: Sequence[_Row]) -> list[int]:
        own = {row.job for row in rows}
        members = {job for (_, job), member in self._members.items() if member.series == series} | own
        return sorted(members, key=lambda job: (job not in own, self._jobs[job].state is State.PLANNED, job))

    def _planned(self, parameters: Mapping[str, Scalar]) -> int:
        number, key = len(self._jobs) + 1, payload_key(parameters)
        self._put(self._jobs, number, _Job(key, parameters))
        return number

    def _wanted(self) -> set[int]:
        """Return the candidates that the current command asked for, of rows whose own job went well so far."""
        own = {row.job for row in self._rows.values() if row.selected and row.position is not None}
        rows = {
            row.id
            for row in self._rows.values()
            if row.selected and row.position and self._jobs[row.job].state not in WITHOUT
        }
        return {job for (row, job), member in self._members.items() if member.wanted and row in rows} - own

    def _in(self, *states: State) -> list[tuple[int, _Job]]:
        return [(number, job) for number, job in self._jobs.items() if job.state in states]

    def _rows_of(self, job: int) -> list[_Row]:
        """Return the rows of a job in manifest order, those that are no longer in it first."""
        return sorted(
            (row for row in self._rows.values() if row.job == job),
            key=lambda row: -1 if row.position is None else row.position,
        )

    # -- the queue -------------------------------------------------------------------------------------------------------

    def next_jobs(self, after: Position) -> tuple[list[Task], Position]:
        while True:
            page = sorted(each for each in self._part(after.part) if each[0] > after)[: store.JOBS_A_PAGE]
            if page:
                return self.tasks([job for _, job in page]), page[-1][0]
            if after.part is Part.CANDIDATES:
                return [], after
            after = Position(Part(after.part + 1))

    def _part(self, part: Part) -> Iterator[tuple[Position, int]]:
        """Yield each job of a part of the queue, once, with its place."""
        wanted: dict[int, list[_Row]] = {}
        for row in self._rows.values():
            if row.selected and row.position is not None:
                wanted.setdefault(row.job, []).append(row)
        extra = self._wanted() if part is Part.CANDIDATES else set()
        for number, job in self._jobs.items():
            rows = wanted.get(number, [])
            if number in extra and job.state is State.PLANNED:
                yield Position(part, 0.0, number), number
            if part is Part.IN_FLIGHT and job.state in IN_FLIGHT and job.run_id != self.run_id:
                yield Position(part, job.fields.get("submitted_at") or 0.0, number), number
            if part is Part.MISPLACED and job.state is State.SAVED and any(row.misplaced for row in rows):
                yield Position(part, 0.0, number), number
            if part is Part.PLANNED and job.state is State.PLANNED and rows:
                yield Position(part, 0.0, min(row.position or 0 for row in rows)), number

    def tasks(self, jobs: Sequence[int], *, again: bool = False) -> list[Task]:
        return [self._task(number, self._jobs[number], again=again) for number in jobs]

    def _task(self, number: int, job: _Job, *, again: bool) -> Task:
        rows = self._rows_of(number)
        targets = tuple(
            Target(row.id, row.output, row.kept_output, self._sha256_of(row.kept_job))
            for row in rows
            if row.position is not None and (row.misplaced or (row.selected and again))
        )
        of = [] if rows else self._rows_with_candidate(number)
        files = {content: path for row in (rows or of) for content, path in row.files.items()}
        name, aside = targets[0].id if targets else job.key, None
        if of:
            seed = job.parameters["seed"]
            name, aside = seed_name(of[0].id, seed), aside_name(of[0].output, seed)
        holding = [row for row in self._rows.values() if row.kept_job == number and not row.nowhere]
        sources = tuple(row.kept_output for row in holding if row.kept_output is not None)
        known = {name: job.fields.get(name) for name in _OF_TASK}
        return Task(
            number,
            job.key,
            name,
            job.state,
            targets,
            sources,
            job.parameters,
            files,
            attempts=job.attempts,
            aside=aside,
            **known,
        )

    def _rows_with_candidate(self, job: int) -> list[_Row]:
        """Return the rows whose candidate a job is, in manifest order, those that are no longer in it last."""
        rows = [row for row in self._rows.values() if (row.id, job) in self._members]
        return sorted(rows, key=lambda row: (row.position is None, row.position or 0))

    def _sha256_of(self, job: int | None) -> str | None:
        return None if job is None else self._jobs[job].fields.get("sha256")

    def open_jobs(self) -> int:
        parts = (Part.MISPLACED, Part.PLANNED, Part.CANDIDATES)
        queued = (place for part in parts for place in self._part(part))
        return len(self._in(*IN_FLIGHT)) + sum(1 for _ in queued)

    def outstanding(self) -> store.Outstanding:
        completed = self._in(State.COMPLETED)
        denied = {
            number for number, job in completed if job.fields.get("error_class") == error_classes.NO_IMAGE
        }
        waiting = [row for row in self._rows.values() if row.selected and row.position and row.job in denied]
        in_flight, unknown = self._in(*IN_FLIGHT), self._in(State.UNKNOWN)
        return store.Outstanding(len(in_flight), len(unknown), len(denied), len(waiting))

    # -- one job ---------------------------------------------------------------------------------------------------------

    def transition(
        self,
        job: int,
        event: Event,
        *,
        detail: str | None = None,  # noqa: ARG002  nobody reads events from memory
        billed: int | None = None,
        estimated: int | None = None,
        **fields: Any,
    ) -> State:
        if event == Event.LOSE:
            fields |= {"lost_boot": boot(), "lost_counter": counter()}
        if unknown := fields.keys() - store.FIELDS:
            raise TypeError(f"not fields of a job: {sorted(unknown)}")
        was = self._jobs.get(job)
        if was is None:
            raise InvalidTransition(f"there is no job {job}; nothing was changed")
        if event == Event.ACCEPT and self.holds(fields.get("request_id")):
            raise RequestIdTaken(f"another row holds request {fields['request_id']}")
        state = next_state(was.state, event, remade=was.former is not None)
        if event in FORGETS_UPLOADS:
            self._forget_uploads(was)
        known, former = self._known_after(job, was, event, state, fields)
        attempt = was.attempts + (event in {Event.RESERVE, Event.REMAKE})
        now = _Job(was.key, was.parameters, state, attempt, self.run_id, known, former)
        self._put(self._jobs, job, now)
        cost = fields.get("cost") if billed is None else billed or None
        request_id = fields.get("request_id") or was.fields.get("request_id")
        noted = _Event(job, attempt, event, self.clock(), request_id, cost, self.run_id, estimated)
        self._put(self._events, len(self._events), noted)
        return state

    def _known_after(
        self, job: int, was: _Job, event: Event, state: State, fields: dict[str, Any]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
        """Return what is known of a job after an event, and what was known before it was made again."""
        if event == Event.REMAKE:
            for row in self._rows_of(job):
                if row.selected and row.kept_job == job:
                    self._change_row(row, kept_job=None)
            return fields, was.fields
        if state is State.SAVED and event != Event.KEEP:  # a remade job that failed is what it was before
            for row in self._rows_of(job):
                if row.kept_job is None and row.place == row.output:
                    self._change_row(row, kept_job=job)
            return was.fields if was.former is None else was.former, None
        afresh = state is State.PLANNED and event not in {Event.THROTTLE, Event.BOUNCE}
        known = fields if afresh else {**was.fields, **fields}
        return known, None if state is State.SAVED else was.former

    def _forget_uploads(self, job: _Job) -> None:
        for name, url in json.loads(job.fields.get("sent") or "{}").items():
            content = str(job.parameters[name])
            keys = (
                [content.removeprefix(CONTENT_PREFIX)]
                if content.startswith(CONTENT_PREFIX)
                else [*self._uploads]
            )
            for sha256 in keys:
                if self._uploads.get(sha256, ("", 0.0))[0] == url:
                    self._put(self._uploads, sha256, _ABSENT)

    def holds(self, request_id: str | None) -> bool:
        """Return whether any job holds or held this request id."""
        return request_id in {event.request_id for event in self._events.values()} - {None}

    # -- images and uploads ----------------------------------------------------------------------------------------------

    def place_image(self, task: Task, stamps: Mapping[str, FileStamps]) -> None:
        for target in task.targets:
            for row in list(self._rows.values()):
                if row.kept_output == target.output and row.id != target.id:
                    self._change_row(row, kept_job=None, kept_output=None, kept_for=None)
        for target in task.targets:
            row = self._rows[target.id]
            if row.job == task.job:
                nowhere = (stamps.get(target.output, (None, None))[0] or 0) < 0
                self._change_row(
                    row, kept_job=task.job, kept_output=target.output, kept_for=target.asked, nowhere=nowhere
                )

    def note_not_fetched(self, job: int, error_class: str, error: str) -> None:
        was = self._jobs[job]
        if was.state is State.COMPLETED:
            fields = {**was.fields, "error_class": error_class, "error": error}
            self._put(self._jobs, job, replace(was, fields=fields))

    def other_hashes_at(self, output: str, job: int) -> list[str]:
        found = (
            self._sha256_of(row.kept_job)
            for row in self._rows.values()
            if row.kept_output == output and row.kept_job != job
        )
        return [sha256 for sha256 in found if sha256 is not None]

    def files_to_search(self) -> list[str]:
        return list(self.foreign_files)

    def note_places(self, fold: Callable[[str], str]) -> None:
        """Let `is_name_free` know how names are compared."""
        self._fold = fold

    def is_name_free(self, name: str, row_id: str) -> bool:
        others = [row for row in self._rows.values() if row.id != row_id]
        wanted = {self._fold(row.output) for row in others if row.position is not None}
        return self._fold(name) not in wanted and name not in {row.kept_output for row in others}

    def uploaded(self, sha256: str, since: float) -> str | None:
        found = self._uploads.get(sha256)
        return None if found is None or found[1] <= since else found[0]

    def remember_upload(self, sha256: str, url: str, at: float) -> None:
        self._put(self._uploads, sha256, (url, at))

    # -- what the history is asked about ---------------------------------------------------------------------------------

    def unconfirmed(self) -> list[store.UnconfirmedSubmit]:
        found = []
        for number, job in self._in(State.UNKNOWN):
            lost = max(e.at for e in self._events.values() if (e.job, e.event) == (number, Event.LOSE))
            skew, start, passed = map(job.fields.get, ("skew", "lost_boot", "lost_counter"))
            sent_at = job.fields.get("submitted_at") or lost
            found.append(store.UnconfirmedSubmit(number, job.body(), sent_at, lost, 0.0, skew, start, passed))
        return found

    def own_requests(self, since: float) -> list[store.OwnRequest]:
        accepted: dict[str, list[float]] = {}
        jobs: dict[str, _Job] = {}
        for event in self._events.values():
            if event.request_id is not None and event.at >= since:
                jobs[event.request_id] = self._jobs[event.job]
                times = accepted.setdefault(event.request_id, [])
                if event.event == Event.ACCEPT:
                    times.append(event.at)
        found = []
        for request_id, job in sorted(jobs.items()):
            held = job.fields.get("request_id") == request_id
            submitted_at = job.fields.get("submitted_at") if held else None
            at = min(accepted[request_id], default=submitted_at or 0.0)
            body = None if submitted_at is None else job.body()
            found.append(store.OwnRequest(request_id, at, body, submitted_at, skew=job.fields.get("skew")))
        return found

    def times_absent(self, job: int) -> int:
        asked = (job, Event.ABSENT, self.run_id)
        return sum((event.job, event.event, event.run_id) == asked for event in self._events.values())

    def expired(self, since: float, most: int) -> list[store.ExpiredJob]:
        if self.service == LOCAL_SERVICE:
            return []
        found = [
            (submitted_at, store.ExpiredJob(number, request_id, job.fields.get("cost"), job.attempts))
            for number, job in self._in(State.EXPIRED)
            if (request_id := job.fields.get("request_id")) is not None
            if (submitted_at := job.fields.get("submitted_at") or 0.0) > since
        ]
        return [job for _, job in sorted(found, key=lambda each: each[0], reverse=True)[:most]]

    def billed(self, job: int, attempt: int) -> tuple[int, bool]:
        events = [event for event in self._events.values() if (event.job, event.attempt) == (job, attempt)]
        named = [event for event in events if event.event in _DONE and event.cost is not None]
        estimated = sum(event.estimated or 0 for event in events)
        return estimated, any(event.estimated is None for event in named)

    # -- runs and what they learn ----------------------------------------------------------------------------------------

    def recover(self) -> int:
        if self.service != LOCAL_SERVICE:
            lost = self._in(State.SENDING)
            for job, _ in lost:
                self.transition(
                    job, Event.LOSE, error_class=error_classes.INTERRUPTED, error=store.INTERRUPTED_TEXT
                )
            return len(lost)
        for job, _ in self._in(State.SENDING, State.UNKNOWN, *IN_FLIGHT):
            self.transition(job, Event.RESTART)
        for sha256 in list(self._uploads):
            self._put(self._uploads, sha256, _ABSENT)
        return 0

    def price(self) -> int | None:
        events = [event for event in self._events.values() if not event.estimated]
        bills = [event.cost for event in events if event.cost is not None and event.cost >= 0]
        return max(bills[-store.RECENT :], default=0) or None

    def start_run(self, *, max_cost: int | None, price: int | None) -> tuple[int, int]:
        last = next(reversed(self.runs.values()), None)
        cap_from = last["cap_from"] if last and not last["by_itself"] else len(self._events)
        under_way = self._in(State.SENDING, State.UNKNOWN, State.ACCEPTED)
        committed = sum(job.expected(price) for _, job in under_way)
        for seq, event in self._events.items():
            if seq >= cap_from:
                job = self._jobs[event.job]
                unnamed = event.event in _DONE and event.cost is None and job.fields.get("cost") is None
                committed += job.expected(price) if unnamed else event.cost or 0
        wanted = {row.job for row in self._rows.values() if row.selected}
        saved = [job for number, job in self._jobs.items() if number in wanted and job.state is State.SAVED]
        done = sum(job.fields.get("cost") or 0 for job in saved)
        begun = {"started_at": self.clock(), "max_cost": max_cost, "cap_from": cap_from, "already_done": done}
        self._put(self.runs, self.run_id, {**begun, "by_itself": False})
        return committed, done

    def finish_run(self, **figures: int) -> None:
        self._put(self.runs, self.run_id, {**self.runs[self.run_id], **figures, "ended_at": self.clock()})

    def mark_ended_by_itself(self, *, restore: bool) -> None:
        before = [run["by_itself"] for name, run in self.runs.items() if name != self.run_id]
        by_itself = before[-1] if restore and before else True
        self._put(self.runs, self.run_id, {**self.runs[self.run_id], "by_itself": by_itself})

    def observations(self) -> str | None:
        learned: str | None = self._notes.get("learned")
        return learned

    def save_observations(self, learned: str) -> None:
        self._put(self._notes, "learned", learned)
