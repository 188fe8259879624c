"""The worker processes of the drape engine: as many as there are CPU cores, started when first needed.

Subprocesses on pipes instead of a process pool of the standard library: those workers hold both ends of their
queue and live on after a kill -9 of their parent; ours end with the pipe (see `worker`). A worker that dies fails
its job only, and another one takes its place.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

from batch.local.children import command, environment
from batch.local.sources import Unavailable
from batch.local.worker import LENGTH, pack

if TYPE_CHECKING:
    from asyncio.subprocess import Process


class Pool:
    """Up to `size` workers; each makes one picture at a time."""

    def __init__(self, size: int) -> None:
        self._turn = asyncio.Semaphore(size)
        self._idle: list[Process] = []
        self._all: set[Process] = set()

    async def render(self, request: dict[str, Any], product: bytes, texture: bytes) -> bytes:
        """Return the picture; Unavailable with the engine's reason when it can make none."""
        async with self._turn:
            process = self._idle.pop() if self._idle else await self._start()
            try:
                head, data = await _ask(process, pack({"request": request}, [product, texture]))
            except (OSError, EOFError) as exc:
                await self._end(process)
                raise Unavailable("the worker died while the picture was made") from exc
            except asyncio.CancelledError:
                await self._end(process)
                raise
            self._idle.append(process)
        if "error" in head:
            raise Unavailable(head["error"])
        return data

    async def close(self) -> None:
        """End all workers and wait until they are gone."""
        for process in list(self._all):
            await self._end(process)

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            *command("batch.local.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
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
                await process.stdout.read()  # asyncio sees no end behind a picture that nobody has read
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()


async def _ask(process: Process, frame: bytes) -> tuple[dict[str, Any], bytes]:
    if process.stdin is None or process.stdout is None:
        raise OSError("a worker without pipes")
    process.stdin.write(frame)
    await process.stdin.drain()
    length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
    head = json.loads(await process.stdout.readexactly(length))
    data = b"".join([await process.stdout.readexactly(size) for size in head["blobs"]])
    return head, data
