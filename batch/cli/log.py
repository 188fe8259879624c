"""What is said on stderr: lines for people, or one JSON object a line (`--log-format json`), from the same events.

Every line passes `Log`, so secrets are masked in one place, and a bar is never torn. The fields of JSON: `ts` (UTC),
`level` (info, warning, error), `event`, `run_id` once there is a run, then the event's own.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from batch.log import ERROR, INFO, WARNING, LogEvent
from batch.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch.model import Problem

MASK = "***"
SHORTEST_SECRET = 6
"""Anything shorter is no secret, and masking it would mangle the words around it."""


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


class Log:
    """One command's log; made before its options are read, so that wrong usage is told in the wanted format too."""

    def __init__(self) -> None:
        self.as_json = False
        self.quiet = False
        self.steps = False  # every step of each job
        self.run_id: str | None = None
        self.write: Callable[[str], None] = _to_stderr
        self._secrets: set[str] = set()

    def __repr__(self) -> str:
        return f"<Log {'json' if self.as_json else 'text'}{', quiet' if self.quiet else ''}>"

    def configure(self, log_format: str, *, quiet: bool, verbose: bool) -> None:
        """Set what is told; quiet outranks verbose."""
        self.as_json, self.quiet, self.steps = log_format == "json", quiet, verbose and not quiet

    def hide(self, *secrets: str | None) -> None:
        """Never show these."""
        self._secrets |= {secret for secret in secrets if secret and len(secret) >= SHORTEST_SECRET}

    def named(self, run_id: str) -> None:
        """Take note of the run that all following lines belong to."""
        self.run_id = run_id

    def tell(self, event: LogEvent, text: str | None = None) -> None:
        """Tell an event; `text` is how a person reads it, where that is not the event's own line."""
        if self.quiet and event.level != ERROR:
            return
        if not self.as_json:
            self.write(self.masked(str(event) if text is None else text))
            return
        head = {"ts": iso(time.time()), "level": event.level, "event": event.name, "run_id": self.run_id}
        told = {name: value for name, value in (head | dict(event.fields)).items() if value is not None}
        self.write(json.dumps(self.masked(told), ensure_ascii=False, default=str))

    def step(self, event: LogEvent) -> None:
        """Tell a step of one job: every step when that was asked for; a JSON log has what went wrong anyway."""
        if self.steps or (self.as_json and event.level != INFO):
            self.tell(event)

    def say(self, text: str, name: str = "run.note", level: str = INFO, **fields: Any) -> None:
        """Tell a sentence, which is the event's `message`."""
        self.tell(LogEvent(name, level, {"message": text, **fields}), text)

    def problems(self, found: Iterable[Problem]) -> None:
        """Tell what is wrong with a manifest, an event each."""
        for problem in found:
            place = {"file": problem.file, "row": problem.row, "column": problem.column}
            fields = place | {"reason": problem.reason, "remedy": problem.remedy}
            level = WARNING if problem.warning else ERROR
            self.tell(LogEvent("manifest.problem", level, fields), str(problem))

    def masked(self, value: Any) -> Any:
        """Return a value without what was hidden, at any depth."""
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, dict):
            return {name: self.masked(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(inner) for inner in value]
        return value
