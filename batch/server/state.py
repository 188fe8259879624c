"""The state of one running server, in one place: settings, jobs, account, files, counters.

Everything is used from one event loop, without locks: nothing is awaited between a check and
the change that depends on it. The settings are replaced as a whole, never changed in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

from batch.server.settings import changed, read_fault_file
from batch.server.simulation import responses
from batch.server.simulation.account import RateWindow, SimulatedAccount, micro
from batch.server.simulation.fault_plan import FaultPlan
from batch.server.simulation.jobs import Jobs
from batch.server.simulation.latency import SeededRandom
from batch.server.simulation.responses import RequestRefused
from batch.server.simulation.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batch.server.settings import LocalSettings
    from batch.server.simulation.faults import Fault
    from batch.server.simulation.files import Files, Stored

KEYLESS = ("image", "about")
# Never counted by the rate limit: the vendor has no controls.
UNLIMITED = (*KEYLESS, "control")


class ServerState:
    """One server's state; `url` is its address, `clock` gives epoch seconds; it closes when `closing` is set."""

    def __init__(
        self,
        settings: LocalSettings,
        url: str,
        files: Files,
        clock: Callable[[], float] = time.time,
        closing: asyncio.Event | None = None,
    ) -> None:
        self.settings = settings
        self.url = url
        self.files = files
        self.clock = clock
        self.key = settings.api_key or f"SG_{secrets.token_hex(8)}"
        self.random = SeededRandom(settings.seed)
        self.jobs = Jobs()
        self.account = SimulatedAccount(micro(settings.balance_usd), _limit(settings))
        self.window = RateWindow()
        self.stats = Stats()
        self.faults = FaultPlan((), self.random)
        self.set_faults([*read_fault_file(settings.faults_file), *settings.faults])
        self.closing = closing or asyncio.Event()

    @property
    def workers(self) -> int:
        """How many jobs are processed at once."""
        return self.settings.workers or os.cpu_count() or 1

    def reported_time(self) -> float:
        """Return the time that this server reports, epoch seconds."""
        return self.clock() + self.settings.clock_skew_s

    def file_url(self, kind: str, name: str) -> str:
        """Return the URL of a file as it is handed out."""
        return f"{self.settings.file_base_url or self.url}/files/{kind}/{name}"

    def find_file(self, kind: str, name: str) -> Stored | None:
        """Return the file of that kind and name, None when there is none or its lifetime has passed."""
        return self.files.find(kind, name, self.clock(), self.settings.output_lifetime_s)

    def own_file(self, url: str) -> bytes | None:
        """Return the bytes behind a URL of this server, None for any other URL.

        Raises FileNotFoundError when there is no such file, or its lifetime has passed.
        """
        by_name = self.url.replace("127.0.0.1", "localhost")
        bases = (self.url, by_name, self.settings.file_base_url)
        base = next((base for base in bases if base and url.startswith(f"{base}/files/")), None)
        if base is None:
            return None
        kind, _, name = url.removeprefix(f"{base}/files/").partition("/")
        stored = self.find_file(kind, name)
        if stored is None:
            raise FileNotFoundError(url)
        return self.files.read(stored)

    def change(self, values: Mapping[str, Any]) -> None:
        """Take new settings at run time; SettingsError leaves the old ones in force."""
        self.settings = changed(self.settings, values, at_run_time=True)
        if values.get("api_key"):
            self.key = self.settings.api_key
        if "balance_usd" in values:
            self.account.balance = micro(self.settings.balance_usd)
        self.account.limit = _limit(self.settings)

    def set_faults(self, items: Sequence[Any]) -> None:
        """Replace the faults and count from 1 again; SettingsError leaves the old ones in force."""
        faults: Sequence[Fault] = ()
        if items:
            from batch.server.simulation.faults import read_faults  # noqa: PLC0415  start-up time: pydantic

            faults = read_faults(items)
        self.faults = FaultPlan(faults, self.random)

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the server lives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.closing.wait()

    async def outlasts(self, task: asyncio.Future[Any]) -> bool:
        """Wait until the task is done; false when the server closes first."""
        closing: asyncio.Future[Any] = asyncio.ensure_future(self.closing.wait())
        await asyncio.wait({task, closing}, return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        return task.done()

    def check_key(self, kind: str, headers: Mapping[str, str]) -> None:
        """Raise RequestRefused (401) for a call without our key. A bearer token is never taken."""
        given = headers.get("x-api-key")
        if kind in KEYLESS:
            return
        if given is None and "authorization" not in headers:
            raise RequestRefused(responses.auth_refusal(responses.MISSING_KEY))
        if not hmac.compare_digest((given or "").encode(errors="surrogateescape"), self.key.encode()):
            raise RequestRefused(responses.auth_refusal(responses.WRONG_KEY))

    def count_against_limit(self, kind: str) -> int | None:
        """Count a call and return how many more may come, None where nothing is counted; raises RequestRefused (429)."""
        settings = self.settings
        counted = kind == "submit" or (settings.rate_counts == "all" and kind not in UNLIMITED)
        if not settings.rate_limit or not counted:
            return None
        verdict = self.window.take(self.clock(), settings.rate_limit, settings.rate_window_s)
        if not verdict.allowed:
            resets_at = verdict.resets_at + settings.clock_skew_s
            raise RequestRefused(
                responses.rate_limited(responses.reset_text(resets_at, settings.reset_header))
            )
        return verdict.remaining


def _limit(settings: LocalSettings) -> int | None:
    return None if settings.spend_limit_usd is None else micro(settings.spend_limit_usd)
