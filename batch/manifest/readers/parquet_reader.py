"""Parquet manifests: the schema, then rows as a stream of batches. Needs pyarrow, an optional extra.

Rule 1: the schema is checked when the file is opened: names, and columns of lists or structures, which no cell can
hold. Rule 2: one batch of rows is in memory, whatever the size of the row groups. Rule 3: null and NaN are not given; a
row's number counts the rows from 1; rows that give nothing are skipped, as empty records of a CSV are. The columns
`__index_level_N__` are pandas' own index and no part of the table.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem, Row
from batch.manifest.headings import header_problems
from batch.manifest.readers.base import StreamingManifest, refuse
from batch.manifest.readers.cells import as_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BATCH_ROWS = 2048
INSTALL = "Run: pip install 'texbatch[parquet]'"
_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")


class ParquetManifest(StreamingManifest):
    """An open Parquet manifest."""

    suffixes = (".parquet",)
    is_text = False

    def _open(self) -> Iterable[Problem]:
        with self._opened() as file:
            schema = file.schema_arrow
            fields = [field for field in schema if not _PANDAS_INDEX.fullmatch(field.name)]
        self._indices = [index for index, field in enumerate(schema) if field in fields]
        written = tuple(field.name.strip() for field in fields)
        self._take_headings(written)
        problems = header_problems(self._file, self._headings, lambda _name: None, written)
        self._texts = [_converter(field.type) for field in fields]
        return [*problems, *self._nested(fields)]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the file; raises ManifestError where pyarrow is missing or finds no Parquet in it."""
        try:
            from pyarrow import ArrowException, parquet  # noqa: PLC0415  an optional extra
        except ImportError:
            refuse(self.path, None, "Parquet needs pyarrow, which is not installed.", f"{INSTALL}.")
        try:
            with parquet.ParquetFile(self.path, pre_buffer=False) as file:
                yield file
        except (ArrowException, OSError, UnicodeDecodeError) as error:  # the last of a column's name
            reason = f"cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')})."
            refuse(self.path, None, reason, "Write it again, or save the table as CSV.")

    def _nested(self, fields: list[Any]) -> Iterator[Problem]:
        from pyarrow import types  # noqa: PLC0415  an optional extra

        for field, name in zip(fields, self._headings.names, strict=True):
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            if types.is_nested(kind) or types.is_run_end_encoded(kind):
                remedy = "A cell is one value: write it as text, or leave the column out."
                yield Problem(self._file, None, self.heading(name), f"is a column of {kind}.", remedy)

    def _rows(self) -> Iterator[Row | Problem]:
        number, names = 0, self._headings.names
        try:
            with self._opened() as file:
                batches = file.iter_batches(BATCH_ROWS, use_threads=False)
                for batch in batches:
                    cells = [
                        convert(batch.column(index))
                        for index, convert in zip(self._indices, self._texts, strict=True)
                    ]
                    for values in zip(*cells, strict=True):
                        number += 1
                        yield from self._row_of(number, zip(names, values, strict=True))
        except ManifestError as error:  # damaged further on: the rows before have been yielded
            yield from error.problems


def _converter(kind: Any) -> Callable[[Any], list[str | Issue | None]]:
    """Return the function that converts an array of this type to cells."""
    from pyarrow import types  # noqa: PLC0415  an optional extra

    if types.is_float32(kind) or types.is_float16(kind):
        return _short_floats
    return _cells


def _cells(array: Any) -> list[str | Issue | None]:
    try:
        return [as_cell(value) for value in array.to_pylist()]
    except (UnicodeDecodeError, OverflowError):
        return [_one(scalar) for scalar in array]


def _one(scalar: Any) -> str | Issue | None:
    try:
        return as_cell(scalar.as_py())
    except UnicodeDecodeError:
        return Issue("holds bytes that are not UTF-8 text.", "Write the column as UTF-8.")
    except OverflowError:  # databases write infinity so
        return Issue(
            "holds a date or time outside the years 1 to 9999.", "Empty it, or write the column as text."
        )


def _short_floats(array: Any) -> list[str | Issue | None]:
    """Return the shortest text of floats of less than 64 bits: 0.1, not 0.10000000149011612."""
    numbers, given = array.to_numpy(zero_copy_only=False), array.is_valid().to_pylist()
    return [
        as_cell(float(str(number)) if known else None) for number, known in zip(numbers, given, strict=True)
    ]
