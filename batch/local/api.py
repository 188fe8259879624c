"""Holding a local server: in a thread (tests), or in a process of its own (`--local`, acceptance tests).

Both have one face: `base_url`, `api_key`, `stats()`, `faults([...])`, `settings(...)`, `close()`, and both are
context managers. The process gets its settings and the key through a pipe and keeps that pipe as its lifeline: when
we are gone, however we died, it ends. It stands in a session of its own, so a Ctrl-C in the terminal reaches us
only and we can still finish our jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import subprocess
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batch.local.children import command, environment
from batch.local.settings import LocalSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

CALL_S = 30.0
END_S = 10.0


class LocalError(RuntimeError):
    """The local server did not start, or refused a control call; the message carries its reason."""


class _Held:
    """The controls of a running server."""

    base_url: str
    api_key: str

    def stats(self, *, jobs: bool = True) -> dict[str, Any]:
        """Return what was counted; without `jobs` the long lists are left out."""
        report: dict[str, Any] = self._call("GET", f"/_local/stats?jobs={int(jobs)}")
        return report

    def faults(self, faults: Sequence[dict[str, Any]]) -> None:
        """Replace the faults in force; see `batch.local.faults` for the format."""
        self._call("POST", "/_local/faults", list(faults))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings of the running server and return all of them."""
        shown: dict[str, Any] = self._call("POST", "/_local/settings", changes)
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


class LocalApi(_Held):
    """A server in a thread of this process, up when the constructor returns; `settings` with `overrides` put in."""

    def __init__(self, settings: LocalSettings | None = None, **overrides: Any) -> None:
        self._settings = dataclasses.replace(settings or LocalSettings(), **overrides)
        up: Future[tuple[str, str, Callable[[], object]]] = Future()
        self._ended: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(up,), name="local-api", daemon=True)
        self._thread.start()
        self.base_url, self.api_key, self._stop = up.result()

    def close(self) -> None:
        """Stop the server and wait until it is gone; raises what it died of, if it did."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop has just been closed
                self._stop()
            self._thread.join()
        self._ended.result()

    def _serve(self, up: Future[tuple[str, str, Callable[[], object]]]) -> None:
        from batch.local.server import run  # noqa: PLC0415  start-up time of whoever imports the face only

        async def main() -> None:
            loop, stop = asyncio.get_running_loop(), asyncio.Event()

            def tell(url: str, key: str) -> None:
                up.set_result((url, key, lambda: loop.call_soon_threadsafe(stop.set)))

            await run(self._settings, tell, stop)

        try:
            asyncio.run(main())
        except BaseException as exc:  # noqa: BLE001  carried to the thread that holds us
            (self._ended if up.done() else up).set_exception(exc)
        else:
            self._ended.set_result(None)
            if not up.done():
                up.set_exception(LocalError("the local server ended before it was up"))


class LocalProcess(_Held):
    """A server in a process of its own, up when the constructor returns; it ends with us."""

    def __init__(self, settings: LocalSettings | None = None, **overrides: Any) -> None:
        settings = dataclasses.replace(settings or LocalSettings(), **overrides)
        self._process = subprocess.Popen(  # noqa: S603  our own module
            command("batch.local.__main__"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        try:
            self.base_url, self.api_key = self._greet(settings)
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

    def _greet(self, settings: LocalSettings) -> tuple[str, str]:
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise LocalError("the local server has no pipes")
        with contextlib.suppress(BrokenPipeError):  # it died: the empty line below says so
            stdin.write(settings.to_json().encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        if not line:
            raise LocalError(f"the local server ended at once, with exit code {self._process.wait(END_S)}")
        ready = json.loads(line)
        return ready["url"], ready["api_key"]
