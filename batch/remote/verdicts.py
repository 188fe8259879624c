"""What an answer of the service may mean, as values, and what is read out of one; judge.py says which means what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.errors import ServiceError
from batch.model import Result
from batch.remote.values import micro_dollars, read_date, read_seconds, read_time, read_wait

EXCERPT = 300  # characters of a foreign answer that go into a message

NOT_DELIVERED = "not_delivered"
"""The class of a submit for which no connection could be made."""

RUNNING = frozenset({"QUEUED", "PROCESSING"})


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read whole: `body` parsed JSON or None, `text` the start of what came otherwise."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: Any
    text: str

    @property
    def vendor(self) -> bool:
        """Whether this is the vendor's own error envelope: a text under `error`.

        A gateway's JSON looks alike: Amazon's answers {"message": "Internal server error"}, Kong's the same way.
        """
        error = self.body.get("error") if isinstance(self.body, Mapping) else None
        return isinstance(error, str) and bool(error)

    @property
    def envelope(self) -> str | None:
        """The error text of a JSON answer, whoever wrote it, or None."""
        if isinstance(self.body, Mapping):
            for name in ("error_description", "error", "message", "detail"):
                value = self.body.get(name)
                if isinstance(value, str) and value:
                    return value
        return None

    @property
    def reason(self) -> str:
        """What to tell a person about this answer, in one line."""
        said = self.envelope or " ".join(self.text.split())[:EXCERPT] or "an empty answer"
        return f"HTTP {self.status}: {said[:EXCERPT]}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service took the job; from here on it costs money."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: times are seconds since the epoch (UTC), `retry_after` seconds; None where the answer does not say."""

    reset_at: float | None
    date: float | None
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Bounced:
    """Certainly not accepted and not billed; may be sent again, a bounded number of times."""

    error_class: str
    reason: str
    http_status: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """This row is refused; the others are not concerned."""

    reason: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows whether the job was accepted; it is never sent again on our own authority."""

    error_class: str
    reason: str
    http_status: int | None


@dataclass(frozen=True, slots=True)
class Stop:
    """The service refuses us as a whole; nothing was accepted, and no other submit would be."""

    reason: str
    http_status: int | None


Submission = Accepted | Throttled | Bounced | Refused | Unknown | Stop


@dataclass(frozen=True, slots=True)
class Running:
    """The job is queued or at work."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The job is done; its result can be asked for."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The service ran the job and it failed; not billed."""

    reason: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Gone:
    """The service has no record of this request: older than its hour, or never known."""

    reason: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Denied:
    """401 or 403 on a GET: no use in submitting more, but this job may still be fetched once the key works again."""

    reason: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer that says nothing about the job; ask again."""

    reason: str
    http_status: int | None


StatusVerdict = Running | Completed | Failed | Gone | Throttled | Denied | Stop | Trouble


def read_result(reply: Reply) -> Result:
    """Read a COMPLETED result; raises ServiceError when it names no output.

    `images[0].url` is preferred and `output` the fallback: `images` may be missing, and with base64 the picture is
    in `output`.
    """
    body = reply.body
    metrics = body.get("metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    return Result(
        output=_output(body),
        cost=micro_dollars(metrics.get("cost")),
        queue_s=read_seconds(metrics.get("queue_time")),
        inference_s=read_seconds(metrics.get("inference_time")),
        total_s=read_seconds(metrics.get("total_time")),
    )


def _output(body: Mapping[str, Any]) -> str:
    images = body.get("images")
    if isinstance(images, list) and images and isinstance(images[0], Mapping):
        url = images[0].get("url")
        if isinstance(url, str) and url:
            return url
    output = body.get("output")
    if isinstance(output, list) and output:
        output = output[0]
    if isinstance(output, str) and output:
        return output
    raise ServiceError("the service reports COMPLETED but names no output")


def total_time(reply: Reply) -> float | None:
    """Return the service's own time for a finished job in seconds, where a status answer names it."""
    metrics = reply.body.get("metrics") if isinstance(reply.body, Mapping) else None
    return read_seconds(metrics.get("total_time")) if isinstance(metrics, Mapping) else None


def read_throttle(reply: Reply) -> Throttled:
    """Read the headers of a 429: each may be missing or unreadable, and is None then."""
    return Throttled(
        reset_at=read_time(reply.headers.get("x-rate-limit-reset-at-utc")),
        date=read_date(reply.headers.get("date")),
        retry_after=read_wait(reply.headers.get("retry-after")),
    )
