"""Hold a local server: in a thread (tests), or in a separate process (`--local`, acceptance tests).

Both have one interface: `base_url`, `api_key`, `stats()`, `faults([...])`, `settings(...)`, `close()`, and both are
context managers. The process gets its settings and the key through a pipe and keeps that pipe as its lifeline: when
we are gone, however we died, it ends. It runs in a session of its own, so a Ctrl-C in the terminal reaches us
only and we can still finish our jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batch.server.subprocesses import python_child

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from anyio.abc import TaskStatus

    from batch.server.settings import LocalSettings

CALL_S = 30.0
END_S = 10.0


class LocalError(RuntimeError):
    """The local server did not start, or refused a control call; the message gives the reason."""


class ServerHandle:
    """The controls of a running server."""

    base_url: str
    api_key: str

    def stats(self, *, jobs: bool = True) -> dict[str, Any]:
        """Return all counters; without `jobs` the long lists are left out."""
        report: dict[str, Any] = self._call("GET", f"/_local/stats?jobs={int(jobs)}")
        return report

    def faults(self, faults: Sequence[dict[str, Any]]) -> None:
        """Replace the faults in force; see `batch.server.simulation.faults` for the format."""
        self._call("POST", "/_local/faults", list(faults))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings of the running server and return all of them; a new `api_key` is the one to use from now on."""
        shown: dict[str, Any] = self._call("POST", "/_local/settings", changes)
        self.api_key = changes.get("api_key") or self.api_key
        return shown

    def close(self) -> None:
        """Stop the server and wait until it is gone."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=CALL_S)
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"x-api-key": self.api_key})
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != 200:
            raise LocalError(f"{path}: {answer['error']}")
        return answer


class LocalApi(ServerHandle):
    """A server in a thread of this process, up when the constructor returns; `settings` with `overrides` put in."""

    def __init__(self, settings: LocalSettings | None = None, **overrides: Any) -> None:
        from anyio.from_thread import start_blocking_portal  # noqa: PLC0415  start-up time

        from batch.server.settings import LocalSettings  # noqa: PLC0415  start-up time

        settings = dataclasses.replace(settings or LocalSettings(), **overrides)
        with contextlib.ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal(name="local-api"))
            stop = portal.call(asyncio.Event)
            self._ended, (self.base_url, self.api_key) = portal.start_task(_serve, settings, stop)
            stack.callback(portal.call, stop.set)
            self._running = stack.pop_all()

    def close(self) -> None:
        """Stop the server and wait until it is gone; raises the exception that ended it, if one did."""
        self._running.close()
        self._ended.result()


async def _serve(
    settings: LocalSettings, stop: asyncio.Event, *, task_status: TaskStatus[tuple[str, str]]
) -> None:
    from batch.server.serving import run  # noqa: PLC0415  start-up time

    await run(settings, lambda url, key: task_status.started((url, key)), stop)
    if not stop.is_set():
        raise LocalError("the local server ended before it was up")


class LocalProcess(ServerHandle):
    """A server in a process of its own, up when the constructor returns; it ends with us."""

    def __init__(self, settings: LocalSettings | None = None, **overrides: Any) -> None:
        text = "{}"  # the child's own defaults: `--local` needs no settings
        if settings or overrides:
            from batch.server.settings import LocalSettings  # noqa: PLC0415  start-up time

            text = dataclasses.replace(settings or LocalSettings(), **overrides).to_json()
        command, environment = python_child("batch.server.__main__")
        self._process = subprocess.Popen(  # noqa: S603  our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        try:
            self.base_url, self.api_key = self._greet(text)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def close(self) -> None:
        """End the server's input, which ends the server; kill it when that takes longer than END_S."""
        with self._process:  # closes the pipes and waits
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def _greet(self, settings: str) -> tuple[str, str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise LocalError("the local server has no pipes")
        with contextlib.suppress(BrokenPipeError):  # it died: the empty line below shows it
            stdin.write(settings.encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise LocalError(f"the local server ended at once, with exit code {self._process.wait(END_S)}")
        ready = json.loads(line)
        return ready["url"], ready["api_key"]
