"""What the service refuses before it accepts a job; pure, from the one table of parameters.

Refused on submit: another content type (406), a body that is no JSON object or lacks the prompt (400), a choice
the model does not know (406), a value of the wrong type or out of range (422). Not refused, because the service
finds out only when it runs the job: an empty prompt, a picture it cannot fetch or decode. Names that are no
parameter are ignored, as the service does.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from batch.local import answers
from batch.parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.local.answers import Answer
    from batch.parameters import Parameter

DEEPEST = 64
KINDS: dict[str, type] = {"int": int, "bool": bool}
JSON_TYPES = {"int": "an integer", "bool": "a boolean"}


class Refused(Exception):
    """The request is refused; `answer` is what the client gets."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def read_object(content_type: str, body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; Refused with 406 or 400."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused(answers.refusal(406, answers.CONTENT_TYPE))
    try:
        value = read_json(body)
    except ValueError as exc:
        raise Refused(answers.VENDOR["malformed"]()) from exc
    if not isinstance(value, dict):
        raise Refused(answers.refusal(400, "Malformed body: expected a JSON object"))
    return value


def read_json(body: bytes) -> Any:
    """Return the JSON value in `body`; ValueError for what could not be written again.

    That is: half a surrogate pair, numbers beyond a double, NaN, and a nesting deeper than DEEPEST, which would end
    in a RecursionError somewhere later.
    """
    try:
        value = json.loads(body, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if b"\\u" in body:
        json.dumps(value, ensure_ascii=False).encode()
    if body.count(b"[") + body.count(b"{") > DEEPEST:
        _check_depth(value)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, (dict, list))
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError("nested too deeply")


def check_parameters(body: Mapping[str, Any]) -> None:
    """Raise Refused for the first parameter the service would not take."""
    for parameter in PARAMETERS:
        if parameter.name in body:
            _check_value(parameter, body[parameter.name])
        elif parameter.name == "prompt":
            raise Refused(answers.refusal(400, "Missing required field: prompt"))


def _check_value(parameter: Parameter, given: Any) -> None:
    wanted = KINDS.get(parameter.kind, str)
    if wanted is int and isinstance(given, float) and given.is_integer():
        given = int(given)  # 95.0 is an integer by JSON Schema
    if not isinstance(given, wanted) or (wanted is int and isinstance(given, bool)):
        kind = JSON_TYPES.get(parameter.kind, "a string")
        raise Refused(answers.refusal(422, f"Parameter {parameter.name} must be {kind}"))
    if parameter.choices and given not in parameter.choices:
        allowed = ", ".join(parameter.choices)
        text = f"Invalid value for parameter: {parameter.name}. Allowed values: {allowed}"
        raise Refused(answers.refusal(406, text))
    value: Any = given  # mypy forgets Any above
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and not low <= value <= high:
        raise Refused(
            answers.refusal(422, f"Parameter out of range: {parameter.name} must be {low} to {high}")
        )
