"""What a run asks of the ledger while it executes: named operations, values in and values out.

Two stores pass one behaviour suite (tests/unit/ledger/test_store_behaviour.py): `Ledger`, the SQLite file of a folder, and
`MemoryLedger`, dictionaries for tests: every run has a folder. Rules for every store:

- A state changes by `transition` alone, along the table of `states.py`; the event is appended in the same transaction.
- What changes something runs inside `atomic`: all of it is kept when the block ends, or nothing.
- An answer is a value: it does not change when the store does.

Times are seconds since the epoch by `clock`, money is micro-dollars, places are paths below `images/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from batch.core.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from batch.core.models import Task
    from batch.ledger.states import Event, State

T = TypeVar("T")

JOBS_A_PAGE = 64
"""Jobs that are read at a time."""

FIELDS = frozenset({
    "request_id", "submitted_at", "completed_at", "output_url", "estimate", "sent", "skew", "cost", "http_status", "error_class", "error",
    "queue_s", "inference_s", "total_s", "sha256", "width", "height", "lost_boot", "lost_counter",
})  # fmt: skip
"""The fields of a job that an event may bring."""

RECENT = 20
"""Bills from which the next one is expected: the largest of them, since one job may have been free or small."""

INTERRUPTED_TEXT = (
    "The run ended while this row's request was on its way; it may have been accepted and billed."
)
"""The error of a job that `recover` found `sending`."""


class StoreFailed(FolderError):
    """The store itself failed in the middle of a transaction: nothing of that transaction is kept."""


FileStamps = tuple[int | None, int | None]
"""Size in bytes and modification time in ns of an image file, as they were when it was written."""


class Part(IntEnum):
    """The parts of the queue, in the order in which they are processed."""

    IN_FLIGHT = 0  # paid by an earlier run and not on disk: least time left first
    MISPLACED = 1  # saved, and a selected row wants the image at a place where it is not
    PLANNED = 2  # of selected rows, in manifest order
    CANDIDATES = 3  # further images of selected rows, as the command asked for: a cap is reached by them last


class Position(NamedTuple):
    """A place in the queue: after this job of this part. `age` and `number` order the jobs of a part."""

    part: Part = Part.IN_FLIGHT
    age: float = -1.0
    number: int = -1


class Outstanding(NamedTuple):
    """Jobs that an end of the run leaves behind: in flight (paid, no image on disk), and unknown.

    `denied` of those in flight have an image that its host and the history, which both answer, do not have for now, and
    `waiting` selected rows want one of these.
    """

    in_flight: int
    unknown: int
    denied: int
    waiting: int


@dataclass(frozen=True, slots=True)
class UnconfirmedSubmit:
    """A submit without an answer: the body that was sent, and when (our clock): reserved before, given up after.

    `skew` is our clock minus the service's when it was sent, in seconds. `boot` and `counter` say when it was given up in
    time that no change of the wall clock moves: which start of the machine, and the seconds since. `shift` is by how much
    our clock seems to have been put right since, 0 when it was not.
    """

    job: int
    body: Mapping[str, Any]
    reserved_at: float
    ended_at: float
    shift: float = 0.0
    skew: float | None = None
    boot: str | None = None
    counter: float | None = None


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request that a row of ours holds or held; `body` and `reserved_at` None where what was sent is no longer known.

    `skew` and `shift` are those of UnconfirmedSubmit.
    """

    request_id: str
    accepted_at: float
    body: Mapping[str, Any] | None
    reserved_at: float | None
    shift: float = 0.0
    skew: float | None = None


class ExpiredJob(NamedTuple):
    """A paid job whose record was gone before its result was seen; `cost` is its bill in micro-dollars."""

    job: int
    request_id: str
    cost: int | None
    attempts: int


