"""Log events: a name, a level and fields, sent to the standard logger "texbatch".

Events of a job (`job.accepted id=chair-oak request_id=… attempt=1`) go to its child "texbatch.job", so that they can be
switched on and off alone. Each record carries the name as `record.event` and the fields as `record.fields`; the command
line formats them as text or JSON. Names and fields are fixed: other people's alerts depend on them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batch.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

INFO, WARNING, ERROR = "info", "warning", "error"

LOGGER = logging.getLogger("texbatch")
LOGGER.addHandler(logging.NullHandler())  # else Python prints the warnings where no logging is configured
JOB_LOGGER = logging.getLogger("texbatch.job")

_LEVELS = {INFO: logging.INFO, WARNING: logging.WARNING, ERROR: logging.ERROR}


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One thing that happened. Fields that are None are unknown and are left out."""

    name: str
    level: str = INFO
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        known = (f"{name}={visible(str(value))}" for name, value in self.fields.items() if value is not None)
        return " ".join([self.name, *known])

    def log(self, text: str | None = None) -> None:
        """Send the event to its logger; `text` replaces the event's own line for people and may have several lines."""
        logger = JOB_LOGGER if self.name.startswith("job.") else LOGGER
        level = _LEVELS[self.level]
        if logger.isEnabledFor(level):
            message = str(self) if text is None else text
            logger.log(level, "%s", message, extra={"event": self.name, "fields": self.fields})
