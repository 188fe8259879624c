"""Which heading of a file is which parameter: what a person says, how headings are spelt, what the folder remembers.

Rule 1: a mapping (`--column image_1="Bild 1"`, `columns:` in a job file or at the top of a YAML manifest) wins; one without a
heading (`--column quality=`) says that no column is this parameter. Rule 2: else a heading that is a spelling of a
parameter, or of `id`, is that; two for one parameter are a problem. Rule 3: else the folder's memory decides, where no other
heading of the file is that parameter. It also keeps an own column that is spelt like a parameter what it was: an earlier
version knew the exact names alone, and an upgrade changes nobody's work. Rule 4: what is only guessed is proposed, never
taken (see guesses.py). Rule 5: rows have parameters and `id` under their own names and all other columns under their headings;
messages name the user's heading. All problems are reported together, before the first row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from shlex import quote
from typing import TYPE_CHECKING

from batch.core.csv_format import bad_character
from batch.core.errors import UsageError
from batch.core.models import Issue, Problem
from batch.core.parameters import BY_NAME, IMAGE_PARAMETERS
from batch.manifest.columns import (
    ID,
    MAX_COLUMNS,
    SPELLINGS,
    fold,
    is_own,
    own_name,
    report_heading,
    spelt,
)
from batch.manifest.problems import did_you_mean, edits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MISSPELT_WITHIN = 2
SHORT_NAME = 6
"""Letters of a parameter's name below which only one edit makes a misspelling: Logo is not lora."""

NO_PARAMETERS = frozenset({"quantity", "promo", "base", "feed", "speed"})
"""Headings of other things that are nearly a parameter's name."""

_LISTED = 12
_PLAIN = re.compile(r"[\w.,:@%+/-]*")
_UNSAFE_IN_QUOTES = re.compile(r'["$`\\!]')
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class FolderHeadings:
    """What an output folder remembers of the headings of its manifest, as its report writes them.

    `meanings` has the parameter, or `id`, of each heading, "" for an own column. `exact`: an earlier version wrote the folder,
    which knew a parameter by its exact name alone, and read the first sheet of a workbook. `sheet` is the sheet that was read
    last.
    """

    meanings: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    sheet: str = ""


NOTHING_KNOWN = FolderHeadings()


@dataclass(frozen=True, slots=True)
class Headings:
    """The columns of one file: `names` as rows have them, in order, and `written`, the headings of those that differ.

    `issues` are (heading, what is wrong, whether it is only a warning), the heading None where the file has no such one.
    `spared` are own columns that may look like a parameter: a person said that they are none, perhaps to the folder. `no_column` are the
    parameters that no column is, as a person says.
    """

    names: tuple[str, ...]
    written: Mapping[str, str] = field(default_factory=dict)
    issues: tuple[tuple[str | None, Issue, bool], ...] = ()
    spared: frozenset[str] = frozenset()
    no_column: frozenset[str] = frozenset()

    def heading(self, name: str) -> str:
        """Return a column's heading as it is written in the file."""
        return self.written.get(name, name)

    @property
    def renames(self) -> dict[str, str]:
        """The names in rows of the headings that have another one."""
        return {heading: name for name, heading in self.written.items()}


