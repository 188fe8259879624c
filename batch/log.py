"""What a log says: an event's name, how grave it is, and its fields; the same names and fields everywhere.

A line of text is this event spelt out (`job.accepted id=chair-oak request_id=… attempt=1`), a line of JSON the same
with the time and the run. Names and fields are fixed: what reads them are other people's alarms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

INFO, WARNING, ERROR = "info", "warning", "error"


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One thing that happened. Fields that are None were not known and are left out."""

    name: str
    level: str = INFO
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        told = (f"{name}={value}" for name, value in self.fields.items() if value is not None)
        return " ".join([self.name, *told])
