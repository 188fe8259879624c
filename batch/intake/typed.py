"""From text to the parameters' own types: pydantic validators, built from the table of parameters.

Rule 1: a value is text, whether it came from a CSV cell, YAML or the command line, so that it means the same
everywhere. Rule 2: whole numbers are digits with a sign at most (`7.5`, `1e3` and `0x7` are refused, not
rounded); truth is true false yes no 1 0 in any case; enumerations are taken letter for letter. Rule 3: messages
come from the table, with the value, the range and the remedy; pydantic only decides.
Prompt and images are no business of this file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Any, Literal, cast

from batch.intake.spelling import did_you_mean
from batch.parameters import BY_NAME, PARAMETERS, Parameter, Scalar

TYPED: tuple[Parameter, ...] = tuple(
    parameter for parameter in PARAMETERS if parameter.kind != "image" and parameter.name != "prompt"
)
NAMES: tuple[str, ...] = tuple(parameter.name for parameter in TYPED)
_URL = r"^(?:https?://[^\s/?#]+\S*)?$"
_WHOLE = re.compile(r"[+-]?[0-9]{1,99}", re.ASCII)
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SHOWN = 60
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text is no value of its parameter, and what to do."""

    reason: str
    remedy: str


def as_text(value: Scalar) -> str:
    """Return a value as a manifest would write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Validators:
    """The pydantic validators, one a parameter; the tables beside them are its way of reading text."""

    def __init__(self) -> None:
        from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415  start-up time

        self.refused = ValidationError
        self.validate = {
            parameter.name: TypeAdapter[Scalar](_type(parameter)).validator.validate_python
            for parameter in TYPED
        }


@cache
def _validators() -> _Validators:
    return _Validators()


@lru_cache(maxsize=_REMEMBERED)
def typed(name: str, text: str) -> Scalar | Fault:
    """Return the typed value of a parameter's text, or why it has none."""
    kind = BY_NAME[name].kind
    value: Scalar = text
    if kind == "int" and _WHOLE.fullmatch(text):
        value = int(text)
    elif kind == "bool":
        value = _TRUTH.get(text.lower(), text)
    validators = _validators()
    try:
        return cast("Scalar", validators.validate[name](value, strict=True))
    except validators.refused:
        return _fault(BY_NAME[name], text)


def _type(parameter: Parameter) -> Any:
    from pydantic import Field  # noqa: PLC0415  start-up time

    if parameter.choices:
        return Literal[parameter.choices]
    if parameter.kind == "int":
        return Annotated[int, Field(ge=parameter.minimum, le=parameter.maximum)]
    if parameter.kind == "bool":
        return bool
    if parameter.kind == "url":
        return Annotated[str, Field(pattern=_URL)]
    return str


def _fault(parameter: Parameter, value: str) -> Fault:
    shown = repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    if parameter.choices:
        listed = ", ".join(parameter.choices)
        remedy = " ".join(filter(None, [did_you_mean(value, parameter.choices), f"Known are {listed}."]))
        return Fault(f"{shown} is not known.", remedy)
    if parameter.kind == "int":
        wide = f"from {parameter.minimum} to {parameter.maximum}"
        reason = f"{shown} is out of range." if _WHOLE.fullmatch(value) else f"{shown} is no whole number."
        return Fault(reason, f"Give a whole number {wide}.")
    if parameter.kind == "bool":
        return Fault(f"{shown} is neither true nor false.", "Write true or false.")
    return Fault(f"{shown} is no http(s) URL.", "Give a URL that starts with https://, or leave it empty.")
