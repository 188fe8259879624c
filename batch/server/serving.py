"""The server on its socket, from bind to the last cleanup; and as a process that ends with its parent.

`run` serves until `stop` is set and then leaves nothing: no task, no worker process, no folder. aiohttp does the HTTP.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from batch.server.engines.registry import create_engine
from batch.server.http.app import LocalApp
from batch.server.job_runner import JobRunner
from batch.server.settings import LocalSettings
from batch.server.simulation.files import Files
from batch.server.state import ServerState

HOST = "127.0.0.1"
BACKLOG = 2048
# How long calls get to end when the server stops.
GRACE_S = 5
MAX_BODY_BYTES = 256 * 1024 * 1024


async def run(settings: LocalSettings, up: Callable[[str, str], None], stop: asyncio.Event) -> None:
    """Serve until `stop` is set; `up` gets the URL and the key when the engine is ready and the server answers."""
    with socket.create_server((HOST, settings.port), backlog=BACKLOG) as listener, Files() as files:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        state = ServerState(settings, url, files, closing=stop)
        engine = create_engine(settings.engine, state.workers)
        jobs = JobRunner(state, engine)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", r"/{path:[\s\S]*}", LocalApp(state, jobs).handle)
        app.on_response_prepare.append(_without_library_name)
        server = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=settings.keep_alive_s,
            shutdown_timeout=GRACE_S,
        )
        try:
            starting = asyncio.ensure_future(engine.start())
            if not await state.outlasts(starting):
                starting.cancel()
                await asyncio.wait({starting})
                return
            await starting  # raises what it raised
            await server.setup()
            await web.SockSite(server, listener, backlog=BACKLOG).start()
            up(url, state.key)
            await stop.wait()
        finally:
            stop.set()  # calls that wait end
            await server.cleanup()
            await jobs.close()
            await engine.close()


async def _without_library_name(_: web.Request, response: web.StreamResponse) -> None:
    if response.headers["Server"] == SERVER_SOFTWARE:
        del response.headers["Server"]


def _silent(url: str, key: str) -> None:
    """Announce nothing."""


def serve(
    settings: LocalSettings, ready: Callable[[str, str], None] = _silent, *, with_stdin: bool = False
) -> None:
    """Serve in the foreground until SIGINT, SIGTERM or SIGHUP, and with `with_stdin` until stdin ends.

    `ready` gets the URL and the key once the server answers. Raises OSError when the port is taken.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup, or a background job of a script
                loop.add_signal_handler(signum, stop.set)
        if with_stdin:
            watch = threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True)
            watch.start()
        await run(settings, ready, stop)

    asyncio.run(main())


def serve_child() -> None:
    """Be the process of `python -m batch.server`: settings on the first line of stdin, one ready line on stdout."""
    # Unbuffered: a buffered stdin would be locked by the watching thread when the interpreter ends.
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        settings = LocalSettings.from_json(stdin.readline().decode(errors="replace"))

    def ready(url: str, key: str) -> None:
        sys.stdout.write(json.dumps({"url": url, "api_key": key}) + "\n")
        sys.stdout.flush()

    serve(settings, ready, with_stdin=True)


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
        loop.call_soon_threadsafe(stop.set)
