"""JSONL manifests: one JSON object a line, read as a stream.

Rule 1: the columns are the union of all objects' keys in the order they are first seen. The report's header stands
before its first row, so a key that comes late must be known early: the file is read twice, first for its keys alone,
one line in memory each time. Rule 2: numbers and truth mean what they mean in JSON (7.0 is 7), text is text, null is not
given; lists and objects inside a row are problems. Rule 3: a row's number is its line. Blank lines are skipped, and
so are objects that give nothing, as empty records of a CSV are.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from batch.errors import ManifestError
from batch.intake import text
from batch.intake.header import header_problems
from batch.intake.records import MAX_RECORD
from batch.intake.streamed import Streamed
from batch.intake.typed import Fault
from batch.intake.values import as_cell
from batch.model import Problem, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_COLUMNS = 1000
ONE_A_LINE = 'Write one object a line: {"image_1": "…", "image_2": "…", "prompt": "…"}.'


class Lines(Streamed):
    """An open JSONL manifest."""

    header_line = None

    def __init__(self, path: Path, encoding: str | None) -> None:
        """Read the keys; raise ManifestError with everything that is wrong with them."""
        super().__init__(path)
        self._codec = text.codec_of(path, encoding)
        try:
            seen = self._keys()
        except UnicodeError:
            raise ManifestError([text.undecodable(path, self._codec)]) from None
        names = tuple(seen)
        named = tuple(name for name in names if name)
        self._take_columns(names, header_problems(self._file, named, seen.get))

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield (number, line) of every line with any text; one that is too long is cut."""
        with text.open_text(self.path, self._codec) as stream:
            number = 0
            while line := stream.readline(MAX_RECORD + 1):
                number += 1
                if not line.isspace():
                    yield number, line
                if len(line) > MAX_RECORD:
                    return

    def _keys(self) -> dict[str, int]:
        """Return every key with the line it is first on; lines that are no objects are left to `rows`."""
        seen: dict[str, int] = {}
        for number, line in self._lines():
            try:
                parsed = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(parsed, dict) or parsed.keys() <= seen.keys():
                continue
            for name in parsed:
                seen.setdefault(name.strip(), number)
            if len(seen) > MAX_COLUMNS:
                reason = f"there are more than {MAX_COLUMNS} different keys."
                text.refuse(self.path, number, reason, "Keys name columns: put what differs into the values.")
        return seen

    def _rows(self) -> Iterator[Row | Problem]:
        decoder = json.JSONDecoder(
            object_pairs_hook=_Object, parse_float=_number, parse_constant=_refuse_constant
        )
        try:
            for number, line in self._lines():
                if len(line) > MAX_RECORD:
                    reason = f"is longer than {MAX_RECORD:,} characters; what follows was not read."
                    yield self._problem(number, reason, ONE_A_LINE)
                    return
                try:
                    parsed = decoder.decode(line.strip())
                except (ValueError, RecursionError, ArithmeticError) as error:
                    problem = self._no_json(number, line.strip(), error)
                    yield problem
                    if "not read" in problem.reason:
                        return
                    continue
                if isinstance(parsed, _Object):
                    yield from self._row(number, parsed)
                else:
                    yield self._problem(number, "is no object.", ONE_A_LINE)
        except UnicodeError:
            yield text.undecodable(self.path, self._codec)

    def _row(self, number: int, fields: _Object) -> Iterator[Row | Problem]:
        cells: dict[str, str] = {}
        problems: list[Problem] = []
        names: set[str] = set()
        for key, value in fields:
            name = key.strip()
            cell = as_cell(value)
            if not name:
                problems.append(self._problem(number, "a key is empty.", "Name the column."))
            elif name in names:
                reason, remedy = "is given twice.", "Remove one of the two."
                problems.append(Problem(self._file, number, name, reason, remedy))
            elif isinstance(cell, Fault):
                problems.append(Problem(self._file, number, name, cell.reason, cell.remedy))
            elif cell is not None:
                cells[name] = cell
            names.add(name)
        if problems:
            yield from problems
        elif any(cells.values()):
            yield Row(number, cells)

    def _no_json(self, number: int, line: str, error: Exception) -> Problem:
        if line.startswith("["):
            return self._problem(
                number, "starts a JSON list; what follows was not read.",
                "Write one object a line, without brackets and commas around: jq -c '.[]' does it.",
            )  # fmt: skip
        if isinstance(error, json.JSONDecodeError) and error.pos >= len(line):
            return self._problem(
                number, "the object does not end on its line; what follows was not read.",
                f"{ONE_A_LINE} `jq -c .` does it.",
            )  # fmt: skip
        if isinstance(error, json.JSONDecodeError):
            reason = f"is no valid JSON: {error.msg} (character {error.colno})."
        elif isinstance(error, RecursionError):
            reason = "is nested too deeply."
        else:
            reason = f"is no valid JSON: {str(error) or 'a number is too long'}."
        return self._problem(number, reason, ONE_A_LINE)

    def _problem(self, number: int, reason: str, remedy: str) -> Problem:
        return Problem(self._file, number, None, reason, remedy)


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is seen."""


def _number(literal: str) -> float | Decimal:
    """Return a number that is no int: as a float where that is the very number, so that it reads as anywhere else."""
    exact, value = Decimal(literal), float(literal)
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; write null for nothing")
