"""JSONL manifests: one JSON object a line, read as a stream.

Rule 1: the columns are the union of all objects' keys in the order they are first seen. The report's header precedes
its first row, so a late key must be known early: the file is read twice, first for its keys alone, with one line in
memory each time. Rule 2: numbers and truth mean what they mean in JSON (7.0 is 7), text is text, null is not
given; lists and objects inside a row are problems. Rule 3: a row's number is its line. Blank lines are skipped, and
so are objects that give nothing, as empty records of a CSV are.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from batch.core.models import Issue, Problem, Row
from batch.manifest.headings import header_problems
from batch.manifest.readers.base import (
    MAX_RECORD,
    StreamingManifest,
    codec_of,
    numbered_lines,
    refuse,
)
from batch.manifest.readers.cells import as_cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_KEYS = 1000
ONE_A_LINE = 'Write one object a line: {"image_1": "…", "image_2": "…", "prompt": "…"}.'


class JsonlManifest(StreamingManifest):
    """An open JSONL manifest."""

    suffixes = (".jsonl",)

    def _open(self) -> Iterable[Problem]:
        self._codec = codec_of(self.path, self._encoding)
        self._line_of_key = self._keys()
        self._take_headings(tuple(self._line_of_key))
        named = tuple(filter(None, self._line_of_key))
        return header_problems(self._file, self._headings, self._line_of, named)

    def _line_of(self, heading: str) -> int | None:
        return self._line_of_key.get(heading)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Yield (number, line) of every line with any text; one that is too long is cut."""
        with self.path.open(encoding=self._codec, newline="") as stream:
            for number, line in numbered_lines(stream):
                if not line.isspace():
                    yield number, line
                if len(line) > MAX_RECORD:
                    return

    def _keys(self) -> dict[str, int]:
        """Return every key with the line it is first on; lines that are not objects are left to `rows`."""
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
            if len(seen) > MAX_KEYS:
                reason = f"there are more than {MAX_KEYS} different keys."
                refuse(self.path, number, reason, "Keys name columns: put what differs into the values.")
        return seen

    def _rows(self) -> Iterator[Row | Problem]:
        renames = self._headings.renames
        decoder = json.JSONDecoder(
            object_pairs_hook=_Object, parse_float=_number, parse_constant=_refuse_constant
        )
        for number, line in self._lines():
            if len(line) > MAX_RECORD:
                reason = f"is longer than {MAX_RECORD:,} characters; what follows was not read."
                yield self._problem(number, reason, ONE_A_LINE)
                return
            try:
                parsed = decoder.decode(line.strip())
            except (ValueError, RecursionError, ArithmeticError) as error:
                problem = self._no_json(number, line.strip(), error)
                if "not read" in problem.reason:
                    yield problem
                    return
                yield Row(number, {}, problems=(problem,))
                continue
            if isinstance(parsed, _Object):
                yield from self._row_of(number, _values(parsed, renames))
            else:
                problem = self._problem(number, "is not an object.", ONE_A_LINE)
                yield Row(number, {}, problems=(problem,))

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
            reason = f"is not valid JSON: {error.msg} (character {error.colno})."
        elif isinstance(error, RecursionError):
            reason = "is nested too deeply."
        else:
            reason = f"is not valid JSON: {str(error) or 'a number is too long'}."
        return self._problem(number, reason, ONE_A_LINE)

    def _problem(self, number: int, reason: str, remedy: str) -> Problem:
        return Problem(self._file, number, None, reason, remedy)


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that a key given twice is found."""


def _values(fields: _Object, renames: Mapping[str, str]) -> Iterator[tuple[str, str | Issue | None]]:
    names: set[str] = set()
    for key, value in fields:
        name = renames.get(key.strip(), key.strip())
        if not name:
            yield name, Issue("a key is empty.", "Name the column.")
        elif name in names:
            yield name, Issue("is given twice.", "Remove one of the two.")
        else:
            yield name, as_cell(value)
        names.add(name)


def _number(literal: str) -> float | Decimal:
    """Return a number that is not an int: as a float where that is exact, so that it reads as in any other format."""
    exact, value = Decimal(literal), float(literal)
    return value if math.isfinite(value) and Decimal(repr(value)) == exact else exact


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null for nothing")
