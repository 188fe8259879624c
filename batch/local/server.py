"""The server on its socket, from bind to the last cleanup; and as a process that ends with its parent.

`run` serves until it is told to stop and then leaves nothing: no task, no worker process, no folder. uvicorn does
the HTTP; its signal handling, its pauses of a tenth of a second and its Date header are replaced, since we may
live in a thread, stop at once and skew the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import uvicorn

from batch.local.app import LocalApp
from batch.local.files import Files
from batch.local.service import Service
from batch.local.settings import LocalSettings
from batch.local.wire import protocol_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
GRACE_S = 5


class _Server(uvicorn.Server):
    """uvicorn's server that says when it is up and stops at once."""

    def __init__(self, config: uvicorn.Config, up: Callable[[], None], stop: asyncio.Event) -> None:
        super().__init__(config)
        self._up = up
        self._stop = stop

    async def main_loop(self) -> None:
        self._up()
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  run() closes them
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while state.connections or state.tasks:  # noqa: ASYNC110  uvicorn keeps sets, no event
                    await asyncio.sleep(0.005)
        for task in list(state.tasks):
            task.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: LocalSettings, up: Callable[[str, str], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `up` gets the URL and the key when the server answers."""
    with socket.create_server((HOST, settings.port), backlog=2048) as listener, Files() as files:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        service = Service(settings, url, files)
        config = uvicorn.Config(
            LocalApp(service),
            http=protocol_class(service.wires),
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=settings.keep_alive_s,
        )
        server = _Server(config, lambda: up(url, service.key), stop)
        closer = asyncio.ensure_future(_close_with(stop, service))
        try:
            await server.serve(sockets=[listener])
        finally:
            closer.cancel()
            service.closing.set()
            await service.runner.close()


async def _close_with(stop: asyncio.Event, service: Service) -> None:
    await stop.wait()
    service.closing.set()


def _silent(url: str, key: str) -> None:
    """Announce nothing."""


def serve(
    settings: LocalSettings, ready: Callable[[str, str], None] = _silent, *, with_stdin: bool = False
) -> None:
    """Serve in the foreground until SIGINT or SIGTERM, and with `with_stdin` until stdin ends.

    `ready` gets the URL and the key once the server answers. Raises OSError when the port is taken.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        if with_stdin:
            watch = threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True)
            watch.start()
        await run(settings, ready, stop)

    asyncio.run(main())


def serve_child() -> None:
    """Be the process of `python -m batch.local`: settings on the first line of stdin, one ready line on stdout."""
    settings = LocalSettings.from_json(_first_line())

    def ready(url: str, key: str) -> None:
        sys.stdout.write(json.dumps({"url": url, "api_key": key}) + "\n")
        sys.stdout.flush()

    serve(settings, ready, with_stdin=True)


def _first_line() -> str:
    # by os.read: a buffered stdin would be locked by the watching thread when the interpreter ends
    text = bytearray()
    while b"\n" not in text and (piece := os.read(0, 65_536)):
        text += piece
    return text.partition(b"\n")[0].decode(errors="replace")


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
        loop.call_soon_threadsafe(stop.set)
