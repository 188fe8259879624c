"""Settings and faults from YAML files (JSON is YAML too). A file that cannot be used is a SettingsError that names it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batch.local.settings import LocalSettings, SettingsError


def read_settings(path: Path, defaults: Mapping[str, Any], asked: Mapping[str, Any]) -> LocalSettings:
    """Return the settings in `path` over `defaults`, and under what was `asked` for; a faults_file lies beside it."""
    found = _load(path)
    found = {} if found is None else found
    if not isinstance(found, Mapping):
        raise SettingsError(f"{path}: not a list of settings. Write lines like `price_usd: 0.05`.")
    values = {str(name): value for name, value in found.items()}
    beside = values.get("faults_file")
    if isinstance(beside, str) and beside:
        values["faults_file"] = str(path.parent / beside)
    try:
        return LocalSettings.from_json({**defaults, **values, **asked})
    except SettingsError as exc:
        raise SettingsError("\n".join(f"{path}: {line}" for line in str(exc).splitlines())) from exc


def read_fault_file(path: str) -> list[Any]:
    """Return the list in a faults file, unchecked; none without a path."""
    if not path:
        return []
    items = _load(Path(path))
    if not isinstance(items, list):
        raise SettingsError(f"{path}: not a YAML list of faults. Write lines like `- {{call: submit, …}}`.")
    return items


def _load(path: Path) -> Any:
    import yaml  # noqa: PLC0415  only with a file

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path}: not UTF-8 text.") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise SettingsError(f"{path}: not YAML ({exc}).") from exc
