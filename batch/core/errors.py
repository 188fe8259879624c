"""Every error that texbatch raises on purpose, and the exit code with which each one ends a command.

TexbatchError
├── UsageError               2   bad usage, manifest or settings: nothing was sent
│   └── ManifestError        2   the problems found in a manifest, all of them
│       └── DecisionsRefused 2   the problems found in what a person decides, all of them
├── FolderError              2   the output folder cannot be used as it is
│   ├── FolderLocked         6   another run holds it, or the file system cannot lock
│   ├── FolderFailed         3   it failed during a run: no room on the disk, a damaged ledger
│   └── LedgerLost           4   the ledger has lost its last writes: rows may have been sent
├── RunStopped               3   nothing more is submitted: key, credits, model gone, too many failures
│   ├── BudgetExceeded       8   the next job could exceed --max-cost
│   ├── DurationExceeded     7   --max-duration is over
│   └── Interrupted 129, 130, 143  SIGHUP, SIGINT or SIGTERM
├── InvalidTransition       70   our own bug: a transition that is not in the table
├── RequestIdTaken               another row already holds the request id that a response names
├── JobError                     raised by the public client, for one job
│   ├── SubmitFailed         3   the submit was not accepted
│   ├── MaybeBilled          4   the answer was lost: the job may have been accepted and billed
│   ├── JobFailed            1   the service ran the job and it failed
│   │   └── JobExpired       1   billed, as far as anybody knows, and its result is gone
│   └── JobRunning           7   the deadline passed; carries the request id
├── NoResponse                   a request ended without a usable response: its effect is unknown
│   ├── NotDelivered             a request certainly never reached the service
│   ├── UnusableResponse         a response without what was asked for; a retry would hardly change it
│   └── KeyRefused               the history responds, and does not accept the key
└── ServiceError             3   a response the client cannot use

IssueError (a ValueError)        one value of a manifest cannot be used: reason and remedy, the caller adds the place

Rule 1: a message names the place, the reason and the remedy. Rule 2: no message ever contains an API key. Rule 3: every
error survives pickling and copying, with its attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch.core.models import Problem

EXIT_OK = 0
EXIT_SOME_FAILED = 1
EXIT_USAGE = 2
EXIT_STOPPED = 3
EXIT_UNKNOWN = 4
EXIT_BUSY = 6
EXIT_ROWS_LEFT = 7
EXIT_CAP = 8
EXIT_INTERNAL = 70


class TexbatchError(Exception):
    """An error that texbatch can name."""

    exit_code: int = EXIT_INTERNAL

    def __reduce__(self) -> tuple[Callable[..., TexbatchError], tuple[object, ...]]:
        """Restore by attributes: most constructors take other arguments than the message, which is all `args` holds."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[TexbatchError], args: tuple[object, ...], attributes: Mapping[str, Any]
) -> TexbatchError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class UsageError(TexbatchError):
    """The command, a setting or a manifest is wrong; nothing was sent."""

    exit_code = EXIT_USAGE


class ManifestError(UsageError):
    """A manifest has problems; `problems` lists all of them, in file order.

    `consequence` is what was not done because of them, `good` how many rows have none and could go without the others.
    """

    consequence = "nothing was sent"

    def __init__(self, problems: Sequence[Problem], dropped: int = 0, good: int = 0) -> None:
        more = [f"… and {dropped} more"] if dropped else []
        super().__init__("\n".join([*map(str, problems), *more]))
        self.problems = tuple(problems)
        self.dropped = dropped
        self.good = good


class DecisionsRefused(ManifestError):
    """Decisions, of the command line or a file, have problems: none of them was written down."""

    consequence = "nothing was written"


class FolderError(TexbatchError):
    """The output folder cannot be used as it is, or not any more; the message says where, why and what to do.

    Found before the first submit, nothing was sent. Found in the middle of a run (a file that cannot be read or written), what
    was sent until then is in the ledger, and the run can be resumed.
    """

    exit_code = EXIT_USAGE


class FolderLocked(FolderError):
    """Another run holds the output folder, or its file system cannot lock."""

    exit_code = EXIT_BUSY


class FolderFailed(FolderError):
    """The output folder failed during a run; what was sent is in the ledger, and the run can be resumed."""

    exit_code = EXIT_STOPPED


class LedgerLost(FolderError):
    """The ledger has lost its last writes: rows that it shows as new may have been sent. Nothing is sent."""

    exit_code = EXIT_UNKNOWN


class RunStopped(TexbatchError):
    """Nothing more is submitted: the service refuses us as a whole, or a limit was reached; the rest stays planned."""

    exit_code = EXIT_STOPPED


class BudgetExceeded(RunStopped):
    """The next job could exceed --max-cost."""

    exit_code = EXIT_CAP


class DurationExceeded(RunStopped):
    """--max-duration is over."""

    exit_code = EXIT_ROWS_LEFT


class Interrupted(RunStopped):
    """A signal asked the run to end; the exit code is 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class InvalidTransition(TexbatchError):
    """A state change that is not in the table; nothing was written."""


class RequestIdTaken(TexbatchError):
    """A job was accepted with a request id that another job holds or held; nothing was written."""


class NoResponse(TexbatchError):
    """A request ended without a usable response; the service may have acted on it."""

    exit_code = EXIT_STOPPED


class NotDelivered(NoResponse):
    """A request certainly never reached the service: no connection could be made."""


class UnusableResponse(NoResponse):
    """There was a response, but not the one asked for, and a retry would get the same: gone, forbidden, too large."""


class KeyRefused(NoResponse):
    """The history does not accept the key: 401, or a 403 in the service's own words. Most callers see NoResponse."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ServiceError(TexbatchError):
    """The service gave a response that cannot be used."""

    exit_code = EXIT_STOPPED


class JobError(TexbatchError):
    """One job of the public client did not end with an image."""


class SubmitFailed(JobError):
    """The job was not accepted and is not billed; the message says whether it is worth another try."""

    exit_code = EXIT_STOPPED


class MaybeBilled(JobError):
    """The response was lost or is not an image: the job may have been accepted and billed. Do not just send it again.

    `request_id` is known where the head of the response still arrived; its image can then be waited for.
    """

    exit_code = EXIT_UNKNOWN

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        remedy = (
            f"wait for request {request_id} to have its image"
            if request_id
            else "look for it in the account's request history before it is sent again"
        )
        super().__init__(f"the job may have been accepted and billed ({reason}): {remedy}")
        self.request_id = request_id
        self.reason = reason


class JobFailed(JobError):
    """The service ran the job and reports it as failed; failed jobs are not billed. The exception is JobExpired."""

    exit_code = EXIT_SOME_FAILED

    def __init__(self, request_id: str, reason: str) -> None:
        super().__init__(f"job {request_id} failed: {reason}")
        self.request_id = request_id
        self.reason = reason


class JobExpired(JobFailed):
    """The service has no result for the job any more: it is billed, as far as anybody knows. Sent again, it is paid again.

    A JobFailed because `Client.wait` raised that before there was this class.
    """


class JobRunning(JobError):
    """The deadline passed while the job was still running; poll `request_id` again within the hour."""

    exit_code = EXIT_ROWS_LEFT

    def __init__(self, request_id: str, waited_s: float) -> None:
        super().__init__(
            f"job {request_id} was still running after {waited_s:.0f} s; it stays billed: wait for it again"
        )
        self.request_id = request_id
        self.waited_s = waited_s


class IssueError(ValueError):
    """A value of a manifest cannot be used: `reason` and `remedy` as in Issue. The caller knows its place."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason} {self.remedy}"
