"""`status --watch`: how a folder stands, drawn anew until nobody runs in it. It only reads, and holds nothing.

A run holds its folder before its line is in the ledger, while it reads its manifest, and after that line says that it
ended, while it writes its reports: so the folder's lock tells whether there is something to wait for.

On a terminal each picture replaces the one before it; elsewhere plain blocks follow each other, fewer of them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

import click

from batch.cli.progress import money
from batch.ledger.bill import MICRO
from batch.ledger.pulse import pulse
from batch.ledger.store import Ledger
from batch.results.report import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.folder import OutputFolder
    from batch.ledger.pulse import Pulse

EVERY_S = 1.0
PLAIN_EVERY_S = 10.0
SHARE = 4.0  # a look never takes more than one part in so many of our time: a large folder is looked at less often
GONE_S = 30.0  # a run without a process and without an event for so long is over
WIDTH = 80
BAR = 30

_STATES = ("planned", "sending", "accepted", "completed")


def watch(folder: OutputFolder) -> None:
    """Show the folder until no run is going on in it; Ctrl-C leaves the run alone."""
    terminal = sys.stdout.isatty()
    drawn, shown_at = 0, -PLAIN_EVERY_S
    with suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            held = folder.is_held()  # asked before the ledger is read, which then has all that a run left
            with Ledger.read(folder.ledger) as ledger:
                now, figures = pulse(ledger), summary(ledger, ledger.clock)
            gone = _is_gone(now)
            over = not held and (not now.going_on or gone)
            width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if terminal else WIDTH
            waits = held and (not now.going_on or gone)
            lines = [_cut(line, width) for line in _lines(folder.path, now, figures, gone=gone, waits=waits)]
            if terminal:
                click.echo(f"\033[{drawn}F\033[J" if drawn else "", nl=False)
                click.echo("\n".join(lines))
                drawn = len(lines)
            elif over or began - shown_at >= PLAIN_EVERY_S:
                click.echo("\n".join([*lines, ""]))
                shown_at = began
            if over:
                return
            time.sleep(max(EVERY_S, SHARE * (time.monotonic() - began)))


def _is_gone(now: Pulse) -> bool:
    """Tell whether the run was killed: it never said that it ended, its process is no more, and nothing happens."""
    if not now.going_on or now.run is None or now.quiet_s < GONE_S:
        return False
    try:
        os.kill(now.run["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process, but there
        return False
    return False


def _lines(folder: Path, now: Pulse, figures: Mapping[str, Any], *, gone: bool, waits: bool) -> Iterator[str]:
    """Yield the picture of one moment, a line at a time."""
    rows, saved = figures["rows"], figures["saved"]
    share = saved / rows if rows else 1.0
    yield (
        str(folder) if len(str(folder)) < WIDTH - 1 else f"…{str(folder)[2 - WIDTH :]}"
    )  # its end tells more
    yield _title(now, figures, gone=gone)
    if waits:
        yield "held by a run that reads its manifest or writes its reports, or by resolve"
    yield f"[{'#' * int(BAR * share):.<{BAR}}] {saved} of {rows} saved ({share:.0%})"
    yield ""
    standing = [
        (name, figures[name]) for name in ("failed", "expired", "unknown", "abandoned") if figures[name]
    ]
    moving = [(name, now.states.get(name, 0)) for name in _STATES]
    yield "rows   " + "   ".join(
        f"{name} {count}" for name, count in [("pending", figures["pending"]), *standing]
    )
    yield "jobs   " + "   ".join(f"{name} {count}" for name, count in moving)
    left = "" if not now.going_on or gone else f"   {_time_left(now)}"
    yield f"pace   {now.per_minute:.1f} pictures a minute{left}"
    risk = figures["at_risk_usd"]
    spent = money(round(figures["spent_usd"] * MICRO), simulated=figures["simulated"])
    at_risk = "an unknown amount" if risk is None else f"${risk:.2f}"
    yield f"money  {spent} spent   {at_risk} paid or perhaps paid, no picture yet"
    if now.troubles:
        yield ""
        yield "last errors"
        for trouble in now.troubles:
            at = time.strftime("%H:%M:%S", time.localtime(trouble.at))
            yield f"  {at}  {trouble.id}  {trouble.state}: {trouble.error}"


def _title(now: Pulse, figures: Mapping[str, Any], *, gone: bool) -> str:
    if now.run is None:
        return "never run"
    if gone:
        return f"the run was killed (no process {now.run['pid']}). Run it again to continue."
    if not now.going_on:
        return f"ended after {_span(figures['seconds'])} with exit code {now.run['exit_code']}"
    return f"running for {_span(figures['seconds'])} (pid {now.run['pid']})"


def _time_left(now: Pulse) -> str:
    if not now.left:
        return "nothing left to send"
    return f"{now.left} left, about {_span(now.eta_s)}" if now.eta_s is not None else f"{now.left} left"


def _span(seconds: float) -> str:
    """Return a time as a person says it: 42 s, 5 min 3 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _cut(line: str, width: int) -> str:
    """Return a line without control characters in fewer than `width` columns: an error may hold anything."""
    plain = "".join(character if character.isprintable() else " " for character in line)
    columns = list(
        itertools.accumulate(2 if east_asian_width(character) in "WF" else 1 for character in plain)
    )
    if not columns or columns[-1] < width:
        return plain
    return plain[: sum(column < width - 1 for column in columns)] + "…"
