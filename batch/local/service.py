"""The state of one running server, in one place: settings, jobs, account, files, counters.

Everything is used from one event loop, without locks: between a check and the change that rests on it there is no
await. The settings are replaced as a whole, never changed in place.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

from batch.local import answers
from batch.local.billing import Bank, micro
from batch.local.dice import Dice
from batch.local.documents import read_fault_file
from batch.local.faults import FaultPlan, read_faults
from batch.local.jobs import Jobs
from batch.local.limits import Windows
from batch.local.runner import Runner
from batch.local.settings import changed
from batch.local.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batch.local.answers import Answer
    from batch.local.files import Files
    from batch.local.settings import LocalSettings

# what the rate limit never counts: files have no key, and the controls are no part of the service
UNLIMITED = ("image", "about", "control")


class Service:
    """One server's state; `url` is its address, `clock` gives epoch seconds, `wires` the open connections by peer."""

    def __init__(
        self, settings: LocalSettings, url: str, files: Files, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.url = url
        self.files = files
        self.clock = clock
        self.key = settings.api_key or f"SG_{secrets.token_hex(8)}"
        self.dice = Dice(settings.seed)
        self.jobs = Jobs()
        self.bank = Bank(micro(settings.balance_usd), _limit(settings))
        self.windows = Windows()
        self.stats = Stats()
        self.faults = FaultPlan((), self.dice)
        self.set_faults([*read_fault_file(settings.faults_file), *settings.faults])
        self.wires: dict[tuple[str, int], asyncio.Transport] = {}
        self.closing = asyncio.Event()
        self.runner = Runner(self)

    @property
    def workers(self) -> int:
        """How many jobs are processed at once."""
        return self.settings.workers or os.cpu_count() or 1

    def told_time(self) -> float:
        """Return the time as this server tells it."""
        return self.clock() + self.settings.clock_skew_s

    def file_url(self, kind: str, name: str) -> str:
        """Return the URL of a file as it is handed out."""
        return f"{self.settings.file_base_url or self.url}/files/{kind}/{name}"

    def change(self, values: Mapping[str, Any]) -> None:
        """Take new settings at run time; SettingsError leaves the old ones in force."""
        self.settings = changed(self.settings, values, at_run_time=True)
        if "balance_usd" in values:
            self.bank.balance = micro(self.settings.balance_usd)
        self.bank.limit = _limit(self.settings)

    def set_faults(self, items: Iterable[Any]) -> None:
        """Replace the faults; FaultError leaves the old ones in force. Counting starts anew."""
        self.faults = FaultPlan(read_faults(items), self.dice)

    def key_refusal(self, headers: Mapping[bytes, bytes]) -> Answer | None:
        """Return the 401 for a call without our key, or None. A bearer token is never taken."""
        given = headers.get(b"x-api-key")
        if given is None and b"authorization" not in headers:
            return answers.auth_refusal(answers.MISSING_KEY)
        if hmac.compare_digest(given or b"", self.key.encode()):
            return None
        return answers.auth_refusal(answers.WRONG_KEY)

    def count_against_limit(self, kind: str) -> tuple[Answer | None, int | None]:
        """Count a call; return the 429 or None, and how many more may come, None where nothing is counted."""
        settings = self.settings
        counted = kind == "submit" or (settings.rate_counts == "all" and kind not in UNLIMITED)
        if not settings.rate_limit or not counted:
            return None, None
        verdict = self.windows.take(self.key, self.clock(), settings.rate_limit, settings.rate_window_s)
        if verdict.allowed:
            return None, verdict.remaining
        resets_at = verdict.resets_at + settings.clock_skew_s
        return answers.rate_limited(answers.reset_text(resets_at, settings.reset_header)), None


def _limit(settings: LocalSettings) -> int | None:
    return None if settings.spend_limit_usd is None else micro(settings.spend_limit_usd)
