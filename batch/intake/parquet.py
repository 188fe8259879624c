"""Parquet manifests: the schema, then rows as a stream of batches. Needs pyarrow, an optional extra.

Rule 1: what the schema shows is judged when the file is opened: names, and columns of lists or structures, which no
cell can hold. Rule 2: one batch of rows is in memory, whatever the size of the row groups. Rule 3: null and NaN are
not given; a row's number counts the rows from 1; rows that give nothing are skipped, as empty records of a CSV are.
The columns `__index_level_N__` are pandas' own index and no part of the table.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from batch.errors import ManifestError
from batch.intake import text
from batch.intake.header import header_problems
from batch.intake.streamed import Streamed
from batch.intake.typed import Fault
from batch.intake.values import as_cell
from batch.model import Problem, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BATCH_ROWS = 2048
INSTALL = "Run: pip install 'texbatch[parquet]'"
_PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")


class Parquet(Streamed):
    """An open Parquet manifest."""

    header_line = None

    def __init__(self, path: Path) -> None:
        """Read the schema; raise ManifestError with everything that is wrong with it."""
        super().__init__(path)
        with self._opened() as file:
            schema = file.schema_arrow
        fields = [field for field in schema if not _PANDAS_INDEX.fullmatch(field.name)]
        self._places = [place for place, field in enumerate(schema) if field in fields]
        self._names = tuple(field.name.strip() for field in fields)
        problems = [*header_problems(self._file, self._names, _nowhere), *self._nested(fields)]
        self._take_columns(self._names, problems)
        self._texts = [_converter(field.type) for field in fields]

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the file; raises ManifestError where pyarrow is missing or finds no Parquet in it."""
        try:
            from pyarrow import ArrowException, parquet  # noqa: PLC0415  an optional extra
        except ImportError:
            text.refuse(self.path, None, "Parquet needs pyarrow, which is not installed.", f"{INSTALL}.")
        try:
            with parquet.ParquetFile(self.path, pre_buffer=False) as file:
                yield file
        except (ArrowException, OSError) as error:
            reason = f"cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')})."
            text.refuse(self.path, None, reason, "Write it anew, or save the table as CSV.")

    def _nested(self, fields: list[Any]) -> Iterator[Problem]:
        from pyarrow import types  # noqa: PLC0415  an optional extra

        for field, name in zip(fields, self._names, strict=True):
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            if types.is_nested(kind) or types.is_run_end_encoded(kind):
                remedy = "A cell is one value: write it as text, or leave the column out."
                yield Problem(self._file, None, name, f"is a column of {kind}.", remedy)

    def _rows(self) -> Iterator[Row | Problem]:
        number = 0
        try:
            with self._opened() as file:
                batches = file.iter_batches(BATCH_ROWS, use_threads=False)
                for batch in batches:
                    cells = [
                        convert(batch.column(place))
                        for place, convert in zip(self._places, self._texts, strict=True)
                    ]
                    for values in zip(*cells, strict=True):
                        number += 1
                        yield from self._row(number, values)
        except ManifestError as error:  # damaged further on: what was read so far has been handed on
            yield from error.problems

    def _row(self, number: int, values: tuple[str | Fault | None, ...]) -> Iterator[Row | Problem]:
        cells: dict[str, str] = {}
        faults: list[Problem] = []
        for name, cell in zip(self._names, values, strict=True):
            if isinstance(cell, Fault):
                faults.append(Problem(self._file, number, name, cell.reason, cell.remedy))
            elif cell is not None:
                cells[name] = cell
        if faults:
            yield from faults
        elif any(cells.values()):
            yield Row(number, cells)


def _nowhere(_name: str) -> None:
    """Say that a Parquet file has no line for its columns."""


def _converter(kind: Any) -> Callable[[Any], list[str | Fault | None]]:
    """Return what makes cells of an array of this type."""
    from pyarrow import types  # noqa: PLC0415  an optional extra

    if types.is_float32(kind) or types.is_float16(kind):
        return _short_floats
    return _cells


def _cells(array: Any) -> list[str | Fault | None]:
    try:
        return [as_cell(value) for value in array.to_pylist()]
    except UnicodeDecodeError:
        return [_one(scalar) for scalar in array]


def _one(scalar: Any) -> str | Fault | None:
    try:
        return as_cell(scalar.as_py())
    except UnicodeDecodeError:
        return Fault("holds bytes that are no UTF-8 text.", "Write the column as UTF-8.")


def _short_floats(array: Any) -> list[str | Fault | None]:
    """Return the shortest text of floats of less than 64 bits: 0.1, not 0.10000000149011612."""
    return [as_cell(None if value is None else float(str(value))) for value in _numpy(array)]


def _numpy(array: Any) -> Iterator[Any]:
    valid = array.is_valid().to_pylist()
    numbers = array.to_numpy(zero_copy_only=False)
    return (number if given else None for number, given in zip(numbers, valid, strict=True))
