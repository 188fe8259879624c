"""The settings of the local server: names, units, defaults, ranges; from Python, JSON or a YAML file.

One frozen value describes a server completely; it travels as one JSON object, so a test, a subprocess and a YAML
file give the same settings. Rule 1: an unknown name or a value that is not valid is refused, all problems in one message.
Rule 2: a setting in FIXED is read at start only; every other one may change at run time through
`POST /_local/settings`. Rule 3: pydantic checks what differs from the defaults, and is imported only then: that
takes a third of the time a server needs to start, and `--local` changes nothing. Money is given in USD here and is
integer micro-dollars everywhere else. Source of the defaults: the vendor's pages (price, typical time, lifetimes).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from batch.server.engines.registry import FORMER_NAMES, OWN, registered

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

HOUR_S = 3600.0
DAY_S = 86_400.0
AGES_S = 1e9
FIXED = frozenset({"port", "seed", "engine", "workers", "keep_alive_s", "faults", "faults_file"})


class SettingsError(ValueError):
    """Settings that are not valid; the message lists every problem."""


def _number(default: float | None, low: float, high: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"ge": low, "le": high})


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Everything that can be set about a local server; durations in seconds, money in USD.

    The server: `api_key` (empty: one is made up; a new one at run time rotates the key: the account stays, the old key is
    refused), `port` on 127.0.0.1 (0: a free one), `seed` (request ids, drawn
    seeds, latencies, costs and probabilities repeat; None: they differ each time), `engine` ("cpu" makes a real
    image, "placeholder" a tiny one computed from the request body; or one that another package registers), `workers` (jobs processed at once; 0: one a CPU
    core), `keep_alive_s` (idle connections are closed after it).
    Time: `latency` ("work": as long as the engine takes; "fixed": at least `latency_s`; "lognormal": median
    `latency_s`, `latency_sigma` of the logarithm), `cold_start_s` is waited in the queue by the first job of a
    worker and after `cold_after_s` idle; `record_lifetime_s` counts from the submit, `output_lifetime_s` from the
    end of the job; `clock_skew_s` is added to every time the server reports.
    Money: `price_usd` a COMPLETED job, varied evenly by ± `price_spread` (0 … 1); `balance_usd`;
    `spend_limit_usd` of the team (None: no limit).
    Limits: `rate_limit` calls in `rate_window_s` (0: no limit), counting "submits" or "all" calls with a key;
    `reset_header` is how a 429 states the end of the window.
    Failures: `failure_rate` (0 … 1) of all jobs, and prompts that contain one of `blocked_words`, end FAILED;
    `retired_models` answer 410, `forbidden_models` 403.
    Answers: `images_list` (false: results carry `output` only), `poll_base_url` and `file_base_url` replace the
    server's own address in the URLs it hands out.
    History: a row appears `history_lag_s` after the submit, or after the seconds that `history_lag_by_prompt`
    gives for a part of its prompt; `history_list_key` names the list (dots nest); `history_body` is how the inputs
    come back; `history_copies` rows stand for each finished job, as for a job with several outputs.
    Faults: `faults` in the format of `batch.server.simulation.faults`, after those in the YAML file `faults_file`.
    """

    api_key: str = dataclasses.field(default="", repr=False)
    port: int = _number(0, 0, 65_535)
    seed: int | None = None
    engine: str = "cpu"
    workers: int = _number(0, 0, 10_000)
    keep_alive_s: int = _number(5, 1, 3600)

    latency: Literal["work", "fixed", "lognormal"] = "work"
    latency_s: float = _number(23.4, 0, DAY_S)
    latency_sigma: float = _number(0.25, 0, 3)
    cold_start_s: float = _number(0.0, 0, HOUR_S)
    cold_after_s: float = _number(300.0, 0, AGES_S)
    record_lifetime_s: float = _number(HOUR_S, 0, AGES_S)
    output_lifetime_s: float = _number(7 * DAY_S, 0, AGES_S)
    clock_skew_s: float = _number(0.0, -DAY_S, DAY_S)

    price_usd: float = _number(0.03, 0, 1000)
    price_spread: float = _number(0.0, 0, 1)
    balance_usd: float = _number(1000.0, 0, 1e9)
    spend_limit_usd: float | None = _number(None, 0, 1e9)

    rate_limit: int = _number(0, 0)
    rate_window_s: float = _number(60.0, 0.001, DAY_S)
    rate_counts: Literal["submits", "all"] = "submits"
    reset_header: Literal["iso_z", "iso", "space", "epoch", "none"] = "iso_z"

    failure_rate: float = _number(0.0, 0, 1)
    blocked_words: tuple[str, ...] = ()
    retired_models: tuple[str, ...] = ()
    forbidden_models: tuple[str, ...] = ()

    images_list: bool = True
    poll_base_url: str = ""
    file_base_url: str = ""

    history_lag_s: float = _number(0.0, 0, AGES_S)
    history_lag_by_prompt: Mapping[str, float] = dataclasses.field(default_factory=dict)
    history_list_key: str = "data"
    history_body: Literal["as_sent", "strings", "json_text"] = "as_sent"
    history_copies: int = _number(1, 1, 20)

    faults: tuple[Mapping[str, Any], ...] = ()
    faults_file: str = ""

    def __post_init__(self) -> None:
        given = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, list):
                object.__setattr__(self, item.name, value := tuple(value))
            if value is not item.default and not (item.default_factory is dict and value == {}):
                given[item.name] = value
        if problems := _problems(given):
            raise SettingsError("\n".join(problems))
        if self.engine in FORMER_NAMES:
            name = FORMER_NAMES[self.engine]
            warnings.warn(f"engine {self.engine!r} is now {name!r}", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "engine", name)

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> LocalSettings:
        """Return the settings of a JSON object, as text or already read; SettingsError names each problem."""
        return changed(cls(), _read_object(text), at_run_time=False)

    def to_json(self) -> str:
        """Return one line of JSON that `from_json` reads back; it contains the key."""
        return json.dumps(dataclasses.asdict(self))

    def public(self) -> dict[str, Any]:
        """Return what may be shown: everything but the key, and the engine by its former name until version 0.3."""
        former = {name: old for old, name in FORMER_NAMES.items()}
        shown = dataclasses.asdict(self) | {"engine": former.get(self.engine, self.engine)}
        del shown["api_key"]
        return shown


