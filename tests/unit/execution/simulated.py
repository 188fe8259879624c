"""A run without a disk, a socket or a second of waiting: the real parts, on a ledger in memory and a service in a dictionary.

The event loop's clock jumps from one timer to the next (tests/virtual_time.py), so an hour of polling takes milliseconds.
"""

import io
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from types import SimpleNamespace
from urllib.parse import urlsplit

import anyio
from PIL import Image

from batch.client.client import Client
from batch.client.responses import Reply
from batch.core.config import RunSettings, Service
from batch.core.errors import NoResponse, NotDelivered
from batch.core.parameters import MODEL
from batch.execution.dispatcher import Dispatcher, RunContext, Workload
from batch.execution.fetch import ImageFetcher
from batch.execution.pipeline import JobPipeline
from batch.execution.progress import ProgressTracker
from batch.execution.reconcile import Reconciler
from batch.execution.submit import Submitter
from batch.execution.transitions import Budget, Recorder
from batch.execution.upload import Uploader
from batch.ledger.prices import PriceSource
from batch.output.files import LocalImageStore
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions
from batch.pacing.limiter import Limiter, RateGate
from batch.pacing.observations import Observations
from tests.virtual_time import VirtualTimeLoop

T = 1_800_000_000.0
PRICE = 30_000
OUTPUT = "https://files.example/"


def encoded(colour="tomato"):
    data = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(data, "WEBP", lossless=True)
    return data.getvalue()


IMAGE = encoded()


@dataclass
class Request:
    """A request that the service accepted."""

    request_id: str
    body: dict
    created: float
    runs_s: float
    fails: str | None = None

    def status(self, now):
        if now < self.created + self.runs_s:
            return "PROCESSING"
        return "FAILED" if self.fails else "COMPLETED"


@dataclass
class Simulation:
    """The service: `answers` says what happens to each POST in turn; after the last, all are accepted.

    "lost": accepted, and the answer does not come; "dropped": neither; "unconnected": no connection is made; a Reply is
    answered as it is. `seen` is called with what is asked before anything is answered: "POST", "status", "result" or "image".
    """

    answers: list = field(default_factory=list)
    runs_s: float = 20.0
    fails: str | None = None
    forgets_after_s: float = 3600.0
    downloads_lost: int = 0
    seen: object = lambda _: None
    requests: dict = field(default_factory=dict)
    posts: list = field(default_factory=list)
    listed: bool = True
    began: float = T

    def now(self):
        """The time of day, epoch seconds, during a run."""
        return self.began + anyio.current_time()

    def reply(self, body, status=200, **headers):
        date = format_datetime(datetime.fromtimestamp(self.now(), UTC), usegmt=True)
        return Reply(
            status,
            {"date": date} | {name.replace("_", "-"): text for name, text in headers.items()},
            body,
            "",
        )

    async def request_json(self, url, *, body=None, params=None, **_):
        """Stands for HttpClient.request_json: the wire."""
        await anyio.sleep(0.05)
        path = urlsplit(url).path
        if body is not None:
            return self.post(body)
        if path.endswith("get-user-credits"):
            return self.reply({"credits": 1000})
        if "request-history" in path:
            return self.history(path.rpartition("/")[2], params)
        return self.get(*path.partition("/v2/requests/")[2].split("/"))

    def post(self, body):
        self.seen("POST")
        self.posts.append(body)
        answer = self.answers.pop(0) if self.answers else "accepted"
        if isinstance(answer, tuple):
            status, text, headers = answer
            return self.reply(text, status, **headers)
        if answer == "unconnected":
            raise NotDelivered("no connection")
        if answer != "dropped":
            request_id = f"q-{len(self.requests)}"
            self.requests[request_id] = Request(request_id, dict(body), self.now(), self.runs_s, self.fails)
        if answer != "accepted":
            raise NoResponse("the connection was cut")
        return self.reply({"request_id": request_id, "status": "QUEUED"})

    def get(self, request_id, kind="result"):
        self.seen(kind)
        request = self.requests[request_id]
        if self.now() > request.created + self.forgets_after_s:
            return self.reply({"error": "Request not found or expired"}, 404)
        status = request.status(self.now())
        if status == "FAILED":
            return self.reply({"error": request.fails}, 422)
        known = {"request_id": request_id, "status": status}
        if status == "COMPLETED" and kind == "result":
            known |= {"images": [{"url": OUTPUT + request_id}], "metrics": {"cost": 0.03}}
        return self.reply(known)

    def history(self, last, params):
        if params is None:
            found = self.requests.get(last) if self.listed else None
            return (
                self.reply({"error": "no such request"}, 404)
                if found is None
                else self.reply(self.row(found))
            )
        rows = [self.row(request) for request in reversed(self.requests.values())] if self.listed else []
        begin = (params["page"] - 1) * params["per_page"]
        return self.reply({"data": rows[begin : begin + params["per_page"]], "total": len(rows)})

    def row(self, request):
        done = request.status(self.now()) == "COMPLETED"
        return {
            "request_id": request.request_id,
            "model_name": MODEL,
            "model_status": request.status(self.now()),
            "model_created": datetime.fromtimestamp(request.created, UTC).isoformat(timespec="microseconds"),
            "request_body": request.body,
            "generation_url": OUTPUT + request.request_id if done else None,
            "credits_deduction": 0.03 if done else 0,
            "error": request.fails,
        }

    async def download(self, url, **_):
        """Stands for HttpClient.download."""
        self.seen("image")
        await anyio.sleep(0.1)
        if self.downloads_lost:
            self.downloads_lost -= 1
            raise NoResponse("the image's URL answers HTTP 502")
        assert url.removeprefix(OUTPUT) in self.requests
        return IMAGE


