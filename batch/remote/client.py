"""A small async client of the service: one method a call, one HTTP attempt each, answers judged and returned as values.

    async with Client(Service(api_key="…")) as client:
        submission = await client.submit({"prompt": "…", "image_1": "https://…", "image_2": "https://…"})
        result = await client.wait(submission.request_id, deadline_s=900)

`submit` is never repeated here, whatever happens: each accepted POST is a new billed job. `wait` polls, and is free to
be cancelled or called again. The journey of a row uses this client and nothing else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from batch.errors import (
    JobFailed,
    JobRunning,
    MaybeBilled,
    NoAnswer,
    NotDelivered,
    RunStopped,
    ServiceError,
    SubmitFailed,
    UselessAnswer,
)
from batch.parameters import MODEL
from batch.remote import verdicts
from batch.remote.api import BASE64_LIMIT, JSON_LIMIT, UPLOAD_S, Api
from batch.remote.blocking import REQUEST_ID, SyncResult, read_picture
from batch.remote.gate import Turn
from batch.remote.judge import judge_status, judge_submit
from batch.remote.pace import Pace
from batch.remote.polls import CAREFUL, NEARBY, Polls
from batch.remote.values import micro_dollars, read_time
from batch.remote.verdicts import Completed, Throttled, Trouble
from batch.remote.watch import Done, Failed, Lost, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch.config import Service
    from batch.model import Result
    from batch.remote.polls import PollLimits
    from batch.remote.verdicts import StatusVerdict, Submission

IN_FLIGHT = 16  # of a client on its own
NOT_NOW = frozenset({408, 425, 429})  # of the 4xx those that say nothing about what was asked for
SYNC_S = 300.0  # the vendor means v1 for less than a minute; a cold start takes some


@dataclass(frozen=True, slots=True)
class Credits:
    """The account's balance in micro-dollars, paid and free."""

    paid: int
    free: int

    @property
    def total(self) -> int:
        """What jobs can be paid from."""
        return self.paid + self.free


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a job: the verdict, the service's own time for the job in seconds once it is done, and when it was sent.

    `sent_at` is epoch seconds: a look may have waited at the gate before.
    """

    verdict: StatusVerdict
    total_s: float | None
    sent_at: float


class Client:
    """The service's calls; use as an async context manager.

    `pace` is shared with whoever else submits with this key, `polls` is what is known of its job times; `clock` is wall
    time, epoch seconds.
    `skew` is our clock minus the service's in seconds, by its last dated answer; None while there was none.
    """

    def __init__(
        self,
        service: Service,
        *,
        pace: Pace | None = None,
        polls: Polls | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.service = service
        self.pace = pace or Pace(IN_FLIGHT)
        self.polls = polls or Polls(poll_limits(service))
        self.clock = clock
        self.status_calls = 0
        self.skew: float | None = None
        self._api = Api(service)
        self._base = service.inference_url.rstrip("/")

    def __repr__(self) -> str:
        return f"<Client {self._base} {self.pace!r} {self.polls!r}>"

    async def __aenter__(self) -> Self:
        await self._api.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._api.__aexit__(*exc)

    async def submit(self, body: Mapping[str, Any]) -> Submission:
        """POST a new job, once; return what is known of it: see judge.py.

        Never raises for an answer or its absence: a lost answer is `Unknown`, and no connection is `Bounced`.
        """
        try:
            reply = await self._api.ask(f"/v2/{MODEL}", body=body)
        except NotDelivered as exc:
            return verdicts.Bounced(verdicts.NOT_DELIVERED, str(exc), None)
        except NoAnswer as exc:
            return verdicts.Unknown("no_answer", str(exc), None)
        except RunStopped as exc:  # a certificate, before anything was sent
            return verdicts.Stop(str(exc), None)
        self._compare_clocks(reply)
        self.pace.reached()
        submission = judge_submit(reply)
        if isinstance(submission, Throttled):
            self.pace.throttled(submission, self.clock())
        elif isinstance(submission, verdicts.Accepted):
            self.pace.let_through(Turn.SUBMIT)
        return submission

    async def run_sync(self, body: Mapping[str, Any], *, within_s: float = SYNC_S) -> SyncResult:
        """POST a job to the blocking v1 call, once, and return its picture. For a single picture: `submit` survives more.

        Raises MaybeBilled when the answer is lost, late or no picture: the job may then be billed, and this call must
        not just be repeated. JobFailed and SubmitFailed are not billed; RunStopped means that no other job would be
        taken either.
        """
        headers: dict[str, str] = {}
        try:
            reply, data = await self._api.blocking(
                f"{self._base}/v1/{MODEL}", dict(body), within_s=within_s, heard=headers.update
            )
        except NotDelivered as exc:
            raise SubmitFailed(f"not sent, not billed: {exc}") from exc
        except NoAnswer as exc:
            raise MaybeBilled(str(exc), headers.get(REQUEST_ID)) from exc
        if reply.status == 429:
            self.pace.throttled(verdicts.read_throttle(reply), self.clock())
        result = read_picture(reply, data)
        self.pace.let_through(Turn.SUBMIT)
        return result

    async def status(self, request_id: str) -> Look:
        """Ask once how a job is; where GETs count, wait for a turn first."""
        self.status_calls += 1
        reply, sent_at = await self._ask(Turn.STATUS, f"{_request(request_id)}/status", JSON_LIMIT)
        if isinstance(reply, Trouble):
            return Look(reply, None, sent_at)
        return Look(judge_status(reply), verdicts.total_time(reply), sent_at)

    async def result(self, request_id: str) -> Result | StatusVerdict:
        """Ask once for the result of a finished job: a Result, or the verdict on why there is none."""
        reply, _ = await self._ask(Turn.RESULT, _request(request_id), BASE64_LIMIT)
        if isinstance(reply, Trouble):
            return reply
        verdict = judge_status(reply)
        if not isinstance(verdict, Completed):
            return verdict
        try:
            return verdicts.read_result(reply)
        except ServiceError as exc:
            return Trouble(str(exc), reply.status)

    async def _ask(self, turn: Turn, path: str, limit: int) -> tuple[verdicts.Reply | Trouble, float]:
        async with self.pace.turn(turn):
            sent_at = self.clock()
            try:
                reply = await self._api.ask(path, limit=limit)
            except NoAnswer as exc:
                return Trouble(str(exc), None), sent_at
            if reply.status == 429:
                self.pace.throttled(verdicts.read_throttle(reply), self.clock(), on_get=True)
            else:
                self.pace.let_through(turn)
        return reply, sent_at

    async def read(
        self, url: str, *, params: Mapping[str, str | int] | None = None, limit: int = JSON_LIMIT
    ) -> verdicts.Reply:
        """GET anything of the three API hosts, once; raises NoAnswer when the answer did not come whole."""
        reply = await self._api.call("GET", url, params=params, limit=limit)
        self._compare_clocks(reply)
        return reply

    def _compare_clocks(self, reply: verdicts.Reply) -> None:
        date = read_time(reply.headers.get("date"))
        if date is not None:
            self.skew = self.clock() - date

    async def wait(self, request_id: str, *, deadline_s: float) -> Result:
        """Poll a job until it is done and return its result.

        Raises JobFailed when the service reports it as failed or has no record of it, JobRunning (with the request
        id) when `deadline_s` seconds were not enough, RunStopped when the key is refused.
        """
        now = self.clock()
        outcome = await Watch(self).until_done(request_id, submitted_at=now, until=now + deadline_s)
        if isinstance(outcome, Done):
            return outcome.result
        if isinstance(outcome, Failed):
            raise JobFailed(request_id, outcome.reason)
        if isinstance(outcome, Lost):
            raise JobFailed(request_id, outcome.reason)
        if outcome.denied:
            raise RunStopped(outcome.denied)
        raise JobRunning(request_id, self.clock() - now)

    async def upload(self, data_urls: Sequence[str]) -> list[str]:
        """Store pictures given as data URLs; return their URLs in the same order. Free, so it may be repeated.

        A 429 is waited out until the gate opens, with everybody.

        Raises NoAnswer when the answer did not come, ServiceError when the service refuses them or answers nonsense.
        """
        url = f"{self.service.upload_url.rstrip('/')}/upload-asset"
        body = {"data_urls": list(data_urls)}
        while (reply := await self._api.call("POST", url, body=body, within_s=UPLOAD_S)).status == 429:
            self.pace.throttled(verdicts.read_throttle(reply), self.clock())
            await self.pace.opened()
        if reply.status in {401, 403, 404, 405, 410}:
            raise RunStopped(
                f"The upload was refused. Check SEGMIND_API_KEY and the upload's host. ({reply.reason})"
            )
        if reply.status >= 500 or (
            reply.status == 200 and reply.body is None
        ):  # free, so it may be sent again
            raise NoAnswer(f"POST {url}: the upload was not answered ({reply.reason})")
        self.pace.reached()
        urls = reply.body.get("file_urls") if isinstance(reply.body, dict) else None
        if reply.status != 200 or not isinstance(urls, list) or len(urls) != len(data_urls):
            raise ServiceError(f"the upload failed ({reply.reason})")
        if not all(isinstance(found, str) and found for found in urls):
            raise ServiceError("the upload was answered without URLs")
        return urls

    async def download(self, url: str) -> bytes:
        """Fetch a finished picture, without the key; raises NoAnswer when the file did not come whole with 200.

        It is a UselessAnswer when its host says no: 404, 403, 410 and the like. A 5xx or 429 says nothing of the file.
        """
        status, data = await self._api.download(url)
        if 400 <= status < 500 and status not in NOT_NOW:
            raise UselessAnswer(f"the picture's URL answers HTTP {status}")
        if status != 200:
            raise NoAnswer(f"the picture's URL answers HTTP {status}")
        return data

    async def credits(self) -> Credits:
        """Read the balance; free. Raises NoAnswer or ServiceError."""
        reply = await self.read(f"{self._base}/v1/get-user-credits")
        if reply.status != 200 or not isinstance(reply.body, dict):
            raise ServiceError(f"the balance cannot be read ({reply.reason})")
        paid = micro_dollars(reply.body.get("credits"))
        if paid is None:
            raise ServiceError("the balance cannot be read (no number)")
        return Credits(paid, micro_dollars(reply.body.get("free-credits")) or 0)


def poll_limits(service: Service) -> PollLimits:
    """Return how often a service may be asked for a status."""
    return NEARBY if service.nearby else CAREFUL


def _request(request_id: str) -> str:
    # Built from our own host, not from the URLs in the answer: the key follows no URL that a server names.
    return f"/v2/requests/{quote(request_id, safe='')}"
