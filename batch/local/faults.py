"""Faults on request: what a fault is, and which call it hits; pure. `wire` carries them out.

A fault is a JSON object:
  call         submit (v1 and v2) · status · result · image · upload · credits · history
  action       one of ACTIONS, see below
  nth, first, probability, prompt
               which calls: the nth ones (a number or a list, from 1), the first n, each with a chance, those whose
               prompt contains a text. All that are given must hold; none means always. `nth` and `first` count
               the calls of this kind, and with this prompt, since the faults were set, whichever fault hit them.
  handled      whether the call is handled (a submit: accepted and billed) although its answer is spoilt; each
               action has its default, and stats() counts both kinds
  before_s     waits before handling; the job is accepted even when the client has gone by then
  after_s      waits between handling and the answer
  status       the HTTP status of status, garbage, empty, huge, endless (default 200)
  text         action status: a text of the vendor by name (`answers.VENDOR`, or rate_limit) instead of a status
  body, headers  action status: text or JSON, and header fields
  reset_in_s, skew_s, reset_header
               text rate_limit: when the window ends (default 2), by how much the server's clock is off, and the
               style of the header (as the setting; "none" leaves it out)
  size_bytes   the size of huge (default 30 MB) and the bound of endless (default 1 GB)
  pace_s       endless: seconds between chunks

Actions: reset_before (RST, never handled) · reset_after (RST instead of the answer) · fin_after (a clean close
instead) · half_head (half a response head, then close) · no_answer (hangs until the client goes) · delay (answers
late) · status · garbage (no JSON, no picture) · truncated (the true answer, cut in half, then close) · empty ·
endless · huge (valid JSON of `size_bytes`).
The first fault of the list that matches wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.local.answers import VENDOR
from batch.local.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batch.local.dice import Dice

CALLS = ("submit", "status", "result", "image", "upload", "credits", "history")
PROMPTED = ("submit", "status", "result", "image")
# action → whether the call is handled unless the fault says otherwise
ACTIONS = {
    "reset_before": False,
    "reset_after": True,
    "fin_after": True,
    "half_head": True,
    "no_answer": True,
    "delay": True,
    "status": False,
    "garbage": True,
    "truncated": True,
    "empty": True,
    "endless": True,
    "huge": True,
}
ALWAYS_HANDLED = ("delay", "truncated")
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_TEXT = re.compile(r"(?:[!-~\xa1-\xff](?:[ -~\xa1-\xff]*[!-~\xa1-\xff])?)?")
OWN_HEADERS = ("content-length", "content-type", "date", "transfer-encoding")
RESET_STYLES = ("iso_z", "iso", "space", "epoch", "none")


class FaultError(SettingsError):
    """A fault is not in the format; the message lists all problems."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, checked; see the module for the meaning of each field."""

    call: str
    action: str
    nth: tuple[int, ...]
    first: int | None
    probability: float | None
    prompt: str | None
    handled: bool
    before_s: float
    after_s: float
    status: int
    text: str | None
    body: Any
    headers: tuple[tuple[str, str], ...]
    reset_in_s: float
    skew_s: float
    reset_header: str
    size_bytes: int
    pace_s: float


class FaultPlan:
    """The faults in force, and how many calls each has seen."""

    def __init__(self, faults: Iterable[Fault], dice: Dice) -> None:
        self.faults = tuple(faults)
        self._dice = dice
        self._seen = [0] * len(self.faults)
        self._calls = frozenset(fault.call for fault in self.faults)

    def select(self, call: str, prompt: Callable[[], str]) -> Fault | None:
        """Count this call and return the fault that hits it; `prompt` is asked only when a fault wants it."""
        if call not in self._calls:
            return None
        hit = None
        for index, fault in enumerate(self.faults):
            if fault.call != call or (fault.prompt is not None and fault.prompt not in prompt()):
                continue
            self._seen[index] += 1
            if hit is None and self._strikes(index, fault):
                hit = fault
        return hit

    def _strikes(self, index: int, fault: Fault) -> bool:
        ordinal = self._seen[index]
        if fault.nth and ordinal not in fault.nth:
            return False
        if fault.first is not None and ordinal > fault.first:
            return False
        if fault.probability is None:
            return True
        return self._dice.draw(f"fault {index}", ordinal).random() < fault.probability


