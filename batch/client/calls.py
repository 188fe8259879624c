"""The service's calls, one method each: one HTTP attempt, the answer classified and returned as a value.

`submit` is never repeated here, whatever happens: each accepted POST is a new billed job. Polling until a job has ended
belongs to poller.py, reading the request history to history.py: both take a `Calls`.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from batch.client import responses
from batch.client.http import BASE64_LIMIT, IMAGE_LIMIT, JSON_LIMIT, HttpClient
from batch.client.responses import (
    NO_CREDITS,
    Completed,
    Doubtful,
    Inconclusive,
    classify_status,
    classify_submit,
    is_about_money,
    micro_dollars,
    read_time,
)
from batch.client.sync_call import SyncResult, id_in, read_image
from batch.core import error_classes
from batch.core.errors import (
    MaybeBilled,
    NoResponse,
    NotDelivered,
    RunStopped,
    ServiceError,
    SubmitFailed,
)
from batch.core.parameters import MODEL
from batch.pacing.limiter import Limiter, Priority, RateGate, Throttled
from batch.pacing.poll_schedule import PollSchedules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch.client.responses import StatusVerdict, Submission
    from batch.core.config import Service
    from batch.core.models import Result

CLIENT_IN_FLIGHT = 16  # of a client on its own
MOST_KNOWN = 20_000
"""Request ids that a client remembers, to notice an answer that is a copy of an earlier one."""
SYNC_S = 300.0  # the vendor means v1 for less than a minute; a cold start takes some

MOST_DATES = 64  # observed dates: the last ones
TRIMMED = 8  # of so many observations one is left out on each side


@dataclass(frozen=True, slots=True)
class Credits:
    """The account's balance in micro-dollars, paid and free; negative where the account owes something."""

    paid: int
    free: int

    @property
    def total(self) -> int:
        """What jobs can be paid from."""
        return self.paid + self.free


@dataclass(frozen=True, slots=True)
class StatusCheck:
    """The answer to one poll: the verdict, the service's own time for a finished job in seconds, and when it was sent.

    `sent_at` is epoch seconds: a poll may have waited at the gate before.
    """

    verdict: StatusVerdict
    total_s: float | None
    sent_at: float


@dataclass(frozen=True)
class ClockSkew:
    """Our clock minus the service's, in seconds, from many answers: each `Date` header is one observation.

    One answer proves nothing: a node's clock may be minutes off, a cache may give an old date. So the skew is a range. Of
    TRIMMED observations or more the outermost eighth on each side is left out; of fewer, all count.
    """

    _seen: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_DATES))

    def note(self, date: str | None, now: float) -> None:
        """Note the `Date` of an answer that came at `now`, epoch seconds by our clock."""
        at = read_time(date)
        if at is not None:
            self._seen.append(now - at)

    @property
    def skew(self) -> float | None:
        """The median of what was observed; None while no answer had a date."""
        return statistics.median(self._seen) if self._seen else None

    @property
    def spread(self) -> float:
        """How far the observations lie from the median at most, without the outliers."""
        if not self._seen:
            return 0.0
        ordered = sorted(self._seen)
        left_out = len(ordered) // TRIMMED
        kept = ordered[left_out : len(ordered) - left_out]
        middle = statistics.median(ordered)
        return max(kept[-1] - middle, middle - kept[0])


