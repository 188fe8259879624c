"""An engine in worker processes: as many as there are CPU cores, each started when it is first needed.

Subprocesses on pipes instead of a process pool of the standard library: those workers hold both ends of their
queue and live on after a kill -9 of their parent; ours end with the pipe (see `worker`). A worker that dies fails
its job only, and another one takes its place. The pool knows the renderer by its place alone: only workers import it.
"""

import asyncio
import pickle
import subprocess
from asyncio.subprocess import Process
from dataclasses import replace

from batch.server.engines.base import RenderError, RenderRequest
from batch.server.engines.worker import LENGTH
from batch.server.subprocesses import python_child


class ProcessPool:
    """Up to `capacity` workers, one image each at a time.

    `renderer` is the place, "module:name", of a function that takes a RenderRequest and returns the encoded image.
    """

    needs_images = True

    def __init__(self, renderer: str, capacity: int) -> None:
        self.capacity = capacity
        self._renderer = renderer
        self._idle: list[Process] = []
        self._all: set[Process] = set()

    async def start(self) -> None:
        """Do nothing: workers start when they are needed, so a server is up at once."""

    async def render(self, request: RenderRequest) -> bytes:
        """Return the image; `request.body` is empty for the renderer. Raises RenderError with its reason."""
        process = self._idle.pop() if self._idle else await self._start_worker()
        try:
            answer = await _ask(process, replace(request, body={}))
        except (OSError, EOFError) as exc:
            await self._end(process)
            raise RenderError("the worker died while the image was made") from exc
        except asyncio.CancelledError:
            await self._end(process)
            raise
        self._idle.append(process)
        if isinstance(answer, RenderError):
            raise answer
        return answer

    async def close(self) -> None:
        """End all workers and wait until they are gone."""
        for process in list(self._all):
            await self._end(process)

    async def _start_worker(self) -> Process:
        command, environment = python_child("batch.server.engines.worker", self._renderer)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # a Ctrl-C in the terminal is for the server, which ends us by the pipe
        )
        self._all.add(process)
        return process

    async def _end(self, process: Process) -> None:
        if process in self._all:
            self._all.discard(process)
            if process.returncode is None:
                process.kill()
            if process.stdout is not None:
                await process.stdout.read()  # asyncio sees no end behind an image that nobody has read
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()


async def _ask(process: Process, request: RenderRequest) -> bytes | RenderError:
    if process.stdin is None or process.stdout is None:
        raise OSError("a worker without pipes")
    process.stdin.write(pickle.dumps(request))
    await process.stdin.drain()
    length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
    answer: bytes | RenderError = pickle.loads(await process.stdout.readexactly(length))  # noqa: S301  our worker's
    return answer
