"""What an answer of the service means: pure functions from a reply to a value, and the reason for each line.

The rules are the vendor's error table. The line that decides about money: only an answer that the service itself
gave, and that says "not accepted", lets a submit be repeated. Anything a gateway may have said is `Unknown`.
"""

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

_STOPS = {
    401: "The API key is missing or not accepted. Check SEGMIND_API_KEY.",
    403: "This account may not call the model.",
    404: "The service does not know this model.",
    405: "The service refuses the verb: a fault of texbatch, please report it.",
    410: "The model is retired.",
}


def judge_submit(reply: Reply) -> Submission:
    """Say what the answer to a submit means for the job that was sent."""
    status = reply.status
    if 200 <= status < 300:
        return _accepted(reply)
    if status == 429:
        return read_throttle(reply)
    if status in _STOPS:
        return Stop(f"{_STOPS[status]} ({reply.reason})", status)
    if status == 406:
        return _judge_406(reply)
    if status in {400, 422}:
        return Refused(reply.reason, status)
    if status == 500 and reply.vendor:
        # The vendor: "retry the submit"; after a parameter change it usually means a bad parameter, hence bounded.
        return Bounced("service_error", reply.reason, status)
    if 400 <= status < 500 and reply.vendor:
        return Refused(reply.reason, status)
    # A gateway cannot know whether the job behind it was started.
    return Unknown("ambiguous_answer", reply.reason, status)


def _accepted(reply: Reply) -> Accepted | Unknown:
    request_id = reply.body.get("request_id") if isinstance(reply.body, Mapping) else None
    if isinstance(request_id, str) and request_id:
        return Accepted(request_id)
    return Unknown("no_request_id", f"accepted without a request id ({reply.reason})", reply.status)


def _judge_406(reply: Reply) -> Stop | Refused:
    said = (reply.envelope or reply.text).casefold()
    if "content-type" in said or "content type" in said:
        return Stop(
            f"The service refuses our Content-Type: a fault of texbatch, please report it. ({reply.reason})",
            406,
        )
    if "credit" in said:
        return Stop(
            f"The account has no credits left. Add credits, then run the same command. ({reply.reason})", 406
        )
    if "spend" in said and "limit" in said:
        return Stop(
            f"The team's spend limit is reached. Raise it, then run the same command. ({reply.reason})", 406
        )
    return Refused(reply.reason, 406)


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


def judge_status(reply: Reply) -> StatusVerdict:
    """Say what the answer to a status or result GET means for the job."""
    word = reply.body.get("status") if isinstance(reply.body, Mapping) else None
    if word == "FAILED":  # served as 422, but the word decides
        return Failed(reply.envelope or "the service gave no reason", reply.status)
    if reply.status == 200 and word in RUNNING:
        return Running()
    if reply.status == 200 and word == "COMPLETED":
        return Completed()
    if reply.status == 429:
        return read_throttle(reply)
    if reply.status in {404, 410}:
        return Gone(reply.reason, reply.status)
    if reply.status in {401, 403}:
        return Denied(f"{_STOPS[reply.status]} ({reply.reason})", reply.status)
    if reply.status == 405:
        return Stop(_STOPS[405], 405)
    if reply.status == 422 and reply.vendor:
        return Failed(reply.envelope or reply.reason, 422)
    return Trouble(reply.reason, reply.status)


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
