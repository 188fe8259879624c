"""`status --watch`: the state of a folder, updated until no run is going on in it. It only reads, and locks nothing.

The run's row in the ledger does not cover its start-up (reading the manifest) and its shutdown (writing reports); the
folder's lock does, so the lock decides whether there is something to wait for.

On a terminal each screen replaces the one before it; elsewhere plain blocks follow each other, fewer of them.
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

from batch.cli.console import money, per_accepted
from batch.core.units import MICRO, format_span
from batch.ledger.ledger import Ledger
from batch.ledger.totals import folder_status
from batch.output.report import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.ledger.totals import FolderStatus
    from batch.output.folder import OutputFolder

SCREEN_EVERY_S = 1.0
PLAIN_EVERY_S = 10.0
SCREEN_SHARE = 4.0  # one read takes at most one part in five of the time: a large folder is read less often
GONE_S = 30.0  # a run without a process and without an event for this long was killed
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
                now, figures = folder_status(ledger), summary(ledger, ledger.clock)
            gone = _is_gone(now)
            over = not held and (not now.is_running or gone)
            width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if terminal else WIDTH
            waits = held and (not now.is_running or gone)
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
            time.sleep(max(SCREEN_EVERY_S, SCREEN_SHARE * (time.monotonic() - began)))


def _is_gone(now: FolderStatus) -> bool:
    """Return whether the run was killed: its row has no end, its process is gone, and nothing happens."""
    if not now.is_running or now.run is None or now.idle_s < GONE_S:
        return False
    try:
        os.kill(now.run["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's process, but it exists
        return False
    return False


def _lines(
    folder: Path, now: FolderStatus, figures: Mapping[str, Any], *, gone: bool, waits: bool
) -> Iterator[str]:
    """Yield the screen of one moment, line by line."""
    rows, saved = figures["rows"], figures["saved"]
    share = saved / rows if rows else 1.0
    name = str(folder)
    yield name if len(name) < WIDTH - 1 else f"…{name[2 - WIDTH :]}"  # the end of a path matters more
    yield _title(now, figures, gone=gone)
    if waits:
        yield "held by a run that reads its manifest or writes its reports, or by resolve"
    yield f"[{'#' * int(BAR * share):.<{BAR}}] {saved} of {rows} saved ({share:.0%})"
    yield ""
    ended = [name for name in ("failed", "expired", "unknown", "abandoned") if figures[name]]
    yield "rows   " + "   ".join(f"{name} {figures[name]}" for name in ("pending", *ended))
    yield "jobs   " + "   ".join(f"{name} {now.states.get(name, 0)}" for name in _STATES)
    left = "" if not now.is_running or gone else f"   {_time_left(now)}"
    yield f"pace   {now.per_minute:.1f} images a minute{left}"
    spent = money(round(figures["spent_usd"] * MICRO), simulated=figures["simulated"])
    yield f"money  {spent} spent   ${figures['at_risk_usd']:.2f} paid or perhaps paid, no image yet"
    if figures["accepted"] or figures["rejected"]:
        cost = figures.get("cost_per_accepted_usd")
        each = "" if cost is None else f"   {per_accepted(cost)}"
        yield f"judged accepted {figures['accepted']}   rejected {figures['rejected']}{each}"
    if now.recent_errors:
        yield ""
        yield "last errors"
        for error in now.recent_errors:
            at = time.strftime("%H:%M:%S", time.localtime(error.at))
            yield f"  {at}  {error.id}  {error.state}: {error.error}"


def _title(now: FolderStatus, figures: Mapping[str, Any], *, gone: bool) -> str:
    if now.run is None:
        return "never run"
    if gone:
        return f"the run was killed (no process {now.run['pid']}). Run it again to continue."
    if not now.is_running:
        return f"ended after {format_span(figures['seconds'])} with exit code {now.run['exit_code']}"
    return f"running for {format_span(figures['seconds'])} (pid {now.run['pid']})"


def _time_left(now: FolderStatus) -> str:
    if not now.left:
        return "nothing left to send"
    return f"{now.left} left, about {format_span(now.eta_s)}" if now.eta_s is not None else f"{now.left} left"


def _cut(line: str, width: int) -> str:
    """Return a line without control characters in fewer than `width` columns: an error may hold anything."""
    plain = "".join(character if character.isprintable() else " " for character in line)
    columns = list(
        itertools.accumulate(2 if east_asian_width(character) in "WF" else 1 for character in plain)
    )
    if not columns or columns[-1] < width:
        return plain
    return plain[: sum(column < width - 1 for column in columns)] + "…"