def report_headings(columns: Sequence[str], heading: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return what a folder remembers of columns: (heading in the report, parameter or `id`, "" for an own column), in order."""
    return [
        (report_heading(heading(name)), name) if name in BY_NAME or name == ID else (report_heading(name), "")
        for name in columns
    ]


def find_headings(
    written: Sequence[str], mapping: Mapping[str, str], known: FolderHeadings = NOTHING_KNOWN
) -> Headings:
    """Return which of the headings of a file is which parameter; `mapping` is by parameter or `id`."""
    if (
        not mapping
        and not known.meanings
        and all(name in BY_NAME or name == ID or spelt(name) is None for name in written)
    ):
        return Headings(tuple(written))
    return _Finder(tuple(dict.fromkeys(written)), mapping, known).found(written)


class _Finder:
    """Finds the parameters among the headings of one file."""

    def __init__(self, headings: tuple[str, ...], mapping: Mapping[str, str], known: FolderHeadings) -> None:
        self._headings = headings
        self._known = known
        self._issues: list[tuple[str | None, Issue, bool]] = []
        self._meant: dict[str, list[str]] = {}
        """The headings of each parameter; with two there is a problem."""
        self._said: set[str] = set()
        """The parameters of the mapping."""
        self._own: set[str] = set()
        for parameter, heading in mapping.items():
            self._take_said(parameter, heading.strip())
        for heading in headings:
            self._take_spelt(heading)
        self._recall()

    def found(self, written: Sequence[str]) -> Headings:
        parameter_of: dict[str, str] = {}
        for parameter, headings in self._meant.items():
            parameter_of |= dict.fromkeys(headings, parameter)
            if len(headings) > 1:
                self._refuse_both(parameter, headings)
        names = tuple(parameter_of.get(heading) or own_name(heading) for heading in written)
        return Headings(
            names,
            {name: heading for name, heading in zip(names, written, strict=True) if name != heading},
            tuple(self._issues),
            frozenset(self._own),
            frozenset(self._said - self._meant.keys()),
        )

    def _take_said(self, parameter: str, heading: str) -> None:
        option = column_option(parameter, heading)
        if parameter not in SPELLINGS.values():
            self._issue(f"{option}: {parameter!r} is not a parameter.", which_parameter(parameter))
            return
        self._said.add(parameter)
        if not heading:
            return
        other = spelt(heading)
        if other not in {None, parameter}:
            remedy = "Rename that column in the file, or leave out --column."
            self._issue(f"{option}: by its name the column {heading!r} is {other}.", remedy)
            return
        same = [name for name in self._headings if fold(name) == fold(heading)]
        chosen = [heading] if heading in self._headings else same
        if not chosen:
            listed = ", ".join(self._headings[:_LISTED]) + (
                f" and {len(self._headings) - _LISTED} more" if len(self._headings) > _LISTED else ""
            )
            guess = did_you_mean(heading, self._headings)
            self._issue(f"{option}: there is no such column.", f"{guess} The columns are {listed}.".strip())
        for taken in chosen:
            other = next((name for name, headings in self._meant.items() if taken in headings), None)
            if other is not None:
                remedy = "Each column is one parameter: leave one of the two out."
                self._issue(f"{option}: with --column this column is {other} already.", remedy)
        self._meant[parameter] = chosen

    def _take_spelt(self, heading: str) -> None:
        if self._is_taken(heading):
            return
        parameter = spelt(heading)
        if parameter is None:
            return
        name = report_heading(own_name(heading))
        if parameter in self._said and parameter not in self._meant:
            self._own.add(heading)
        elif self._known.meanings.get(name) == "" and (name == heading or name not in self._headings):
            self._own.add(heading)
            if self._known.exact and parameter not in self._said:
                option = column_option(parameter, heading)
                reason = f"could be {parameter}; in this folder it is a column of its own, and remains that."
                self._issues.append((heading, Issue(reason, f"If {parameter} is meant, add: {option}"), True))
        else:
            self._meant.setdefault(parameter, []).append(heading)

    def _recall(self) -> None:
        """Take the headings that the folder knows for a parameter that has none yet."""
        folded = {fold(heading): meaning for heading, meaning in self._known.meanings.items() if meaning}
        recalled: dict[str, list[str]] = {}
        for heading in self._headings:
            if self._is_taken(heading) or heading in self._own:
                continue
            name = report_heading(heading)
            meaning = self._known.meanings.get(name, folded.get(fold(name)))
            if meaning and meaning not in self._said and meaning not in self._meant:
                recalled.setdefault(meaning, []).append(heading)
            elif meaning == "":
                self._own.add(heading)
        self._meant |= {
            meaning: [name for name in headings if report_heading(name) in self._known.meanings] or headings
            for meaning, headings in recalled.items()
        }

    def _is_taken(self, heading: str) -> bool:
        return any(heading in headings for headings in self._meant.values())

    def _issue(self, reason: str, remedy: str) -> None:
        self._issues.append((None, Issue(reason, remedy), False))

    def _refuse_both(self, parameter: str, headings: Sequence[str]) -> None:
        first, *others = headings
        shown = f"{', '.join(map(repr, headings[:-1]))} and {headings[-1]!r}"
        if parameter in self._said:
            remedy = f"Rename {others[0]!r} in the file, or leave out {column_option(parameter, first)}."
        else:
            remedy = (
                f"Rename one of them in the file; a column of another name can be {parameter} with --column."
            )
        self._issues.append((first, Issue(f"{shown} would both be {parameter}.", remedy), False))


def column_option(parameter: str, heading: str) -> str:
    """Return the option that says which heading is a parameter, to be pasted into a shell."""
    if not _PLAIN.fullmatch(heading):
        heading = quote(heading) if _UNSAFE_IN_QUOTES.search(heading) else f'"{heading}"'
    return f"--column {parameter}={heading}"


def parse_column(text: str) -> tuple[str, str]:
    """Return (parameter or `id`, heading) of PARAMETER=HEADING; the heading may be empty. Raises UsageError."""
    name, found, heading = (part.strip() for part in text.partition("="))
    parameter = spelt(name)
    if found and parameter is not None:
        return parameter, heading
    if found and (other := spelt(heading)) is not None:
        raise UsageError(f"{text!r} has them the wrong way round. Did you mean {column_option(other, name)}?")
    if not found:
        raise UsageError(f'{text!r}: write PARAMETER=HEADING, like image_1="Bild 1".')
    raise UsageError(f"{name!r} is not a parameter. {which_parameter(name)}")


def which_parameter(word: str) -> str:
    """Return which parameter may be meant by a word that is none."""
    known = (*BY_NAME, ID)
    return did_you_mean(word, known) or f"Known are {', '.join(known)}."


# -- what is wrong with the headings of a file ------------------------------------------------------------------------


def misspelt(columns: Sequence[str], headings: Headings) -> Iterator[tuple[str, Issue, bool]]:
    """Yield (heading, issue, whether it is only a warning) for each own column whose heading resembles a parameter's name.

    `columns` are the names of a table or of one row, `headings` those of its file. A name resembles one that is at most two
    edits away, one where that is SHORT_NAME, without what does not matter in a heading; a name with another number is a name of its own:
    image_4 is not image_3. Where several parameters are near, one without a column comes first, then the nearest: a misspelt
    parameter would be lost silently, a spare column is harmless.
    """
    for column in columns:
        heading = headings.heading(column)
        if column in BY_NAME or column == ID or spelt(column) or fold(heading) in NO_PARAMETERS:
            continue
        near = [
            (name in columns, distance, name)
            for distance, name in _near(fold(heading))
            if name not in headings.no_column
        ]
        if near:
            has_column, _, name = min(near, key=lambda entry: entry[:2])
            if not has_column and heading in headings.spared:
                continue
            if has_column:
                hint = "Both are there: this one only goes to the report."
            else:
                hint = (
                    f"Then rename it, or add: {column_option(name, heading)}. If not, add: --column {name}="
                )
            reason = f"is not a parameter and looks like {name}."
            yield heading, Issue(reason, f"Did you mean {name}? {hint}"), has_column


def resembled(heading: str) -> set[str]:
    """Return the parameters that a heading resembles."""
    word = fold(heading)
    return set() if word in NO_PARAMETERS else {name for _, name in _near(word)}


@lru_cache(maxsize=1024)
def _near(word: str) -> tuple[tuple[int, str], ...]:
    """Return (edits, parameter) for the parameters that a folded heading resembles; cached, as each YAML row asks again."""
    digits = _DIGITS.findall(word)
    found = []
    for folded, name in SPELLINGS.items():
        if name == ID or (digits and digits != _DIGITS.findall(folded)):
            continue
        if not digits and name in IMAGE_PARAMETERS[1:]:
            continue  # Image and Images are the product's
        distance = edits(word, folded, MISSPELT_WITHIN if len(folded) >= SHORT_NAME else 1)
        if distance is not None:
            found.append((distance, name))
    return tuple(found)


def clashes(headings: Headings) -> Iterator[tuple[str, Issue]]:
    """Yield the headings whose name in the report is taken by another column of the same file."""
    if is_own(headings.names):
        return
    written = {headings.heading(name) for name in headings.names}
    for name in headings.names:
        heading = headings.heading(name)
        shown = report_heading(heading if name in BY_NAME or name == ID else name)
        if shown != heading and shown in written:
            yield (
                heading,
                Issue(f"goes to the report as {shown}, which is there too.", "Rename one of the two."),
            )


def header_problems(
    file: str, headings: Headings, line: Callable[[str], int | None], written: Sequence[str]
) -> Iterator[Problem]:
    """Yield problems and warnings of a table's columns, those aside that `misspelt` finds.

    `line` returns the line that names a column, None where there is none.
    """
    if len(written) > MAX_COLUMNS:
        reason = f"there are {len(written)} columns; a table may have {MAX_COLUMNS}."
        yield Problem(file, line(written[0]), None, reason, "Leave out what texbatch need not read.")
        return
    seen: set[str] = set()
    for index, name in enumerate(written, start=1):
        if not name:
            remedy = "Name it, or remove the column and its separators."
            yield Problem(file, line(name), None, f"column {index} has no name.", remedy)
        elif issue := bad_character(name):
            reason = f"the name of column {index} ({name!a}) cannot be used: {issue.reason}"
            yield Problem(file, line(name), None, reason, issue.remedy)
        elif name in seen:
            remedy = "Rename or remove one of the two columns."
            yield Problem(file, line(name), name, "is there twice.", remedy)
        seen.add(name)
    for heading, issue, warning in headings.issues:
        place = None if heading is None else line(heading)
        yield Problem(file, place, heading, issue.reason, issue.remedy, warning)
    for heading, issue in clashes(headings):
        yield Problem(file, line(heading), heading, issue.reason, issue.remedy)
