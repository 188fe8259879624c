"""The former name of `batch.server`: it goes on working in version 0.2 and is removed in version 0.3."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

__all__ = [
    "LocalApi",
    "LocalError",
    "LocalProcess",
    "LocalSettings",
    "SettingsError",
    "card_for",
    "read_settings",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Return a name of `batch.server`, with a DeprecationWarning."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    now = "placeholder_image" if name == "card_for" else name
    warnings.warn(f"batch.local.{name} is now batch.server.{now}", DeprecationWarning, stacklevel=2)
    return getattr(importlib.import_module("batch.server"), now)