class Calls(HttpClient):
    """The service's calls, and `download` for a finished image (http.py); use as an async context manager.

    `pace` is shared by everything that submits with this key, `polls` holds what is known of job times; `clock` is wall
    time, epoch seconds. `clocks` is how far our clock and the service's differ, by the dates of its answers.
    """

    def __init__(
        self,
        service: Service,
        *,
        pace: Limiter | None = None,
        polls: PollSchedules | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(service)
        self.service = service
        self.pace = pace or Limiter(CLIENT_IN_FLIGHT, RateGate(timeouts=service.timeouts))
        self.polls = polls or PollSchedules(limits=service.poll_limits)
        self.clock = clock
        self.status_calls = 0
        self.clocks = ClockSkew()
        # Request ids, the latest asked about last: no later submit is answered with one of them.
        self._known: dict[str, None] = {}
        self._sent = False
        self._base = service.inference_url.rstrip("/")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base} {self.pace!r} {self.polls!r}>"

    async def submit(self, body: Mapping[str, Any]) -> Submission:
        """POST a new job, once; return what is known about it, as the table in responses.py says.

        Never raises for an answer or its absence: a lost answer is `Unknown`, and no connection is `NotAccepted`.
        """
        self._sent = True
        try:
            reply = await self.request_json(f"{self._base}/v2/{MODEL}", body=body)
        except NotDelivered as exc:
            return responses.NotAccepted(error_classes.NOT_DELIVERED, str(exc), None)
        except NoResponse as exc:
            return responses.Unknown(error_classes.NO_ANSWER, str(exc), None)
        except RunStopped as exc:  # a certificate, before anything was sent
            return responses.AccountRefused(str(exc), None)
        self.clocks.note(reply.headers.get("date"), self.clock())
        self.pace.gate.failed_connections = 0
        submission = classify_submit(reply, body)
        if isinstance(submission, responses.Accepted) and submission.request_id in self._known:
            reply.disown()  # it answers an earlier request; the answer to this one may come after it
            why = f"the answer is about request {submission.request_id}, which was known before"
            submission = responses.Unknown(error_classes.REPEATED_REQUEST_ID, why, reply.status)
        if isinstance(submission, Throttled):
            self.pace.throttled(submission, self.clock())
        elif isinstance(submission, responses.Accepted):
            self._known[submission.request_id] = None
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self.pace.on_success(Priority.SUBMIT)
        return submission

    async def run_sync(self, body: Mapping[str, Any], *, within_s: float = SYNC_S) -> SyncResult:
        """POST a job to the blocking v1 call, once, and return its image. For a single image: `submit` survives more.

        Raises MaybeBilled when the answer is lost, late or not an image: the job may then be billed, and this call must
        not just be repeated. JobFailed and SubmitFailed are not billed; RunStopped means that no other job would be
        taken either.
        """
        headers: dict[str, str] = {}
        try:
            reply = await self.request_json(
                f"{self._base}/v1/{MODEL}",
                body=dict(body),
                limit=IMAGE_LIMIT,
                within_s=within_s,
                read_s=within_s,
                on_headers=headers.update,
            )
        except NotDelivered as exc:
            raise SubmitFailed(f"not sent, not billed: {exc}") from exc
        except NoResponse as exc:
            raise MaybeBilled(str(exc), id_in(headers)) from exc
        if reply.status == 429:
            self.pace.throttled(responses.read_throttle(reply), self.clock())
        result = read_image(reply, body)
        self.pace.on_success(Priority.SUBMIT)
        return result

    async def status(self, request_id: str) -> StatusCheck:
        """Ask once for a job's status; where GETs count, wait for a turn first."""
        self.status_calls += 1
        reply, sent_at = await self._get(Priority.STATUS, request_id, "/status", JSON_LIMIT)
        if isinstance(reply, Inconclusive):
            return StatusCheck(reply, None, sent_at)
        return StatusCheck(classify_status(reply), responses.metric_s(reply, "total_time"), sent_at)

    async def result(self, request_id: str, *, seed: object = None) -> Result | StatusVerdict:
        """Ask once for the result of a finished job: a Result, or the verdict on why there is none.

        A result of another seed than `seed` is Doubtful: results need not name their request.
        """
        reply, _ = await self._get(Priority.RESULT, request_id, "", BASE64_LIMIT)
        if isinstance(reply, Inconclusive):
            return reply
        verdict = classify_status(reply)
        if not isinstance(verdict, Completed):
            return verdict
        if responses.is_of_another_seed(reply, seed):
            reply.disown()
            return Doubtful(f"the result is of seed {reply.body['seed']}, not {seed}", reply.status)
        try:
            return responses.read_result(reply)
        except ServiceError as exc:
            return Inconclusive(str(exc), reply.status)

    async def _get(
        self, priority: Priority, request_id: str, path: str, limit: int
    ) -> tuple[responses.Reply | Inconclusive, float]:
        """Ask about a request once it is its turn; return the answer and when the request was sent."""
        self._known.pop(request_id, None)  # the latest asked about is last
        self._known[request_id] = None
        # Built from our own host, not from the URLs in the answer: the key follows no URL that a server names.
        url = f"{self._base}/v2/requests/{quote(request_id, safe='')}{path}"
        async with self.pace.acquire(priority):
            sent_at = self.clock()
            try:
                reply = await self.request_json(url, limit=limit)
            except NoResponse as exc:
                return Inconclusive(str(exc), None), sent_at
            if reply.text_of("request_id") not in {None, request_id}:
                reply.disown()
                return Inconclusive("the answer is about another request", reply.status), sent_at
            self.clocks.note(reply.headers.get("date"), self.clock())
            if reply.status == 429:
                self.pace.throttled(responses.read_throttle(reply), self.clock(), on_get=True)
            else:
                self.pace.on_success(priority)
        return reply, sent_at

    async def read(
        self, url: str, *, params: Mapping[str, str | int] | None = None, limit: int = JSON_LIMIT
    ) -> responses.Reply:
        """GET anything of the three API hosts, once; raises NoResponse when the answer did not come whole."""
        reply = await self.request_json(url, params=params, limit=limit)
        self.clocks.note(reply.headers.get("date"), self.clock())
        return reply

    async def upload(self, data_urls: Sequence[str]) -> list[str]:
        """Store images given as data URLs; return their URLs in the same order. Free, so it may be repeated.

        A 429 closes the gate, and the upload waits until it opens.

        Raises NoResponse when the answer did not come, ServiceError when the service refuses the images or its answer
        makes no sense, RunStopped when no other upload would be taken either.
        """
        url = f"{self.service.upload_url.rstrip('/')}/upload-asset"
        body = {"data_urls": list(data_urls)}
        within_s = self.timeouts.upload_s
        while (reply := await self.request_json(url, body=body, within_s=within_s)).status == 429:
            self.pace.throttled(responses.read_throttle(reply), self.clock())
            await self.pace.wait_until_open()
        if reply.status != 200:
            self._refuse_upload(reply)
        elif reply.body is None:  # free, so it may be sent again
            raise NoResponse(f"POST {url}: the upload was not answered ({reply.reason})")
        self.pace.gate.failed_connections = 0
        urls = reply.body.get("file_urls") if isinstance(reply.body, dict) else None
        if reply.status != 200 or not isinstance(urls, list) or len(urls) != len(data_urls):
            raise ServiceError(f"the upload failed ({reply.reason})")
        if not all(isinstance(found, str) and found and found.isprintable() for found in urls):
            raise ServiceError("the upload was answered without URLs")
        return urls

    def _refuse_upload(self, reply: responses.Reply) -> None:
        """Raise RunStopped where no other upload would be taken, NoResponse where the same one may be sent again."""
        if is_about_money(reply):
            raise RunStopped(f"{NO_CREDITS} (upload: {reply.reason})")
        if reply.status in {401, 403}:
            nothing = "" if self._sent else " Nothing was sent."
            raise RunStopped(
                f"The key was not accepted ({reply.status}).{nothing} Check SEGMIND_API_KEY. (upload: {reply.reason})"
            )
        if reply.status in {404, 405, 410}:
            raise RunStopped(f"The upload was refused. Check SEGMIND_UPLOAD_URL. ({reply.reason})")
        if reply.status >= 500:
            url = f"{self.service.upload_url.rstrip('/')}/upload-asset"
            raise NoResponse(f"POST {url}: the upload was not answered ({reply.reason})")

    async def credits(self) -> Credits:
        """Read the balance; free. Raises NoResponse or ServiceError."""
        reply = await self.read(f"{self._base}/v1/get-user-credits")
        if reply.status != 200 or not isinstance(reply.body, dict):
            raise ServiceError(f"the balance cannot be read ({reply.reason})")
        paid, free = (
            micro_dollars(reply.body.get(name), may_be_negative=True) for name in ("credits", "free-credits")
        )
        if paid is None:
            raise ServiceError("the balance cannot be read (no number)")
        return Credits(paid, free or 0)
