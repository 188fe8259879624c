"""One call from a manifest's file to payloads and problems."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.core import config
from batch.core.errors import ManifestError
from batch.core.models import InvalidRow, Payload, Problem
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """What came out of a manifest; `errors` are the problems that are no warnings, as text, those of invalid rows too."""

    payloads: list[Payload]
    problems: list[Problem]
    invalid: list[InvalidRow]

    @property
    def errors(self) -> list[str]:
        return [str(problem) for problem in self.problems if not problem.warning]

    @property
    def warnings(self) -> list[str]:
        return [str(problem) for problem in self.problems if problem.warning]

    @property
    def only(self) -> Payload:
        assert self.errors == []
        (payload,) = self.payloads
        return payload


def read(
    path: Path, *, encoding: str | None = None, reading: config.Reading | None = None, **options
) -> Reading:
    """Open and expand; problems of the header are problems like the others. Paths in messages become names."""
    try:
        options.setdefault("overrides", reading.parameters if reading else {})
        items = list(Expander(open_manifest(path, reading or config.Reading(encoding=encoding)), **options))
    except ManifestError as error:
        items = list(error.problems)
    folder = f"{path.parent}/"
    problems = [
        Problem(
            item.file.replace(folder, ""),
            item.row,
            item.column,
            item.reason.replace(folder, ""),
            item.remedy.replace(folder, ""),
            item.warning,
        )
        for entry in items
        for item in (entry.problems if isinstance(entry, InvalidRow) else [entry])
        if isinstance(item, Problem)
    ]
    return Reading(
        [item for item in items if isinstance(item, Payload)],
        problems,
        [item for item in items if isinstance(item, InvalidRow)],
    )


def edit_part(path, edit, part="xl/worksheets/sheet1.xml"):
    """Rewrite the XML of one part of a workbook, as another program would have written it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    before = parts[part]
    parts[part] = edit(before.decode()).encode()
    assert parts[part] != before
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
