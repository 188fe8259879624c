"""Runs accepted jobs: waits for a worker, takes the time the settings ask for, has the picture made.

One task a job. A job that cannot have a picture FAILS with the reason, after the same time as any other; an
exception of ours fails it too and is logged. Closing cancels what still runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from batch.local.card import card_for
from batch.local.inputs import Inputs
from batch.local.jobs import Completed, Failed, Processing
from batch.local.latency import Slots, duration_s, start_s
from batch.local.pool import Pool
from batch.local.sources import Fetcher, Unavailable
from batch.parameters import BY_NAME

if TYPE_CHECKING:
    from batch.local.jobs import Job
    from batch.local.service import Service

LOG = logging.getLogger("batch.local")
BLOCKED = "Content blocked: the request was flagged by the safety filter"
FAILURE = "Inference failed. Please retry the request"


class Runner:
    """The tasks of all jobs of one server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._slots = Slots(service.workers)
        self._pool = Pool(min(service.workers, os.cpu_count() or 1))
        self._inputs = Inputs(service, Fetcher())
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def launch(self, job: Job) -> None:
        """Start the job's task."""
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks[job.request_id] = task
        self._service.stats.most_in_flight = max(self._service.stats.most_in_flight, len(self._tasks))
        task.add_done_callback(lambda _: self._tasks.pop(job.request_id))

    async def ended(self, request_id: str) -> bool:
        """Wait until the job has ended; false when the server closes first."""
        task = self._tasks.get(request_id)
        if task is not None:
            closing = asyncio.ensure_future(self._service.closing.wait())
            await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
            closing.cancel()
        return task is None or task.done()

    async def close(self) -> None:
        """Cancel what runs, end the workers."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._pool.close()
        await self._inputs.close()

    async def _run(self, job: Job) -> None:
        service = self._service
        async with self._slots.worker(service.clock) as last_used:
            await asyncio.sleep(start_s(service.settings, last_used, service.clock()))
            started = service.clock()
            service.jobs.move(job.request_id, Processing(started))
            least = duration_s(service.settings, service.dice, job.ordinal)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(least))
                    picture = group.create_task(self._attempt(job))
                self._end(job, started, picture.result())
            except Exception:
                LOG.exception("job.broken request_id=%s", job.request_id)
                self._fail(job, started, "internal error")

    def _end(self, job: Job, started: float, picture: bytes | Unavailable) -> None:
        if isinstance(picture, Unavailable):
            self._fail(job, started, str(picture))
            return
        service = self._service
        now = service.clock()
        content_type = f"image/{job.body.get('image_format', BY_NAME['image_format'].default)}"
        stored = service.files.keep(picture, "outputs", content_type, now, job.request_id)
        service.bank.settle(job.request_id)
        service.jobs.move(
            job.request_id, Completed(started, now, service.bank.balance, stored.name, len(picture))
        )

    def _fail(self, job: Job, started: float, reason: str) -> None:
        self._service.bank.release(job.request_id)
        self._service.jobs.move(job.request_id, Failed(started, self._service.clock(), reason))

    async def _attempt(self, job: Job) -> bytes | Unavailable:
        try:
            self._check(job)
            if self._service.settings.engine == "card":
                self._inputs.check_own(job.body)
                return card_for(job.body)
            return await self._draw(job)
        except Unavailable as reason:
            return reason

    def _check(self, job: Job) -> None:
        settings = self._service.settings
        if not job.prompt.strip():
            raise Unavailable("prompt: must not be empty")
        if any(word in job.prompt for word in settings.blocked_words):
            raise Unavailable(BLOCKED)
        if self._service.dice.draw("failure", job.ordinal).random() < settings.failure_rate:
            raise Unavailable(FAILURE)

    async def _draw(self, job: Job) -> bytes:
        product, texture = await self._inputs.read(job.body)
        asked: dict[str, Any] = {
            name: job.body.get(name, BY_NAME[name].default)
            for name in ("prompt", "aspect_ratio", "image_format", "quality")
        }
        asked |= {"quality": int(asked["quality"]), "seed": job.seed}
        return await self._pool.render(asked, product, texture)
