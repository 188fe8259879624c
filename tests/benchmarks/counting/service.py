"""The service's answers and what it counts; knows no sockets. A job is done when its time is over: nothing is timed.

Shapes are those of the service and of batch/server: submit, status, result, output file, credits, history by id.
"""

from __future__ import annotations

import heapq
import io
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from PIL import Image

from counting.limit import Limit

if TYPE_CHECKING:
    from counting.options import Options

MODEL = "qwen-image-edit-plus-texture-apply"
SUBMIT = f"/v2/{MODEL}"
REQUESTS = "/v2/requests/"
HISTORY = "/inference-request/request-history"
PRICE = 0.03
CREDITS = 1_000_000.0
PLACES = {"jpeg": "jpg", "png": "png", "webp": "webp"}

Answer = tuple[int, bytes, str, str]
"""Status, body, content type, further header lines."""


@dataclass(slots=True)
class Job:
    """An accepted submit; times in epoch seconds, `seen_at` is when a poll first found it done."""

    index: int
    image_format: str
    accepted_at: float
    done_at: float
    seed: int
    seen_at: float | None = None
    fetched_at: float | None = None
    polls: int = 0


def as_json(payload: Any, status: int = 200, headers: str = "") -> Answer:
    return status, json.dumps(payload, separators=(",", ":")).encode(), "application/json", headers


def picture(image_format: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (120, 80, 40)).save(out, image_format.upper())
    return out.getvalue()


NOT_FOUND = as_json({"error": "Request not found or expired"}, 404)


class Service:
    """Answers calls and counts them. `base` is its own address."""

    def __init__(self, options: Options, base: str) -> None:
        self.options = options
        self.base = base
        self.limit = Limit(options)
        self.jobs: list[Job] = []
        self.calls = {"submit": 0, "status": 0, "result": 0, "file": 0, "history": 0, "credits": 0, "gone": 0}
        self.most_in_flight = 0
        self._running: list[float] = []
        self._unfetched = 0
        self._files = {PLACES[name]: (f"image/{name}", picture(name)) for name in PLACES}

    def now(self) -> float:
        """Return the time as the service tells it."""
        return time.time() + self.options.skew_s

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        path, _, _ = path.partition("?")
        if path == SUBMIT and method == "POST":
            return self._refused(counts=True) or self._submit(json.loads(body))
        if path.startswith(REQUESTS):
            return self._refused(counts=self.options.counts_gets) or self._poll(path[len(REQUESTS) :])
        if path.startswith("/outputs/"):
            self.calls["file"] += 1
            content_type, data = self._files[path.rpartition(".")[2]]
            return 200, data, content_type, ""
        if path == "/v1/get-user-credits":
            self.calls["credits"] += 1
            return self._refused(counts=self.options.counts_gets) or as_json(
                {"credits": CREDITS, "free-credits": 0}
            )
        if path.startswith(HISTORY):
            self.calls["history"] += 1
            return self._history(path[len(HISTORY) + 1 :])
        return as_json(self.counts()) if path == "/_counts" else NOT_FOUND

    def counts(self) -> dict[str, Any]:
        """Return everything that was counted. `jobs` in the order of acceptance, times since the first of them."""
        first = self.jobs[0].accepted_at if self.jobs else 0.0
        return {
            "accepted": len(self.jobs),
            "first_at": first,
            "calls": self.calls,
            "throttled": self.limit.throttled,
            "most_in_flight": self.most_in_flight,
            "cpu_s": time.process_time(),
            "jobs": [
                {
                    "index": job.index,
                    "accepted_s": job.accepted_at - first,
                    "done_s": job.done_at - first,
                    "seen_s": None if job.seen_at is None else job.seen_at - first,
                    "fetched_s": None if job.fetched_at is None else job.fetched_at - first,
                    "polls": job.polls,
                }
                for job in self.jobs
            ],
        }

    def _refused(self, *, counts: bool) -> Answer | None:
        resets_at = self.limit.take(time.time()) if counts else None
        return None if resets_at is None else self._throttle(resets_at)

    def _throttle(self, resets_at: float | None) -> Answer:
        lines = "x-rate-limit-remaining: 0\r\n"
        if self.options.header and resets_at is not None:
            moment = datetime.fromtimestamp(resets_at + self.options.skew_s, UTC)
            told = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            lines += f"x-rate-limit-reset-at-utc: {told}\r\n"
        return as_json({"error": "Rate limit exceeded. Please try again later"}, 429, lines)

    def _submit(self, body: dict[str, Any]) -> Answer:
        self.calls["submit"] += 1
        now = time.time()
        while self._running and self._running[0] <= now:
            heapq.heappop(self._running)
        most = self.options.most_in_flight
        if most is not None and len(self._running) >= most:
            self.limit.refused(now)
            return self._throttle(None)
        index = int(body["prompt"].rpartition(" ")[2])
        job = Job(
            index, body.get("image_format", "webp"), now, now + self.options.job_s(index), body.get("seed", 1)
        )
        heapq.heappush(self._running, job.done_at)
        request_id = f"{len(self.jobs):08d}-counted"
        self.jobs.append(job)
        self._unfetched += 1
        self.most_in_flight = max(self.most_in_flight, self._unfetched)
        return as_json(
            {
                "request_id": request_id,
                "status": "QUEUED",
                "poll_url": f"{self.base}/v1/requests/{request_id}",
                "status_url": f"{self.base}{REQUESTS}{request_id}/status",
                "response_url": f"{self.base}{REQUESTS}{request_id}",
            }
        )

    def _poll(self, rest: str) -> Answer:
        request_id, _, asked = rest.partition("/")
        self.calls["status" if asked else "result"] += 1
        job, now = self.jobs[int(request_id[:8])], time.time()
        if now > job.accepted_at + self.options.record_s:
            self.calls["gone"] += 1
            return NOT_FOUND
        done = now >= job.done_at
        payload = {
            "status": "COMPLETED" if done else "PROCESSING",
            "request_id": request_id,
            "metrics": self._metrics(job) if done else {"retry_count": 0},
        }
        if asked:
            job.polls += 1
            if done and job.seen_at is None:
                job.seen_at = now
        elif done:
            if job.fetched_at is None:
                job.fetched_at = now
                self._unfetched -= 1
            payload |= self._output(request_id, job)
        return as_json(payload)

    def _metrics(self, job: Job) -> dict[str, float]:
        metrics = {"cost": PRICE, "remaining_credits": CREDITS, "retry_count": 0}
        if self.options.reported_times:
            took = round(job.done_at - job.accepted_at, 4)
            metrics |= {"inference_time": took, "queue_time": 0.0, "total_time": took}
        return metrics

    def _output(self, request_id: str, job: Job) -> dict[str, Any]:
        name = f"{request_id}.{PLACES[job.image_format]}"
        url = f"{self.base}/outputs/{name}"
        content_type, data = self._files[PLACES[job.image_format]]
        image = {"url": url, "content_type": content_type, "file_name": name, "file_size": len(data)}
        return {"output": url, "images": [image], "seed": job.seed}

    def _history(self, request_id: str) -> Answer:
        if not request_id:
            return as_json({"data": [], "page": 1, "per_page": 100, "total": 0})
        job = self.jobs[int(request_id[:8])]
        done = time.time() >= job.done_at
        row = {
            "request_id": request_id,
            "model_name": MODEL,
            "model_status": "COMPLETED" if done else "PENDING",
            "credits_deduction": PRICE if done else 0,
            "generation_url": self._output(request_id, job)["output"] if done else None,
            "error": None,
        }
        return as_json(row)