class LedgerStore(Protocol):
    """The ledger as a run sees it while it executes. `run_id` is the run that writes now, None before one has begun.

    It is not all that a folder needs of its ledger: staging and adopting a manifest (staging.py), whose the folder is
    (accounts.py), the plan's and the reports' figures (totals.py), what lies in `images/` (image_index.py), the mark and a
    lost end (mark.py, runs.py) read and write the SQLite file itself. Another store is entered in
    tests/unit/ledger/stores.py and passes the suite; to replace the file, these would have to be written for it too.
    """

    clock: Callable[[], float]
    run_id: str | None

    def atomic(self) -> AbstractContextManager[object]:
        """Run the block in one transaction: when it ends all of it is kept, or nothing. Raises FolderError."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Run the block inside `atomic` so that, when it raises, it alone is undone.

        Raises StoreFailed where the store itself fails: then the whole transaction is lost.
        """

    # -- the queue -------------------------------------------------------------------------------------------------------

    def next_jobs(self, after: Position) -> tuple[list[Task], Position]:
        """Return the jobs after a position, at most JOBS_A_PAGE and of one part, and where they end; an empty list at the end.

        A job that this very run has in flight is not among them: it is being processed.
        """

    def tasks(self, jobs: Sequence[int], *, again: bool = False) -> list[Task]:
        """Return these jobs as they are now, in this order; with `again` the selected rows that have their image want it too."""

    def open_jobs(self) -> int:
        """Count the jobs that the queue will yield."""

    def outstanding(self) -> Outstanding:
        """Count what is paid, or may be, and not on disk."""

    # -- one job ---------------------------------------------------------------------------------------------------------

    def transition(
        self,
        job: int,
        event: Event,
        *,
        detail: str | None = None,
        billed: int | None = None,
        estimated: int | None = None,
        **fields: Any,
    ) -> State:
        """Apply one event to a job, with the fields that came with it, and append the event; return the new state.

        `billed` is what goes on the bill where that is not the job's `cost`: less than it when a part is on the bill
        already. `estimated` is how much of it is our estimate, because the service named none. Both are micro-dollars. Runs
        inside `atomic`. Raises InvalidTransition when the table has no such transition, RequestIdTaken when a job is accepted
        with a request id that a job holds or held; then nothing is written.
        """

    # -- images and uploads ----------------------------------------------------------------------------------------------

    def place_image(self, task: Task, stamps: Mapping[str, FileStamps]) -> None:
        """Record that the task's image now lies at each of its targets. Runs inside `atomic`.

        `stamps` are those of the files there, by output. A row that had its image there before does not have it any longer:
        names may move from one row to another.
        """

    def mark_nowhere(self, task: Task) -> None:
        """Record that the task's image is in no file: its targets are its places, and it was moved away from there."""
        self.place_image(task, {target.output: (-1, None) for target in task.targets})

    def note_not_fetched(self, job: int, error_class: str, error: str) -> None:
        """Record why the image of a completed job is not on disk yet. Runs inside `atomic`."""

    def other_hashes_at(self, output: str, job: int) -> list[str]:
        """Return the hashes of other jobs' images that rows have, or had before they changed, at a place."""

    def files_to_search(self) -> list[str]:
        """Return the names below images/ that no row had when the run began; remember that they were searched."""

    def note_places(self, fold: Callable[[str], str]) -> None:
        """Let `is_name_free` know where the rows of the manifest want their images; `fold` makes equal what a disk may hold equal."""

    def is_name_free(self, name: str, row_id: str) -> bool:
        """Return whether no row but this one wants its image under this name, or has one there."""

    def uploaded(self, sha256: str, since: float) -> str | None:
        """Return the URL under which the service has this content since then or later, or None."""

    def remember_upload(self, sha256: str, url: str, at: float) -> None:
        """Note where the service has this content. Runs inside `atomic`."""

    # -- what the history is asked about ---------------------------------------------------------------------------------

    def unconfirmed(self) -> list[UnconfirmedSubmit]:
        """Return the submits without an answer, as the history is asked about them."""

    def own_requests(self, since: float) -> list[OwnRequest]:
        """Return every request this folder holds or held of which something was recorded since then.

        What was sent is known only of the request that a job holds now. It was accepted when that event says; one that the
        history found was sent when its job says; of one that was found and then replaced nobody knows.
        """

    def times_absent(self, job: int) -> int:
        """Count how often this run has found that the job never arrived."""

    def expired(self, since: float, most: int) -> list[ExpiredJob]:
        """Return expired jobs that were sent since then, the newest first, at most so many; none of the local service."""

    def billed(self, job: int, attempt: int) -> tuple[int, bool]:
        """Return how much of an attempt's bill is our estimate, and whether the service named a cost."""

    # -- runs and what they learn ----------------------------------------------------------------------------------------

    def recover(self) -> int:
        """Recover what a dead run left behind; return how many jobs became unknown. Runs inside `atomic`.

        `sending` was interrupted: unknown, it may have been accepted. A local service has forgotten everything that
        was under way and nothing was paid: its jobs go back to planned.
        """

    def price(self) -> int | None:
        """Return the most that one of the last jobs has cost, None when no bill named anything yet.

        That all were free so far says nothing of the next one, and neither does an estimate on the bill.
        """

    def start_run(self, *, max_cost: int | None, price: int | None) -> tuple[int, int]:
        """Write the row of the run that begins. Runs inside `atomic`.

        Return what is spent or set aside of its cap already, and what the selected rows' saved images have cost.

        The cap of a run that was interrupted goes on: killed, stopped by a signal or an error of ours, or without its
        reports. Only a run that ended by itself lets the next one begin a new count.
        """

    def finish_run(self, *, rows_saved: int, status_calls: int, http_429: int, exit_code: int) -> None:
        """Close the row of this run. Runs inside `atomic`."""

    def mark_ended_by_itself(self, *, restore: bool) -> None:
        """Note that this run ended by itself: the next one begins a new cap. Runs inside `atomic`.

        A restore does not end what an interrupted run began: it takes over what the run before it says.
        """

    def observations(self) -> str | None:
        """Return what the runs have learned about the service, as `save_observations` got it, or None."""

    def save_observations(self, learned: str) -> None:
        """Remember what the runs have learned about the service. Runs inside `atomic`."""


class AsyncLedger(Protocol):
    """A store as the tasks of a run use it."""

    async def run(self, work: Callable[[LedgerStore], T]) -> T:
        """Run `work(store)` in a transaction; return its result once it is kept, or raise what it raised.

        A cancelled caller does not undo its call: what was handed in is still written. Raises FolderError when the ledger
        cannot be written.
        """