def changed(settings: LocalSettings, values: Mapping[str, Any], *, at_run_time: bool) -> LocalSettings:
    """Return `settings` with `values` put in; at run time a setting in FIXED is a problem as well."""
    names = [item.name for item in dataclasses.fields(LocalSettings)]
    problems = []
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(names)}."
            problems.append(f"{name}: no such setting. {hint}")
        elif at_run_time and name in FIXED:
            problems.append(f"{name}: cannot change while the server runs. Start another one.")
    if problems:
        raise SettingsError("\n".join(problems))
    return dataclasses.replace(settings, **values)


def _problems(given: Mapping[str, Any]) -> list[str]:
    if not given:
        return []
    from pydantic import ValidationError  # noqa: PLC0415  start-up time

    problems = []
    try:
        model().model_validate(given)
    except ValidationError as exc:
        problems = describe(exc)
    engine = given.get("engine")
    if isinstance(engine, str) and engine not in {*OWN, *FORMER_NAMES} and engine not in registered():
        problems.append(f"engine: {engine!r} is not a known engine. Give one of {', '.join(registered())}.")
    return problems


@cache
def model(*, at_run_time: bool = False) -> type[BaseModel]:
    """Return the pydantic model of the settings, or of those that may change at run time; each may be left out."""
    from pydantic import ConfigDict, Field, create_model  # noqa: PLC0415  start-up time

    lags = Mapping[str, Annotated[float, Field(ge=0, le=AGES_S)]]
    kinds = get_type_hints(LocalSettings) | {"history_lag_by_prompt": lags}
    members: dict[str, Any] = {
        item.name: (kinds[item.name], Field(default_factory=object, **item.metadata))
        for item in dataclasses.fields(LocalSettings)
        if not (at_run_time and item.name in FIXED)
    }
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return create_model("Settings", __config__=config, **members)


# -- messages for what pydantic refuses: place, reason, remedy; one line a problem


REASONS = {
    "missing": "missing.",
    "model_type": "not an object.",
    "extra_forbidden": "no such field.",
    "greater_than_equal": "{value!r} is out of range. Give at least {ge:g}.",
    "less_than_equal": "{value!r} is out of range. Give at most {le:g}.",
    "literal_error": "{value!r} is not known. Give {expected}.",
}


def describe(error: ValidationError, place: str = "") -> list[str]:
    """Return one line for each problem; `place` comes before the names of the fields, as in "faults[0].nth"."""
    return [
        f"{_place(place, problem['loc'])}: {reason}"
        for problem in error.errors(include_url=False)
        for reason in _reasons(problem)
    ]


def _place(place: str, path: Sequence[int | str]) -> str:
    for part in path:
        place += f"[{part}]" if isinstance(part, int) else f"{place and '.'}{part}"
    return place


def _reasons(problem: Mapping[str, Any]) -> list[str]:
    # Raised by our own validators: reason and remedy, a line for each problem.
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"]).splitlines()
    if problem["type"] in REASONS:
        return [REASONS[problem["type"]].format(value=problem["input"], **problem.get("ctx", {}))]
    wanted = problem["msg"].replace("Input should be", "Give", 1)
    return [f"{problem['input']!r} is not valid. {wanted}."]


# -- JSON, and YAML files (JSON is YAML too); a file that cannot be used is a SettingsError that names it


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


def read_settings(path: Path, defaults: Mapping[str, Any], asked: Mapping[str, Any]) -> LocalSettings:
    """Return the settings in `path` over `defaults`, and under what was `asked` for; a faults_file lies beside it."""
    found = _load(path)
    found = {} if found is None else found
    if not isinstance(found, Mapping):
        raise SettingsError(f"{path}: not a list of settings. Write lines like `price_usd: 0.05`.")
    values = {str(name): value for name, value in found.items()}
    beside = values.get("faults_file")
    if isinstance(beside, str) and beside:
        values["faults_file"] = str(path.parent / beside)
    try:
        return LocalSettings.from_json({**defaults, **values, **asked})
    except SettingsError as exc:
        raise SettingsError("\n".join(f"{path}: {line}" for line in str(exc).splitlines())) from exc


def read_fault_file(path: str) -> list[Any]:
    """Return the list in a faults file, unchecked; none without a path."""
    if not path:
        return []
    items = _load(Path(path))
    if not isinstance(items, list):
        raise SettingsError(f"{path}: not a YAML list of faults. Write lines like `- {{call: submit, …}}`.")
    return items


def _load(path: Path) -> Any:
    import yaml  # noqa: PLC0415  only with a file

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    except UnicodeDecodeError as exc:
        raise SettingsError(f"{path}: not UTF-8 text.") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise SettingsError(f"{path}: not YAML ({exc}).") from exc
