"""Every error texbatch raises on purpose, and the exit code each one ends a command with.

TexbatchError
├── UsageError               2   bad usage, manifest or settings: nothing was sent
│   └── ManifestError        2   the problems found in a manifest, all of them
├── FolderError              2   the output folder cannot be used as it is
│   └── FolderBusy           6   another run holds it, or the file system cannot lock
├── RunStopped               3   no more is submitted: key, credits, model gone, too many failures
│   ├── CapReached           8   the next job could pass --max-cost
│   ├── TimeIsUp             7   --max-duration is over
│   └── Interrupted    130, 143  SIGINT or SIGTERM
├── IllegalMove             70   our own bug: a transition that is not in the table
├── JobError                     raised by the public client, for one job
│   ├── SubmitFailed         3   the submit was not accepted
│   ├── MaybeBilled          4   the answer was lost: the job may have been accepted and billed
│   ├── JobFailed            1   the service ran the job and it failed
│   └── JobRunning           7   the deadline passed; carries the request id
├── NoAnswer                     one request ended without a usable answer: nobody knows what it did
│   ├── NotDelivered             one request certainly never reached the service
│   └── UselessAnswer            somebody did answer, and asking again would hardly change it
└── ServiceError             3   an answer the client cannot use

Rule: a message names the place, the reason and the remedy. No message ever contains an API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.model import Problem

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
    """Something texbatch can name."""

    exit_code: int = EXIT_INTERNAL


class UsageError(TexbatchError):
    """The command, a setting or a manifest is wrong; nothing was sent."""

    exit_code = EXIT_USAGE


class ManifestError(UsageError):
    """A manifest has problems; `problems` lists all of them, in file order."""

    def __init__(self, problems: Sequence[Problem], dropped: int = 0) -> None:
        more = [f"… and {dropped} more"] if dropped else []
        super().__init__("\n".join([*map(str, problems), *more]))
        self.problems = tuple(problems)


class FolderError(TexbatchError):
    """The output folder cannot be used as it is; nothing in it was changed."""

    exit_code = EXIT_USAGE


class FolderBusy(FolderError):
    """Another run holds the output folder, or its file system cannot lock."""

    exit_code = EXIT_BUSY


class RunStopped(TexbatchError):
    """No more is submitted: the service refuses us as a whole, or a limit was reached; the rest stays planned."""

    exit_code = EXIT_STOPPED


class CapReached(RunStopped):
    """The next job could pass --max-cost."""

    exit_code = EXIT_CAP


class TimeIsUp(RunStopped):
    """--max-duration is over."""

    exit_code = EXIT_ROWS_LEFT


class Interrupted(RunStopped):
    """A signal asked the run to end; the exit code is 128 + its number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class IllegalMove(TexbatchError):
    """A state change that is not in the table; nothing was written."""


class NoAnswer(TexbatchError):
    """A request ended without a usable answer; the service may have acted on it."""

    exit_code = EXIT_STOPPED


class NotDelivered(NoAnswer):
    """A request certainly never reached the service: no connection could be made."""


class UselessAnswer(NoAnswer):
    """The other side did answer, with nothing to be used, and would do so again: gone, forbidden, too large."""


class ServiceError(TexbatchError):
    """The service gave an answer that cannot be used."""

    exit_code = EXIT_STOPPED


class JobError(TexbatchError):
    """One job of the public client did not end with a picture."""


class SubmitFailed(JobError):
    """The job was not accepted and is not billed; the message says whether it is worth another try."""

    exit_code = EXIT_STOPPED


class MaybeBilled(JobError):
    """The answer was lost or is no picture: the job may have been accepted and billed. Do not just send it again.

    `request_id` is known where the head of the answer still came; its picture can then be waited for.
    """

    exit_code = EXIT_UNKNOWN

    def __init__(self, reason: str, request_id: str | None = None) -> None:
        remedy = (
            f"wait for request {request_id} to have its picture"
            if request_id
            else "look for it in the account's request history before it is sent again"
        )
        super().__init__(f"the job may have been accepted and billed ({reason}): {remedy}")
        self.request_id = request_id
        self.reason = reason


class JobFailed(JobError):
    """The service ran the job and reports it as failed; failed jobs are not billed."""

    exit_code = EXIT_SOME_FAILED

    def __init__(self, request_id: str, reason: str) -> None:
        super().__init__(f"job {request_id} failed: {reason}")
        self.request_id = request_id
        self.reason = reason


class JobRunning(JobError):
    """The deadline passed while the job was still running; poll `request_id` again within the hour."""

    exit_code = EXIT_ROWS_LEFT

    def __init__(self, request_id: str, waited_s: float) -> None:
        super().__init__(
            f"job {request_id} was still running after {waited_s:.0f} s; it stays billed: wait for it again"
        )
        self.request_id = request_id
        self.waited_s = waited_s
