"""The settings of the local service: names, units, defaults, ranges.

One frozen value describes a server completely; it travels as one JSON object, so a test, a subprocess and a YAML
file say the same thing. Rule 1: an unknown name or a value out of range is refused, all problems in one message.
Rule 2: a field marked `fixed` is read at start only; every other one may change at run time through
`POST /_local/settings`. Money is given in USD here and is integer micro-dollars everywhere else. Source of the
defaults: the vendor's pages as noted in the wire contract (price, typical time, lifetimes).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOUR_S = 3600.0
DAY_S = 86_400.0
AGES_S = 1e9


class SettingsError(ValueError):
    """A setting has an unknown name or a value out of range; the message lists all of them."""


def _field(
    default: Any,
    kind: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    optional: bool = False,
    fixed: bool = False,
    secret: bool = False,
) -> Any:
    rules = {
        "kind": kind,
        "low": low,
        "high": high,
        "choices": choices,
        "optional": optional,
        "fixed": fixed,
    }
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=rules, repr=not secret)
    return dataclasses.field(default=default, metadata=rules, repr=not secret)


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Everything that can be set about a local server; durations in seconds, money in USD.

    The server: `api_key` (empty: one is made up), `port` on 127.0.0.1 (0: a free one), `seed` (request ids, drawn
    seeds, latencies, costs and probabilities repeat; None: they differ each time), `engine` ("drape" makes a real
    picture, "card" a tiny one computed from the request body), `workers` (jobs processed at once; 0: one a CPU
    core), `keep_alive_s` (idle connections are closed after it).
    Time: `latency` ("work": as long as the engine takes; "fixed": at least `latency_s`; "lognormal": median
    `latency_s`, `latency_sigma` of the logarithm), `cold_start_s` is waited in the queue by the first job of a
    worker and after `cold_after_s` idle; `record_lifetime_s` counts from the submit, `output_lifetime_s` from the
    end of the job; `clock_skew_s` is added to every time the server tells.
    Money: `price_usd` a COMPLETED job, varied evenly by ± `price_spread` (0 … 1); `balance_usd`;
    `spend_limit_usd` of the team (None: no limit).
    Limits: `rate_limit` calls in `rate_window_s` (0: no limit), counting "submits" or "all" calls with a key;
    `reset_header` is how a 429 tells the end of the window.
    Failures: `failure_rate` (0 … 1) of all jobs, and prompts that contain one of `blocked_words`, end FAILED;
    `retired_models` answer 410, `forbidden_models` 403.
    Answers: `images_list` (false: results carry `output` only), `poll_base_url` and `file_base_url` replace the
    server's own address in the URLs it hands out.
    History: a row appears `history_lag_s` after the submit, or after the seconds that `history_lag_by_prompt`
    gives for a part of its prompt; `history_list_key` names the list (dots nest); `history_body` is how the inputs
    come back; `history_copies` rows stand for each finished job, as for a job with several outputs.
    Faults: `faults` in the format of `batch.local.faults`, after those in the YAML file `faults_file`.
    """

    api_key: str = _field("", "text", fixed=True, secret=True)
    port: int = _field(0, "int", low=0, high=65_535, fixed=True)
    seed: int | None = _field(None, "int", optional=True, fixed=True)
    engine: str = _field("drape", "text", choices=("drape", "card"), fixed=True)
    workers: int = _field(0, "int", low=0, high=10_000, fixed=True)
    keep_alive_s: int = _field(5, "int", low=1, high=3600, fixed=True)

    latency: str = _field("work", "text", choices=("work", "fixed", "lognormal"))
    latency_s: float = _field(23.4, "number", low=0, high=DAY_S)
    latency_sigma: float = _field(0.25, "number", low=0, high=3)
    cold_start_s: float = _field(0.0, "number", low=0, high=HOUR_S)
    cold_after_s: float = _field(300.0, "number", low=0, high=AGES_S)
    record_lifetime_s: float = _field(HOUR_S, "number", low=0, high=AGES_S)
    output_lifetime_s: float = _field(7 * DAY_S, "number", low=0, high=AGES_S)
    clock_skew_s: float = _field(0.0, "number", low=-DAY_S, high=DAY_S)

    price_usd: float = _field(0.03, "number", low=0, high=1000)
    price_spread: float = _field(0.0, "number", low=0, high=1)
    balance_usd: float = _field(1000.0, "number", low=0, high=1e9)
    spend_limit_usd: float | None = _field(None, "number", low=0, high=1e9, optional=True)

    rate_limit: int = _field(0, "int", low=0)
    rate_window_s: float = _field(60.0, "number", low=0.001, high=DAY_S)
    rate_counts: str = _field("submits", "text", choices=("submits", "all"))
    reset_header: str = _field("iso_z", "text", choices=("iso_z", "iso", "space", "epoch", "none"))

    failure_rate: float = _field(0.0, "number", low=0, high=1)
    blocked_words: tuple[str, ...] = _field((), "words")
    retired_models: tuple[str, ...] = _field((), "words")
    forbidden_models: tuple[str, ...] = _field((), "words")

    images_list: bool = _field(True, "flag")  # noqa: FBT003  the default, not a flag
    poll_base_url: str = _field("", "text")
    file_base_url: str = _field("", "text")

    history_lag_s: float = _field(0.0, "number", low=0, high=AGES_S)
    history_lag_by_prompt: Mapping[str, float] = _field(dict, "seconds by text")
    history_list_key: str = _field("data", "text")
    history_body: str = _field("as_sent", "text", choices=("as_sent", "strings", "json_text"))
    history_copies: int = _field(1, "int", low=1, high=20)

    faults: tuple[Mapping[str, Any], ...] = _field((), "objects", fixed=True)
    faults_file: str = _field("", "text", fixed=True)

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            if isinstance(value := getattr(self, item.name), list):
                object.__setattr__(self, item.name, tuple(value))
        problems = [problem for item in dataclasses.fields(self) if (problem := _check(self, item))]
        if problems:
            raise SettingsError("\n".join(problems))

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> LocalSettings:
        """Return the settings of a JSON object, given as text or already read; SettingsError names each problem."""
        return changed(cls(), _read_object(text), at_run_time=False)

    def to_json(self) -> str:
        """Return one line of JSON that `from_json` reads back; it contains the key."""
        return json.dumps(dataclasses.asdict(self))

    def public(self) -> dict[str, Any]:
        """Return what may be shown: everything but the key."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "api_key"}


def changed(settings: LocalSettings, values: Mapping[str, Any], *, at_run_time: bool) -> LocalSettings:
    """Return `settings` with `values` put in; at run time a fixed field is a problem as well."""
    fields = {item.name: item for item in dataclasses.fields(LocalSettings)}
    problems = []
    clean: dict[str, Any] = {}
    for name, value in values.items():
        item = fields.get(name)
        if item is None:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(fields)}."
            problems.append(f"{name}: no such setting. {hint}")
        elif at_run_time and item.metadata["fixed"]:
            problems.append(f"{name}: cannot change while the server runs. Start another one.")
        else:
            clean[name] = value
    if problems:
        raise SettingsError("\n".join(problems))
    return dataclasses.replace(settings, **clean)


def _read_object(text: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(text, Mapping):
        return text
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise SettingsError(f"settings: not JSON ({exc}). Give one JSON object on one line.") from exc
    if not isinstance(value, dict):
        raise SettingsError(f"settings: a JSON {type(value).__name__}. Give one JSON object.")
    return value


def _is_number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return not isinstance(value, float) or math.isfinite(value)


def _is_kind(value: Any, kind: str) -> bool:
    if kind == "text":
        return isinstance(value, str)
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "words":
        return isinstance(value, tuple) and all(isinstance(word, str) for word in value)
    if kind == "objects":
        return isinstance(value, tuple) and all(isinstance(item, Mapping) for item in value)
    if kind == "seconds by text":
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and _is_number(seconds, whole=False) and 0 <= seconds <= AGES_S
            for key, seconds in value.items()
        )
    return _is_number(value, whole=kind == "int")


def _check(settings: LocalSettings, item: dataclasses.Field[Any]) -> str | None:
    value, rules = getattr(settings, item.name), item.metadata
    if value is None and rules["optional"]:
        return None
    if not _is_kind(value, rules["kind"]):
        return f"{item.name}: {value!r} is not of the kind {rules['kind']}."
    if rules["choices"] and value not in rules["choices"]:
        return f"{item.name}: {value!r} is unknown. Give one of {', '.join(rules['choices'])}."
    low, high = rules["low"], rules["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low:g}" if high is None else f"{low:g} … {high:g}"
        return f"{item.name}: {value!r} is out of range. Give {bounds}."
    return None