def read_faults(items: Iterable[Any]) -> tuple[Fault, ...]:
    """Return the faults of a JSON list; FaultError names every problem by its place."""
    problems: list[str] = []
    faults = [_read(item, f"faults[{index}]", problems) for index, item in enumerate(items)]
    if problems:
        raise FaultError("\n".join(problems))
    return tuple(fault for fault in faults if fault is not None)


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    )


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _headers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        HEADER_NAME.fullmatch(name) and name.lower() not in OWN_HEADERS and _header_text(text)
        for name, text in value.items()
    )


def _header_text(value: Any) -> bool:
    return isinstance(value, str) and HEADER_TEXT.fullmatch(value) is not None


# name → (what it must satisfy, how that is said)
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "call": (lambda value: value in CALLS, f"one of {', '.join(CALLS)}"),
    "action": (lambda value: value in tuple(ACTIONS), f"one of {', '.join(ACTIONS)}"),
    "nth": (
        lambda value: all(_whole(1, 10**9)(n) for n in (value if isinstance(value, list) else [value])),
        "a number from 1, or a list of them",
    ),
    "first": (_whole(1, 10**9), "a number from 1"),
    "probability": (_number(0, 1), "a number from 0 to 1"),
    "prompt": (lambda value: isinstance(value, str) and value != "", "a text"),
    "handled": (lambda value: isinstance(value, bool), "true or false"),
    "before_s": (_number(0, 86_400), "seconds"),
    "after_s": (_number(0, 86_400), "seconds"),
    "status": (_whole(200, 599), "an HTTP status"),
    "text": (lambda value: value in ("rate_limit", *VENDOR), f"rate_limit, {', '.join(VENDOR)}"),
    "body": (lambda _: True, "text or JSON"),
    "headers": (_headers, "an object of header fields, none of which the server writes itself"),
    "reset_in_s": (_number(0, 86_400), "seconds"),
    "skew_s": (_number(-86_400, 86_400), "seconds"),
    "reset_header": (lambda value: value in RESET_STYLES, f"one of {', '.join(RESET_STYLES)}"),
    "size_bytes": (_whole(1, 4 * 10**9), "a number of bytes"),
    "pace_s": (_number(0, 3600), "seconds"),
}


def _read(item: Any, place: str, problems: list[str]) -> Fault | None:
    if not isinstance(item, dict):
        problems.append(f"{place}: not an object.")
        return None
    found = [f"{place}.{name}: no such field." for name in item if name not in _RULES]
    for name, (holds, wanted) in _RULES.items():
        if name in item and not holds(item[name]):
            found.append(f"{place}.{name}: {item[name]!r}. Give {wanted}.")
    found += [f"{place}.{name}: missing." for name in ("call", "action") if name not in item]
    if not found:
        found = [f"{place}: {problem}" for problem in _contradictions(item)]
    problems += found
    return None if found else _build(item)


def _contradictions(item: Mapping[str, Any]) -> list[str]:
    action, problems = item["action"], []
    if "prompt" in item and item["call"] not in PROMPTED:
        problems.append(f"{item['call']} calls have no prompt.")
    if action == "reset_before" and item.get("handled"):
        problems.append("reset_before is never handled; take reset_after.")
    if action in ALWAYS_HANDLED and item.get("handled") is False:
        problems.append(f"{action} needs the true answer, so it is always handled.")
    if action == "delay" and not (item.get("before_s") or item.get("after_s")):
        problems.append("delay needs before_s or after_s.")
    if action == "status" and ("status" in item) == ("text" in item):
        problems.append("status needs either a status or a text.")
    return problems


def _build(item: Mapping[str, Any]) -> Fault:
    nth = item.get("nth", [])
    return Fault(
        call=item["call"],
        action=item["action"],
        nth=tuple(nth) if isinstance(nth, list) else (nth,),
        first=item.get("first"),
        probability=item.get("probability"),
        prompt=item.get("prompt"),
        handled=item.get("handled", ACTIONS[item["action"]]),
        before_s=item.get("before_s", 0.0),
        after_s=item.get("after_s", 0.0),
        status=item.get("status", 200),
        text=item.get("text"),
        body=item.get("body", ""),
        headers=tuple(item.get("headers", {}).items()),
        reset_in_s=item.get("reset_in_s", 2.0),
        skew_s=item.get("skew_s", 0.0),
        reset_header=item.get("reset_header", "iso_z"),
        size_bytes=item.get("size_bytes", 30_000_000 if item["action"] == "huge" else 1_000_000_000),
        pace_s=item.get("pace_s", 0.0),
    )
