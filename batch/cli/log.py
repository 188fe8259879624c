"""The log on stderr: text lines for people, or one JSON object per line (`--log-format json`), from the same events.

Every line passes through `Log`, which masks secrets, escapes control characters and keeps the progress bar intact.
JSON fields: `ts` (UTC), `level` (info, warning, error), `event`, `run_id` once a run has begun, then the event's own.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import click

from batch.core.log_event import ERROR, INFO, JOB_LOGGER, LOGGER, WARNING, LogEvent
from batch.core.units import iso
from batch.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batch.core.models import Problem

MASK = "***"
SHORTEST_SECRET = 3
"""Shorter values are not treated as secrets."""

ANYWHERE = 6
"""A secret of this length or more is masked inside a word too; a shorter one only as a whole word."""

OFF = logging.CRITICAL + 1

_UNESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def to_json(value: Any, indent: int | None = None) -> str:
    """Return JSON without control characters that a terminal would act on: all are JSON escapes."""
    text = json.dumps(value, ensure_ascii=False, default=str, indent=indent)
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _escaped_or_not(secret: str) -> re.Pattern[str]:
    """Return a pattern that matches a secret literally, or with any character escaped as in JSON, a URL or HTML."""
    text = "".join(
        rf"(?:{re.escape(character)}|\\+{re.escape(character)}|(?i:\\+u{ord(character):04x}|\\+x{ord(character):02x}"
        rf"|%{ord(character):02x}|&\#0*{ord(character)};|&\#x0*{ord(character):x};))"
        for character in secret
    )
    return re.compile(text if len(secret) >= ANYWHERE else rf"(?<!\w){text}(?!\w)")


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


class Log(logging.Handler):
    """The handler of the logger "texbatch" for one command: formats each event, masks secrets, writes to stderr.

    `configure` installs it, `close` removes it. It is made before the options are parsed, so that wrong usage is
    reported in the wanted format too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.as_json = False
        self.quiet = False
        self.run_id: str | None = None
        self.write: Callable[[str], None] = _to_stderr
        self._secrets: dict[str, re.Pattern[str]] = {}

    def __repr__(self) -> str:
        return f"<Log {'json' if self.as_json else 'text'}{', quiet' if self.quiet else ''}>"

    def configure(self, log_format: str = "text", *, quiet: bool = False, verbose: bool = False) -> None:
        """Install the handler and set what it writes.

        Quiet: errors only, and it overrides verbose. Of the events of single jobs, verbose writes all, JSON those that
        report a problem, text none.
        """
        self.as_json, self.quiet = log_format == "json", quiet
        LOGGER.addHandler(self)
        LOGGER.propagate = False  # another handler would not mask secrets
        LOGGER.setLevel(logging.ERROR if quiet else logging.INFO)
        problems = logging.ERROR if quiet else logging.WARNING
        JOB_LOGGER.setLevel(logging.INFO if verbose and not quiet else problems if self.as_json else OFF)

    def close(self) -> None:
        """Remove the handler and leave the logger as it was found."""
        LOGGER.removeHandler(self)
        LOGGER.propagate = True
        LOGGER.setLevel(logging.NOTSET)
        JOB_LOGGER.setLevel(logging.NOTSET)
        super().close()

    def mask(self, *secrets: str | None) -> None:
        """Never show these, however they are escaped."""
        for secret in secrets:
            if secret and len(secret) >= SHORTEST_SECRET:
                self._secrets[secret] = _escaped_or_not(secret)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record: lines of text, or one line of JSON."""
        if not self.as_json:
            lines = self.masked(record.getMessage()).split("\n")
            self.write("\n".join(map(visible, lines)))
            return
        event = getattr(record, "event", "run.note")  # a record that is not a LogEvent has a message only
        fields = getattr(record, "fields", {"message": record.getMessage()})
        head = {
            "ts": iso(record.created),
            "level": record.levelname.lower(),
            "event": event,
            "run_id": self.run_id,
        }
        known = {name: value for name, value in (head | dict(fields)).items() if value is not None}
        self.write(to_json(self.masked(known)))

    def masked(self, value: Any) -> Any:
        """Return a value with every secret in it masked, at any depth."""
        if isinstance(value, str):
            for secret in self._secrets.values():
                value = secret.sub(MASK, value)
            return value
        if isinstance(value, dict):
            return {name: self.masked(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(inner) for inner in value]
        return value


def info(text: str, event: str = "run.note", level: str = INFO, **fields: Any) -> None:
    """Log a sentence, on one line; it is the event's `message`."""
    LogEvent(event, level, {"message": text, **fields}).log(visible(text))


def problems(found: Iterable[Problem]) -> None:
    """Log what is wrong with a manifest, one event for each problem."""
    for problem in found:
        fields = {name: getattr(problem, name) for name in ("file", "row", "column", "reason", "remedy")}
        LogEvent("manifest.problem", WARNING if problem.warning else ERROR, fields).log(visible(str(problem)))
