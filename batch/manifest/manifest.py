"""The face of every manifest, whatever its format, and the choice of its reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from batch.core.config import Reading
from batch.core.errors import ManifestError, UsageError
from batch.manifest.headings import NOTHING_KNOWN, FolderHeadings
from batch.manifest.readers.base import StreamingManifest, refuse
from batch.manifest.readers.csv_reader import CsvManifest
from batch.manifest.readers.jsonl_reader import JsonlManifest
from batch.manifest.readers.ods_reader import OdsManifest
from batch.manifest.readers.parquet_reader import ParquetManifest
from batch.manifest.readers.xlsx_reader import XlsxManifest
from batch.manifest.readers.yaml_document import read_source
from batch.manifest.readers.yaml_reader import YamlManifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.core.models import Problem, Row

READERS: dict[str, type[StreamingManifest]] = {
    suffix: reader
    for reader in (CsvManifest, YamlManifest, JsonlManifest, XlsxManifest, OdsManifest, ParquetManifest)
    for suffix in reader.suffixes
}
"""The reader of each suffix; what else differs from format to format is said by the readers' class attributes."""


_SHORTCUT = (
    "is a shortcut to a document of Google Drive and holds no rows.",
    'Open it there, choose "Download" and "Microsoft Excel (.xlsx)", and give that file.',
)
_ELSEWHERE = {
    ".xls": ("is a workbook of Excel 97 to 2003, which is not read.", 'Save it as "Excel Workbook (.xlsx)".'),
    ".xlsb": ("is a binary workbook, which is not read.", 'Save it as "Excel Workbook (.xlsx)".'),
    ".numbers": ("is a document of Numbers, which is not read.", 'Export it to "Excel" or "CSV" there.'),
    ".gsheet": _SHORTCUT,
    ".gdoc": _SHORTCUT,
}
"""Files that people have and no reader takes: reason and remedy."""


class Manifest(Protocol):
    """An open manifest. `rows` may be called again and reads the file again.

    `columns` are the names of the row's cells, in the order they were first seen: the parameters and `id` under their own
    names, all others under their headings; `defaults` has the values of rows that lack a column. `texbatch_own` says that texbatch wrote the file. `header_line` is
    the line that names the columns, None where there is none. A `tabular` manifest has rows only: no defaults and no matrix.
    `sheet` is the title of the sheet that is read, "" where there are none.
    """

    path: Path
    columns: tuple[str, ...]
    defaults: Mapping[str, str]
    texbatch_own: bool
    header_line: int | None
    tabular: bool
    sheet: str

    def heading(self, name: str) -> str:
        """Return what the file calls a column; the name itself where no heading is it."""

    def note(self, number: int, column: str) -> str:
        """Return a prefix for messages that says where a cell is, if its row's number and its column do not."""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield warnings and misspelt columns first, then in order the rows, with their problems, and what is wrong with the file."""


def open_manifest(
    path: Path,
    reading: Reading | None = None,
    *,
    out: Path | None = None,
    known: FolderHeadings = NOTHING_KNOWN,
) -> Manifest:
    """Open a manifest by its suffix and check all that can be checked before the first row.

    Raises ManifestError with every such problem. The file's path is kept as given, so that messages show it as
    the user wrote it. `out` is the output folder, whose images no glob yields, and `known` what it remembers of headings.
    """
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix](path, reading or Reading(), out, known)
    if suffix in _ELSEWHERE:
        refuse(path, None, *_ELSEWHERE[suffix])
    shown = (
        f"{suffix} is not a manifest format." if suffix else "the file has no suffix that shows its format."
    )
    refuse(path, None, shown, f"Known are {' '.join(READERS)}.")
    return None


def check_reading(path: Path, reading: Reading) -> None:
    """Raise UsageError when an encoding is named for a manifest whose format has its own, or a sheet where there are none."""
    suffix = path.suffix.lower()
    if suffix not in READERS:
        return
    reader = READERS[suffix]
    if reading.encoding is not None and not reader.is_text:
        raise UsageError(
            f"{path}: --encoding {reading.encoding}: a {suffix} file knows its own encoding. Leave --encoding out."
        )
    if reading.sheet is not None and not reader.has_sheets:
        raise UsageError(
            f"{path}: --sheet {reading.sheet}: a {suffix} file has no sheets. Leave --sheet out."
        )
    if reading.skip_hidden and not reader.has_sheets:
        raise UsageError(f"{path}: --skip-hidden: a {suffix} file hides no rows. Leave --skip-hidden out.")


def is_job_file(path: Path) -> bool:
    """Return whether a file is a job, not a manifest: YAML with `manifest:` or `out:` at the top.

    Reads no further than the first `rows:` or `matrix:`, so that a long manifest is not read twice.
    """
    if path.suffix.lower() not in YamlManifest.suffixes or not path.is_file():
        return False
    import yaml  # noqa: PLC0415  start-up time

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth, key = 0, True
    try:
        event: Any
        for event in yaml.parse(read_source(path, None), Loader=loader):
            kind = type(event).__name__
            if depth == 1 and kind != "MappingEndEvent":
                name = event.value.lower() if key and kind == "ScalarEvent" else ""
                if name in {"manifest", "out", "rows", "matrix"}:
                    return name in {"manifest", "out"}
                key = not key
            if kind in ("MappingStartEvent", "SequenceStartEvent"):
                if depth == 0 and kind == "SequenceStartEvent":
                    return False
                depth += 1
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                depth -= 1
    except (yaml.YAMLError, ManifestError):
        return False  # opening it as a manifest reports the reason
    return False
