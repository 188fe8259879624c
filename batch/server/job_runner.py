"""Runs accepted jobs: waits for a worker slot, takes the time the settings ask for, has the engine make the image.

One task a job. A job that cannot have an image FAILS with the reason, after the same time as any other; an
exception of ours fails it too and is logged. Closing cancels what still runs.
"""

import asyncio
import logging

from batch.core.parameters import BY_NAME
from batch.server.engines.base import Engine, RenderError, RenderRequest
from batch.server.inputs import Fetcher, Inputs, Unavailable
from batch.server.simulation.jobs import Completed, Failed, Job, Processing
from batch.server.simulation.latency import WorkerSlots, duration_s, start_s
from batch.server.state import ServerState

LOG = logging.getLogger("batch.server")
BLOCKED = "Content blocked: the request was flagged by the safety filter"
FAILURE = "Inference failed. Please retry the request"


class JobRunner:
    """The tasks of all jobs of one server, and the engine they share."""

    def __init__(self, state: ServerState, engine: Engine) -> None:
        self._state = state
        self._engine = engine
        self._slots = WorkerSlots(state.workers)
        self._rendering = asyncio.Semaphore(engine.capacity)
        self._inputs = Inputs(state.own_file, Fetcher())
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def launch(self, job: Job) -> None:
        """Start the job's task."""
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks[job.request_id] = task
        self._state.stats.most_in_flight = max(self._state.stats.most_in_flight, len(self._tasks))
        task.add_done_callback(lambda _: self._tasks.pop(job.request_id))

    async def ended(self, request_id: str) -> bool:
        """Wait until the job has ended; false when the server closes first."""
        task = self._tasks.get(request_id)
        return task is None or await self._state.outlasts(task)

    async def close(self) -> None:
        """Cancel the running jobs and close the connections; the engine is closed by the one that started it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inputs.close()

    async def _run(self, job: Job) -> None:
        state = self._state
        async with self._slots.worker(state.clock) as last_used:
            await asyncio.sleep(start_s(state.settings, last_used, state.clock()))
            started = state.clock()
            state.jobs.transition(job, Processing(started))
            least = duration_s(state.settings, state.random, job.ordinal)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(least))
                    result = group.create_task(self._attempt(job))
                self._end(job, started, result.result())
            except Exception:
                LOG.exception("job.broken request_id=%s", job.request_id)
                self._end(job, started, "internal error")

    def _end(self, job: Job, started: float, result: bytes | str) -> None:
        """Complete the job with its image, or fail it with the reason."""
        state = self._state
        now = state.clock()
        if isinstance(result, str):
            state.account.release(job.request_id)
            state.jobs.transition(job, Failed(started, now, result))
            return
        content_type = f"image/{job.body.get('image_format', BY_NAME['image_format'].default)}"
        stored = state.files.keep(result, "outputs", content_type, now, job.request_id)
        state.account.settle(job.request_id)
        state.jobs.transition(job, Completed(started, now, state.account.balance, stored.name, len(result)))

    async def _attempt(self, job: Job) -> bytes | str:
        """Return the image, or the reason why there is none."""
        settings = self._state.settings
        if not job.prompt.strip():
            return "prompt: must not be empty"
        if any(word in job.prompt for word in settings.blocked_words):
            return BLOCKED
        if self._state.random.draw("failure", job.ordinal).random() < settings.failure_rate:
            return FAILURE
        try:
            return await self._render(job)
        except (Unavailable, RenderError) as reason:
            return str(reason)

    async def _render(self, job: Job) -> bytes:
        product = texture = b""
        if self._engine.needs_images:
            product, texture = await self._inputs.read(job.body)
        else:
            self._inputs.check_own(job.body)
        given = {name: parameter.default for name, parameter in BY_NAME.items()} | dict(job.body)
        request = RenderRequest(
            product,
            texture,
            prompt=job.prompt,
            seed=job.seed,
            aspect_ratio=given["aspect_ratio"],
            image_format=given["image_format"],
            quality=int(given["quality"]),
            body=job.body,
        )
        async with self._rendering:
            return await self._engine.render(request)