class NoSheet:
    """A run in memory has no contact sheet."""

    def __init__(self, *_):
        pass

    async def refresh(self, *_):
        await anyio.sleep_forever()


@dataclass
class Ended:
    """How a run ended: why it stopped, why jobs stayed unknown, what was warned of, and how long it took."""

    stopped: object
    unresolved: str | None
    warnings: list
    seconds: float
    committed: int


_runs = itertools.count(1)


def run(
    store,
    service,
    folder,
    *,
    cap=None,
    retries=3,
    settle_s=120.0,
    concurrency=8,
    job_timeout_s=900.0,
    stop_after_s=None,
):
    """Process all jobs of a store against a simulated service, as a run does after its plan; return how it ended."""

    async def story():
        now = service.now
        store.clock, store.run_id = now, f"run-{next(_runs)}"
        with store.atomic():
            store.recover()
            committed, _ = store.start_run(max_cost=cap, price=PRICE)
        settings = RunSettings(folder, settle_s=settle_s, retries=retries, job_timeout_s=job_timeout_s)
        context = RunContext(
            SimpleNamespace(), store, settings, Service(), lambda _: None, warnings.append, None
        )
        client = Client(context.service, pace=Limiter(concurrency, RateGate()), clock=now)
        client.request_json, client.download = service.request_json, service.download
        tracker = ProgressTracker(context.on_progress)
        budget = Budget(cap, PRICE, committed)
        recorder = Recorder(store, budget, tracker)
        image_store = LocalImageStore(folder)
        fetcher = ImageFetcher(
            client,
            store,
            PreviousVersions(image_store),
            OtherFormats(image_store),
            tracker,
            context.warn,
            context.stop.request_stop,
        )
        submitter = Submitter(
            recorder, client, Uploader(client, store), context.stop, retries, fetcher.backpressure_s
        )
        pipeline = JobPipeline(recorder, client, submitter, fetcher, context.stop, job_timeout_s)
        reconciler = Reconciler(recorder, client, context.stop, context.warn, settle_s, retries, now())
        begun = now()
        work = Workload(
            store.open_jobs(), store.open_jobs(), store.outstanding().unknown, budget, PriceSource.GIVEN, 0
        )
        with anyio.move_on_after(stop_after_s) as cut:
            await Dispatcher(context, pipeline, reconciler, Observations()).process(work)
        ended = Ended(context.stop.reason, context.stats.unsettled, warnings, now() - begun, budget.committed)
        if not cut.cancelled_caught:
            with store.atomic():
                store.finish_run(rows_saved=0, status_calls=0, http_429=0, exit_code=0)
                store.mark_ended_by_itself(restore=False)
        service.began = now() + 60.0  # a minute until the next run
        return ended

    warnings = []
    return anyio.run(story, backend_options={"loop_factory": VirtualTimeLoop})
