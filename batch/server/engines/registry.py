"""Engines by name: this package's own, and those that other packages register as entry points `texbatch.engines`.

An entry is the place of a factory, "module:name", called with the number of images that are wanted at once. The
module is imported when an engine of it is built, not before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.server.engines.base import Engine

GROUP = "texbatch.engines"
OWN = {
    "cpu": "batch.server.engines.cpu.engine:cpu_engine",
    "placeholder": "batch.server.engines.placeholder:PlaceholderEngine",
}
# They go on working in version 0.2 and are removed in version 0.3.
FORMER_NAMES = {"drape": "cpu", "card": "placeholder"}


def registered() -> dict[str, str]:
    """Return the places of the factories of all engines by name; our own names cannot be taken."""
    from importlib import metadata  # noqa: PLC0415  start-up time

    return {entry.name: entry.value for entry in metadata.entry_points(group=GROUP)} | OWN


def create_engine(name: str, images_at_once: int) -> Engine:
    """Return the engine of that name, not yet started. Raises KeyError for a name that is not registered."""
    place = OWN[name] if name in OWN else registered()[name]
    engine: Engine = load(place)(images_at_once)
    return engine


def load(place: str) -> Any:
    """Return the object at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
