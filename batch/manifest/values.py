"""From the text of a cell to a parameter's value: templates filled in, then the text read as the parameter's own type.

In a template `{column}` becomes the row's value, `{{` and `}}` a brace; nothing else is understood.
Rule 1: a name between braces is a column's heading or a parameter's name, letter for letter; attributes, elements and formats are not available.
Rule 2: values are put in as they are and never expanded again. str.format is not used: it would follow
`{column.__class__}`.

A type comes from the table of parameters, and pydantic decides whether a value has it.
Rule 3: a value is text, whether it comes from a CSV cell, YAML or the command line, so that it means the same everywhere.
Rule 4: whole numbers are digits with a sign at most, and `7.0` is 7 (`7.5`, `1e3` and `0x7` are refused, not rounded);
truth is true false yes no 1 0 in any case (and 1.0); enumerations are taken letter for letter, but image_format in any case
and with `jpg` for `jpeg`: what is sent, and what a row is known by, is the service's own word. Rule 5: messages come from the
table, with the value, the range and the remedy. Prompt and images have no type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from batch.core.errors import IssueError
from batch.core.models import Issue
from batch.core.parameters import BY_NAME, FORMAT_SPELLINGS, PARAMETERS, Parameter, Scalar
from batch.core.visible import shortened
from batch.manifest.problems import closest, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_PIECES = re.compile(r"(\{\{|\}\})|\{([^{}]*)\}|([{}])")
MAX_RENDERED = 1 << 21
_LISTED = 12


class TemplateError(IssueError):
    """A template cannot be expanded."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with the names in it: `pattern` has one %s for each of `names`, in order."""

    pattern: str
    names: tuple[str, ...]

    def render(self, values: Mapping[str, str]) -> str:
        """Put the values in; raise TemplateError for the first name without one, and for a text that becomes too long."""
        try:
            taken = tuple(map(values.__getitem__, self.names))
        except KeyError as missing:
            raise _unknown(str(missing.args[0]), values.keys()) from None
        if len(self.pattern) + sum(map(len, taken)) > MAX_RENDERED:
            raise TemplateError(
                f"would become longer than {MAX_RENDERED:,} characters.",
                "Take fewer or shorter columns into it.",
            )
        return self.pattern % taken

    def renamed(self, names: Mapping[str, str]) -> Template:
        """Return the template with other names for some of its own."""
        return replace(self, names=tuple(names.get(name, name) for name in self.names))


is_template = re.compile("[{}]").search
"""Finds a brace; a text without any is not a template."""


@lru_cache(maxsize=1024)
def parse_template(text: str) -> Template:
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
            f"{{{name}}} is not a column.", f"Write {{{base}}}: a template takes values as they are."
        )
    match = closest(name, known)
    listed = ", ".join(list(known)[:_LISTED]) + (", …" if len(known) > _LISTED else "")
    guess = f"Did you mean {{{match}}}? " if match is not None else ""
    return TemplateError(
        f"{{{name}}} is not a column.", f"{guess}Known are {listed}; a brace itself is written {{{{."
    )


# -- types -----------------------------------------------------------------------------------------------------------

TYPED: tuple[Parameter, ...] = tuple(
    parameter for parameter in PARAMETERS if parameter.kind != "image" and parameter.name != "prompt"
)
TYPED_NAMES: tuple[str, ...] = tuple(parameter.name for parameter in TYPED)
_URL = r"^(?:https?://[^\s/?#]+\S*)?$"
_WHOLE = re.compile(r"([+-]?[0-9]{1,99})(?:\.0{1,99})?", re.ASCII)
_TRUTH = {
    "true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False,
}  # fmt: skip
_SHOWN = 60


@cache
def _validators() -> tuple[dict[str, Callable[..., Scalar]], type[Exception]]:
    """Return the validator of each parameter, and the error that they raise."""
    from pydantic import Field, TypeAdapter, ValidationError  # noqa: PLC0415  start-up time

    types: dict[str, Any] = {"bool": bool, "text": str, "url": Annotated[str, Field(pattern=_URL)]}
    validators: dict[str, Callable[..., Scalar]] = {}
    for parameter in TYPED:
        kind: Any = types.get(parameter.kind)
        if parameter.choices:
            kind = Literal[parameter.choices]
        elif parameter.kind == "int":
            kind = Annotated[int, Field(ge=parameter.minimum, le=parameter.maximum)]
        validators[parameter.name] = TypeAdapter(kind).validator.validate_python
    return validators, ValidationError


@lru_cache(maxsize=4096)
def parse_value(name: str, text: str) -> Scalar | Issue:
    """Return the value of a parameter's text in its own type, or why it has none."""
    kind = BY_NAME[name].kind
    value: Scalar = text
    if kind == "int" and (whole := _WHOLE.fullmatch(text)):
        value = int(whole[1])
    elif kind == "bool":
        value = _TRUTH.get(text.lower(), text)
    elif name == "image_format":
        value = FORMAT_SPELLINGS.get(text.lower(), text.lower())
    validators, refused = _validators()
    try:
        return validators[name](value, strict=True)
    except refused:
        return _issue(BY_NAME[name], text)


def _issue(parameter: Parameter, value: str) -> Issue:
    shown = repr(shortened(value, _SHOWN))
    if parameter.choices:
        listed = ", ".join(parameter.choices)
        remedy = " ".join(filter(None, [did_you_mean(value, parameter.choices), f"Known are {listed}."]))
        return Issue(f"{shown} is not known.", remedy)
    if parameter.kind == "int":
        wide = f"from {parameter.minimum} to {parameter.maximum}"
        reason = f"{shown} is out of range." if _WHOLE.fullmatch(value) else f"{shown} is not a whole number."
        return Issue(reason, f"Give a whole number {wide}.")
    if parameter.kind == "bool":
        return Issue(f"{shown} is neither true nor false.", "Write true or false.")
    return Issue(
        f"{shown} is not an http(s) URL.", "Give a URL that starts with https://, or leave it empty."
    )
