"""One call as the handlers see it, and the checks before a job is accepted; pure, from the one table of parameters.

RequestRefused on submit: another content type (406), a body that is not a JSON object or lacks the prompt (400), a choice
the model does not know (406), a value of the wrong type or out of range (422). Not refused, because the service
finds out only when it runs the job: an empty prompt, an image it cannot fetch or decode. Unknown names are
ignored, as the service does.

By hand, not by pydantic: the vendor has a status and a text of its own for each kind of fault, and translating
pydantic's errors into them takes as many lines and 60 ms of the first submit.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batch.core.parameters import PARAMETERS, Parameter
from batch.server.simulation import responses
from batch.server.simulation.responses import RequestRefused

DEEPEST = 64
KINDS: dict[str, type] = {"int": int, "bool": bool}
JSON_TYPES = {"int": "an integer", "bool": "a boolean"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose key was checked; `fault` names the action that will replace its answer, or is empty."""

    kind: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    fault: str = ""


def read_object(content_type: str | None, body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; RequestRefused with 406 or 400."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise RequestRefused(responses.refusal(406, responses.CONTENT_TYPE))
    try:
        value = read_json(body)
    except ValueError as exc:
        raise RequestRefused(responses.VENDOR["malformed"]) from exc
    if not isinstance(value, dict):
        raise RequestRefused(responses.refusal(400, "Malformed body: expected a JSON object"))
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
    raise ValueError(f"{name} is not valid JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
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
    """Raise RequestRefused for the first parameter the service would not take."""
    for parameter in PARAMETERS:
        if parameter.name in body:
            _check_value(parameter, body[parameter.name])
        elif parameter.name == "prompt":
            raise RequestRefused(responses.refusal(400, "Missing required field: prompt"))


def _check_value(parameter: Parameter, given: Any) -> None:
    wanted = KINDS.get(parameter.kind, str)
    if wanted is int and isinstance(given, float) and given.is_integer():
        given = int(given)  # 95.0 is an integer by JSON Schema
    if not isinstance(given, wanted) or (wanted is int and isinstance(given, bool)):
        kind = JSON_TYPES.get(parameter.kind, "a string")
        raise RequestRefused(responses.refusal(422, f"Parameter {parameter.name} must be {kind}"))
    if parameter.choices and given not in parameter.choices:
        allowed = ", ".join(parameter.choices)
        text = f"Invalid value for parameter: {parameter.name}. Allowed values: {allowed}"
        raise RequestRefused(responses.refusal(406, text))
    value: Any = given  # mypy forgets Any above
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and not low <= value <= high:
        raise RequestRefused(
            responses.refusal(422, f"Parameter out of range: {parameter.name} must be {low} to {high}")
        )
