"""The JSON schemas of /openapi.json: of answers, of what is sent, of settings and faults; made from the tables the server runs on.

They say what this server sends, so a member that the vendor may leave out is not required. Rule: a schema is no
stricter than the server where the service finds out later (an empty prompt is accepted, and fails its job).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from batch.local.answers import VENDOR
from batch.local.faults import ACTIONS, CALLS, RESET_STYLES
from batch.local.history import MAX_DAYS, ORDERS, SORTS, STATUSES
from batch.local.settings import AGES_S, LocalSettings
from batch.parameters import PARAMETERS

if TYPE_CHECKING:
    from batch.parameters import Parameter

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "array", "items": TEXT}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
STATES = ("QUEUED", "PROCESSING", "COMPLETED", "FAILED")
TYPES = {"int": "integer", "bool": "boolean"}


def record(properties: dict[str, Any], *optional: str, closed: bool = False) -> Schema:
    """Return the schema of an object whose members are all required but for the `optional` ones."""
    required = [name for name in properties if name not in optional]
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema | {"additionalProperties": False} if closed else schema


ERROR = record({"error": TEXT})
DENIAL = record({"error": TEXT, "error_description": TEXT, "status_code": {"type": "integer"}})
METRICS = record(
    {
        "inference_time": NUMBER,
        "queue_time": NUMBER,
        "total_time": NUMBER,
        "retry_count": COUNT,
        "cost": {**NUMBER, "description": "USD; COMPLETED only"},
        "remaining_credits": {**NUMBER, "description": "USD; COMPLETED only"},
    },
    *("inference_time", "queue_time", "total_time", "retry_count", "cost", "remaining_credits"),
)
STATUS = record({"status": {"enum": list(STATES[:3])}, "request_id": TEXT, "metrics": METRICS})
FAILED = record(
    {"status": {"const": "FAILED"}, "request_id": TEXT, "metrics": METRICS, "error": TEXT}, "request_id"
)
IMAGE = record({"url": TEXT, "content_type": TEXT, "file_name": TEXT, "file_size": COUNT})
RESULT = record(
    {
        "status": {"enum": list(STATES[:3])},
        "metrics": METRICS,
        "output": {**TEXT, "description": "COMPLETED only: the picture's URL, or its base64 text"},
        "images": {"type": "array", "items": IMAGE, "description": "COMPLETED only; none with base64"},
        "seed": {"type": "integer", "description": "COMPLETED only: the one drawn for -1"},
    },
    *("output", "images", "seed"),
)
SUBMITTED = record(
    {
        "request_id": TEXT,
        "status": {"const": "QUEUED"},
        "poll_url": TEXT,
        "status_url": TEXT,
        "response_url": TEXT,
    }
)
CREDITS = record({"credits": NUMBER, "free-credits": NUMBER})
ROW = record(
    {
        "request_id": TEXT,
        "model_name": TEXT,
        "model_status": {"enum": list(STATUSES)},
        "credits_deduction": NUMBER,
        "request_body": {"description": "the inputs; how is a setting"},
        "generation_url": MAYBE_TEXT,
        "latency_ms": {"type": ["integer", "null"]},
        "model_created": {**TEXT, "format": "date-time"},
        "model_completed": {**MAYBE_TEXT, "format": "date-time"},
        "error": MAYBE_TEXT,
    }
)
PAGE = record(
    {
        "data": {"type": "array", "items": ROW, "description": "the setting history_list_key names it"},
        "page": COUNT,
        "per_page": COUNT,
        "total": COUNT,
        "total_pages": COUNT,
    },
    "data",
)
_DAY: Schema = {"anyOf": [{**TEXT, "format": "date"}, {"const": ""}]}
FILTERS: dict[str, Schema] = {
    "page": {"type": "integer", "minimum": 1, "maximum": 10**9},
    "per_page": {"type": "integer", "minimum": 1, "maximum": 100},
    "from_date": {**_DAY, "description": f"at most {MAX_DAYS} days before to_date"},
    "to_date": _DAY,
    "model_name": TEXT,
    "status": {"enum": ["", *STATUSES]},
    "sort_by": {"enum": list(SORTS)},
    "sort_order": {"enum": list(ORDERS)},
}
DATA_URLS = record({"data_urls": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 32}})
STORED = record({"file_urls": TEXTS, "message": TEXT})
TALLY: Schema = {"type": "object", "additionalProperties": COUNT}
STATS = record(
    {
        "accepted": COUNT,
        "states": TALLY,
        "in_flight": COUNT,
        "most_in_flight": COUNT,
        "accepted_by_prompt": TALLY,
        "accepted_by_body": {**TALLY, "description": "by the SHA-256 of the body: 2 is a job paid twice"},
        "billed_jobs": COUNT,
        "billed_micro_usd": COUNT,
        "balance_micro_usd": {"type": "integer"},
        "calls": TALLY,
        "answers": TALLY,
        "http_429": COUNT,
        "uploaded": TALLY,
        "files_with_key": COUNT,
        "faults": TALLY,
        "polls": TALLY,
        "fault_hits": {"type": "array", "items": {"type": "object"}},
        "jobs": {"type": "array", "items": {"type": "object"}},
    },
    *("polls", "fault_hits", "jobs"),
)

_SECONDS: Schema = {**NUMBER, "minimum": 0, "maximum": 86_400}
_NTH: Schema = {"type": "integer", "minimum": 1, "maximum": 10**9}
FAULT = record(
    {
        "call": {"enum": list(CALLS)},
        "action": {"enum": list(ACTIONS)},
        "nth": {"anyOf": [_NTH, {"type": "array", "items": _NTH}]},
        "first": _NTH,
        "probability": {**NUMBER, "minimum": 0, "maximum": 1},
        "prompt": {**TEXT, "minLength": 1},
        "handled": FLAG,
        "before_s": _SECONDS,
        "after_s": _SECONDS,
        "status": {"type": "integer", "minimum": 200, "maximum": 599},
        "text": {"enum": ["rate_limit", *VENDOR]},
        "body": {"description": "text or JSON"},
        "headers": {"type": "object", "additionalProperties": TEXT},
        "reset_in_s": _SECONDS,
        "skew_s": {**NUMBER, "minimum": -86_400, "maximum": 86_400},
        "reset_header": {"enum": list(RESET_STYLES)},
        "size_bytes": {"type": "integer", "minimum": 1, "maximum": 4 * 10**9},
        "pace_s": {**NUMBER, "minimum": 0, "maximum": 3600},
    },
    *("nth", "first", "probability", "prompt", "handled", "before_s", "after_s", "status", "text", "body"),
    *("headers", "reset_in_s", "skew_s", "reset_header", "size_bytes", "pace_s"),
    closed=True,
)
FAULTS: Schema = {"type": "array", "items": FAULT}


def inputs() -> Schema:
    """Return the schema of a request body, from the table of parameters."""
    return {
        "type": "object",
        "required": ["prompt"],
        "properties": {parameter.name: _input(parameter) for parameter in PARAMETERS},
    }


def changes() -> Schema:
    """Return the schema of the settings that may change at run time."""
    fields = [item for item in dataclasses.fields(LocalSettings) if not item.metadata["fixed"]]
    names = [item.name for item in fields]
    return record({item.name: _setting(item) for item in fields}, *names, closed=True)


def _input(parameter: Parameter) -> Schema:
    schema: Schema = {
        "type": TYPES.get(parameter.kind, "string"),
        "default": parameter.default,
        "description": parameter.help,
    }
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.minimum is not None:
        schema |= {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return schema


def _setting(item: dataclasses.Field[Any]) -> Schema:
    rules = item.metadata
    kinds: dict[str, Schema] = {
        "text": {"enum": list(rules["choices"])} if rules["choices"] else TEXT,
        "flag": FLAG,
        "words": TEXTS,
        "seconds by text": {
            "type": "object",
            "additionalProperties": {**NUMBER, "minimum": 0, "maximum": AGES_S},
        },
        "int": {"type": "integer"},
        "number": NUMBER,
    }
    schema = dict(kinds[rules["kind"]])
    bounds = (("minimum", rules["low"]), ("maximum", rules["high"]))
    schema |= {name: value for name, value in bounds if value is not None}
    return {"anyOf": [schema, {"type": "null"}]} if rules["optional"] else schema
