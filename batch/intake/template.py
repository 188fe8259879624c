"""Templates: `{column}` stands for the row's value, `{{` and `}}` for a brace. Nothing else is understood.

Rule 1: a name between braces is a column's name, letter for letter; there is no access to attributes or
elements and no format. Rule 2: values are put in as they are and never expanded again. str.format is not used:
it would follow `{column.__class__}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from batch.intake.spelling import closest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_PIECES = re.compile(r"(\{\{|\}\})|\{([^{}]*)\}|([{}])")
_REMEMBERED = 1024
_SHOWN = 12


class TemplateError(ValueError):
    """A template that cannot be expanded: the reason, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason} {remedy}")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Template:
    """A text with the names it takes: `pattern` has one %s for each of `names`, in order."""

    pattern: str
    names: tuple[str, ...]

    def render(self, values: Mapping[str, str]) -> str:
        """Put the values in; raise TemplateError for the first name that has none."""
        try:
            return self.pattern % tuple(map(values.__getitem__, self.names))
        except KeyError as missing:
            raise _unknown(str(missing.args[0]), values.keys()) from None

    def check(self, known: Collection[str]) -> None:
        """Raise TemplateError for the first name that is not known."""
        for name in self.names:
            if name not in known:
                raise _unknown(name, known)


def is_template(text: str) -> bool:
    """Tell whether a text holds any brace at all."""
    return "{" in text or "}" in text


@lru_cache(maxsize=_REMEMBERED)
def parse(text: str) -> Template:
    """Read a template; raise TemplateError when its braces do not pair."""
    pattern: list[str] = []
    names: list[str] = []
    end = 0
    for piece in _PIECES.finditer(text):
        pattern.append(text[end : piece.start()].replace("%", "%%"))
        end = piece.end()
        literal, name, stray = piece.groups()
        if stray:
            raise TemplateError(
                f"a {stray} at character {piece.start() + 1} has no partner.",
                f"Write {{column}} for a value, {stray}{stray} for the brace itself.",
            )
        if literal:
            pattern.append(literal[0])
        elif not name.strip():
            raise TemplateError("{} names no column.", "Write the column's name between the braces.")
        else:
            pattern.append("%s")
            names.append(name)
    pattern.append(text[end:].replace("%", "%%"))
    return Template("".join(pattern), tuple(names))


def _unknown(name: str, known: Collection[str]) -> TemplateError:
    base = re.split(r"[.:!\[ ]", name.strip(), maxsplit=1)[0]
    if base in known:
        return TemplateError(
            f"{{{name}}} is no column.", f"Write {{{base}}}: a template takes values as they are."
        )
    match = closest(name, known)
    listed = ", ".join(list(known)[:_SHOWN]) + (", …" if len(known) > _SHOWN else "")
    guess = f"Did you mean {{{match}}}? " if match is not None else ""
    return TemplateError(
        f"{{{name}}} is no column.", f"{guess}Known are {listed}; a brace itself is written {{{{."
    )
