"""What a fault is: its JSON form, checked. `fault_plan` decides which call it hits, `fault_injection` carries it out.

A fault is a JSON object:
  call         submit (v1 and v2) · status · result · image · upload · credits · history
  action       one of ACTIONS, see below
  nth, first, probability, prompt
               which calls: the nth ones (a number or a list, from 1), the first n, each with a chance, those whose
               prompt contains a text. All that are given must hold; none means always. `nth` and `first` count
               the calls of this kind, and with this prompt, since the faults were set, whichever fault hit them.
  handled      whether the call is handled (a submit: accepted and billed) although its answer is replaced; each
               action has its default, and stats() counts both kinds
  before_s     waits before handling; the job is accepted even when the client has gone by then
  after_s      waits between handling and the answer
  status       the HTTP status of status, garbage, empty, huge, endless (default 200)
  text         action status: a text of the vendor by name (`responses.VENDOR`, or rate_limit) instead of a status
  body, headers  action status: text or JSON, and header fields
  reset_in_s, skew_s, reset_header
               text rate_limit: when the window ends (default 2), by how much the server's clock is off, and the
               style of the header (as the setting; "none" leaves it out)
  size_bytes   the size of huge (default 30 MB) and the bound of endless (default 1 GB)
  pace_s       endless: seconds between chunks

Actions: reset_before (RST, never handled) · reset_after (RST instead of the answer) · fin_after (a clean close
instead) · half_head (half a response head, then close) · no_answer (hangs until the client goes) · delay (answers
late) · status · garbage (no JSON, no image) · truncated (the true answer, cut in half, then close) · empty ·
endless · huge (valid JSON of `size_bytes`).
The first fault of the list that matches wins.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from batch.server.settings import SettingsError, describe
from batch.server.simulation.responses import VENDOR
from batch.server.simulation.stats import CallKind

Action = Literal[
    "reset_before", "reset_after", "fin_after", "half_head", "no_answer", "delay",
    "status", "garbage", "truncated", "empty", "endless", "huge",
]  # fmt: skip
ResetStyle = Literal["iso_z", "iso", "space", "epoch", "none"]
# action → whether the call is handled unless the fault says otherwise
ACTIONS = {action: action not in ("reset_before", "status") for action in get_args(Action)}
WITH_PROMPT = ("submit", "status", "result", "image")
ALWAYS_HANDLED = ("delay", "truncated")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_TEXT = re.compile(r"(?:[!-~\xa1-\xff](?:[ -~\xa1-\xff]*[!-~\xa1-\xff])?)?")
OWN_HEADERS = ("content-length", "content-type", "date", "transfer-encoding")
TEXTS = ("rate_limit", *VENDOR)


def _header_pairs(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(
        isinstance(name, str)
        and HEADER_NAME.fullmatch(name)
        and name.lower() not in OWN_HEADERS
        and isinstance(text, str)
        and HEADER_TEXT.fullmatch(text)
        for name, text in value.items()
    ):
        raise ValueError(
            f"{value!r}. Give an object of header fields, none of which the server writes itself."
        )
    return tuple(value.items())


Ordinal = Annotated[int, Field(ge=1, le=10**9)]
Ordinals = Annotated[
    tuple[Ordinal, ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,)),
    WithJsonSchema(TypeAdapter(Ordinal | list[Ordinal]).json_schema()),
]
Headers = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_header_pairs),
    WithJsonSchema(TypeAdapter(dict[str, str]).json_schema()),
]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Fault(BaseModel):
    """One fault; see the module for the meaning of each field."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    call: CallKind
    action: Action
    nth: Ordinals = ()
    first: Annotated[int | None, Field(ge=1, le=10**9)] = None
    probability: Annotated[float | None, Field(ge=0, le=1)] = None
    prompt: Annotated[str | None, Field(min_length=1)] = None
    handled: bool = True
    before_s: Seconds = 0.0
    after_s: Seconds = 0.0
    status: Annotated[int, Field(ge=200, le=599)] = 200
    text: Annotated[str | None, Field(json_schema_extra={"enum": list(TEXTS)})] = None
    body: Annotated[Any, Field(description="text or JSON")] = ""
    headers: Headers = ()
    reset_in_s: Seconds = 2.0
    skew_s: Annotated[float, Field(ge=-86_400, le=86_400)] = 0.0
    reset_header: ResetStyle = "iso_z"
    size_bytes: Annotated[int, Field(ge=1, le=4 * 10**9)] = 1_000_000_000
    pace_s: Annotated[float, Field(ge=0, le=3600)] = 0.0

    @field_validator("first", "probability", "prompt", "text", mode="before")
    @classmethod
    def _is_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("null is not valid. Give a value, or leave the field out.")
        return value

    @field_validator("text")
    @classmethod
    def _is_known(cls, text: str) -> str:
        if text not in TEXTS:
            raise ValueError(f"{text!r} is not known. Give {', '.join(TEXTS)}.")
        return text

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = self.model_fields_set
        if problems := list(self._contradictions(given)):
            raise ValueError("\n".join(problems))
        if "handled" not in given:
            self.__dict__["handled"] = ACTIONS[self.action]
        if self.action == "huge" and "size_bytes" not in given:
            self.__dict__["size_bytes"] = 30_000_000
        return self

    def _contradictions(self, given: set[str]) -> Iterable[str]:
        if "prompt" in given and self.call not in WITH_PROMPT:
            yield f"{self.call} calls have no prompt."
        if self.action == "reset_before" and "handled" in given and self.handled:
            yield "reset_before is never handled; take reset_after."
        if self.action in ALWAYS_HANDLED and not self.handled:
            yield f"{self.action} needs the true answer, so it is always handled."
        if self.action == "delay" and not (self.before_s or self.after_s):
            yield "delay needs before_s or after_s."
        if self.action == "status" and ("status" in given) == ("text" in given):
            yield "status needs either a status or a text."


FAULTS = TypeAdapter(list[Fault])


def read_faults(items: Iterable[Any]) -> list[Fault]:
    """Return the faults of a JSON list; SettingsError names every problem by its place."""
    try:
        return FAULTS.validate_python(list(items))
    except ValidationError as exc:
        raise SettingsError("\n".join(describe(exc, "faults"))) from exc
