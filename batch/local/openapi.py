"""The OpenAPI 3.1 description served at /openapi.json: made from the same tables the server runs on.

It describes this server, and the vendor's service only as far as it is played here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.local.answers import as_json
from batch.local.faults import ACTIONS, CALLS
from batch.parameters import MODEL, PARAMETERS

if TYPE_CHECKING:
    from batch.local.answers import Answer
    from batch.local.calls import Call
    from batch.local.service import Service
    from batch.parameters import Parameter

ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
TYPES = {"int": "integer", "bool": "boolean"}
NUMBER = {"type": "number"}
TEXT = {"type": "string"}
METRICS = {
    "type": "object",
    "properties": {
        "inference_time": NUMBER,
        "queue_time": NUMBER,
        "total_time": NUMBER,
        "retry_count": {"type": "integer"},
        "cost": {**NUMBER, "description": "USD; COMPLETED only"},
        "remaining_credits": {**NUMBER, "description": "USD; COMPLETED only"},
    },
}
STATE = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["QUEUED", "PROCESSING", "COMPLETED", "FAILED"]},
        "metrics": METRICS,
        "error": {**TEXT, "description": "FAILED only, under HTTP 422"},
    },
}
RESULT = {
    "allOf": [STATE],
    "properties": {
        "output": {**TEXT, "description": "the picture's URL, or its base64 text"},
        "images": {"type": "array", "items": {"type": "object"}},
        "seed": {"type": "integer"},
    },
}
SUBMITTED = {
    "type": "object",
    "properties": dict.fromkeys(("request_id", "status", "poll_url", "status_url", "response_url"), TEXT),
}
REFUSALS = {
    "400": "malformed body, missing prompt",
    "401": "key missing or rejected",
    "403": "the account may not call this model",
    "404": "no such model",
    "406": "content type, credits, a parameter's value or the team's spend limit, told apart by the text",
    "410": "the model is retired",
    "422": "a parameter of the wrong type or out of range; v1: the job FAILED",
    "429": "rate limit; x-rate-limit-reset-at-utc tells the end of the window",
}
POLLS = {
    "401": "key missing or rejected",
    "404": "unknown, or older than its lifetime",
    "422": "the job FAILED",
}
FILTERS = (
    "page",
    "per_page",
    "from_date",
    "to_date",
    "model_name",
    "status",
    "sort_by",
    "sort_order",
)


def describe(url: str) -> dict[str, Any]:
    """Return the description of a server at `url`."""
    request_id = _parameter("request_id", "path")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "texbatch local service",
            "version": "1",
            "description": f"Plays Segmind's {MODEL} on this machine. Nothing is paid here.",
        },
        "servers": [{"url": url}],
        "security": [{"key": []}],
        "components": {
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
            "schemas": {"Inputs": inputs(), "Error": ERROR},
        },
        "paths": {
            f"/v2/{MODEL}": {"post": _submit("Submit a job; each accepted POST is billed", _json(SUBMITTED))},
            f"/v1/{MODEL}": {"post": _submit("Run a job and wait for the picture", _picture())},
            "/v2/requests/{request_id}/status": {"get": _get("State of a job", STATE, [request_id], POLLS)},
            "/v2/requests/{request_id}": {"get": _get("Result of a job", RESULT, [request_id], POLLS)},
            "/v1/requests/{request_id}": {"get": _get("Result of a job", RESULT, [request_id], POLLS)},
            "/v1/get-user-credits": {"get": _get("Balance in USD", {"type": "object"}, [], {})},
            "/upload-asset": {"post": _upload()},
            "/inference-request/request-history": {
                "get": _get(
                    "Requests of this account", {"type": "object"}, [_parameter(n) for n in FILTERS], {}
                )
            },
            "/inference-request/request-history/{request_id}": {
                "get": _get("One request, of any age", {"type": "object"}, [request_id], POLLS)
            },
            "/files/{folder}/{name}": {
                "get": {
                    "summary": "An uploaded file or an output",
                    "security": [],
                    "parameters": [_parameter("folder", "path"), _parameter("name", "path")],
                    "responses": {"200": _picture(), "404": {"description": "no such file, in HTML"}},
                }
            },
            **_controls(),
        },
    }


def inputs() -> dict[str, Any]:
    """Return the schema of a request body, from the table of parameters."""
    return {
        "type": "object",
        "required": ["prompt"],
        "properties": {parameter.name: _input(parameter) for parameter in PARAMETERS},
    }


async def openapi(service: Service, call: Call) -> Answer:  # noqa: ARG001  every handler has this face
    """Give the description."""
    return as_json(describe(service.url))


def _input(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": TYPES.get(parameter.kind, "string"),
        "default": parameter.default,
        "description": parameter.help,
    }
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.minimum is not None:
        schema |= {"minimum": parameter.minimum, "maximum": parameter.maximum}
    return schema


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "OK", "content": {"application/json": {"schema": schema}}}


def _picture() -> dict[str, Any]:
    return {"description": "The bytes", "content": {"image/*": {}}}


def _refused(texts: dict[str, str]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {status: {**_json(schema), "description": text} for status, text in texts.items()}


def _parameter(name: str, place: str = "query") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": TEXT}


def _get(
    summary: str, schema: dict[str, Any], parameters: list[dict[str, Any]], refusals: dict[str, str]
) -> dict[str, Any]:
    responses = {"200": _json(schema), **_refused({"401": REFUSALS["401"], **refusals})}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _posted(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _submit(summary: str, accepted: dict[str, Any]) -> dict[str, Any]:
    body = _posted({"$ref": "#/components/schemas/Inputs"})
    return {"summary": summary, "requestBody": body, "responses": {"200": accepted, **_refused(REFUSALS)}}


def _upload() -> dict[str, Any]:
    urls = {"type": "object", "properties": {"data_urls": {"type": "array", "items": TEXT}}}
    stored = {
        "type": "object",
        "properties": {"file_urls": {"type": "array", "items": TEXT}, "message": TEXT},
    }
    responses = {"200": _json(stored), **_refused({"400": "no list of data URLs", "401": REFUSALS["401"]})}
    return {"summary": "Store files", "requestBody": _posted(urls), "responses": responses}


def _controls() -> dict[str, Any]:
    anything = {"type": "object"}
    fault = {
        "type": "object",
        "required": ["call", "action"],
        "properties": {"call": {"enum": list(CALLS)}, "action": {"enum": list(ACTIONS)}},
    }
    faults = {"type": "array", "items": fault}
    refused = _refused({"400": "names each problem"})
    return {
        "/_local/stats": {"get": _get("What was counted", anything, [_parameter("jobs")], {})},
        "/_local/settings": {
            "get": _get("Settings in force", anything, [], {}),
            "post": {
                "summary": "Change settings",
                "requestBody": _posted(anything),
                "responses": {"200": _json(anything), **refused},
            },
        },
        "/_local/faults": {
            "get": _get("Faults in force", faults, [], {}),
            "post": {
                "summary": "Replace the faults",
                "requestBody": _posted(faults),
                "responses": {"200": _json(anything), **refused},
            },
        },
    }
