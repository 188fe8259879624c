"""The progress line: a bar on a terminal, one plain line a minute in a log, never control characters in a file."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, NoReturn, Self

from batch.log import INFO, LogEvent
from batch.times import span

if TYPE_CHECKING:
    from tqdm import tqdm

    from batch.cli.log import Log
    from batch.forecast import Forecast
    from batch.tally import Progress

LOG_EVERY_S = 60.0
ENOUGH = 8
"""Ended jobs from which their own pace tells more than the forecast."""
MICRO = 1_000_000


def money(micro_dollars: int, *, simulated: bool) -> str:
    """Return micro-dollars as people read them, and whether they were real."""
    return f"${micro_dollars / MICRO:.2f}{' (simulated)' if simulated else ''}"


class ProgressLine:
    """Hears the run's progress and shows it on stderr; use as a context manager.

    `style` is "bar", "log" or "none"; "auto" means a bar when stderr is a terminal, else the log. A bar would tear a
    log of JSON lines, which gets the figures as events instead.
    """

    def __init__(self, style: str, log: Log) -> None:
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "log"
        if log.quiet:
            style = "none"
        self._style = "log" if style == "bar" and log.as_json else style
        self._log = log
        self._plain = log.write
        self._bar: tqdm[NoReturn] | None = None
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._log.write = self._plain
        if self._bar is not None:
            self._bar.close()

    def hear(self, progress: Progress) -> None:
        """Show one moment of the run."""
        if self._style == "bar":
            self._show(progress)
        elif self._style == "log" and time.monotonic() - self._told >= LOG_EVERY_S:
            self._told = time.monotonic()
            self._log.tell(_figures(progress), self._line(progress))
        if progress.event is not None:
            self._log.step(progress.event)

    def _show(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415  start-up time

            bar = self._bar = tqdm(
                total=progress.total, unit="picture", file=sys.stderr, dynamic_ncols=True, smoothing=0.1
            )
            self._log.write = lambda line: bar.write(line, file=sys.stderr)
        forecast = _forecast(progress)
        self._bar.set_postfix_str(_counts(progress) + (forecast and f", {forecast}"), refresh=False)
        self._bar.update(progress.ended - self._bar.n)
        self._bar.refresh()

    def _line(self, progress: Progress) -> str:
        seconds = time.monotonic() - self._began
        rate = progress.ended * 60 / seconds
        left = f"{(progress.total - progress.ended) / rate:.0f} min left" if rate else "time left unknown"
        left = _forecast(progress) or left
        return f"{progress.ended}/{progress.total} done, {_counts(progress)}, {rate:.1f}/min, {left}"


def _forecast(progress: Progress) -> str:
    """Say how long the run takes in all, while too few jobs have ended to tell it from them; else nothing."""
    if progress.ended >= ENOUGH or progress.expected is None:
        return ""
    return f"{takes(progress.expected)} in all"


def takes(expected: Forecast) -> str:
    """Return a range of time as a person says it."""
    low, high = span(expected.low_s), span(expected.high_s)
    return f"{low} … {high}" if expected.low_s else f"up to {high}"


def _figures(progress: Progress) -> LogEvent:
    told = {
        name: getattr(progress, name)
        for name in ("total", "ended", "saved", "failed", "unknown", "in_flight", "throttled")
    }
    return LogEvent("run.progress", INFO, told | {"spent_usd": progress.spent / MICRO})


def _counts(progress: Progress) -> str:
    spent = money(progress.spent, simulated=progress.simulated)
    unknown = f", {progress.unknown} unknown" if progress.unknown else ""
    risk = f", at risk ${progress.at_risk / MICRO:.2f}" if progress.at_risk else ""
    saved = f", saved ${progress.resumed / MICRO:.2f}" if progress.resumed else ""
    return f"{progress.failed} failed{unknown}, {progress.in_flight} in flight, spent {spent}{risk}{saved}"
