"""The OpenAPI 3.1 description served at /openapi.json: paths and their answers; the schemas are in `schemas`.

It describes this server, and the vendor's service only as far as it is played here. What a scripted fault does to an
answer is not described: that is what faults are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.local import schemas
from batch.local.answers import as_json
from batch.parameters import MODEL

if TYPE_CHECKING:
    from batch.local.answers import Answer
    from batch.local.calls import Call
    from batch.local.schemas import Schema
    from batch.local.service import Service

RESETS = "x-rate-limit-reset-at-utc"
SUBMIT_REFUSALS = {
    "400": "malformed body, missing prompt",
    "403": "the account may not call this model",
    "404": "no such model",
    "406": "content type, credits, a parameter's value or the team's spend limit, told apart by the text",
    "410": "the model is retired",
    "422": "a parameter of the wrong type or out of range; v1: the job FAILED",
}
V1_HEADERS = {
    "x-request-id": schemas.TEXT,
    "x-cost": {**schemas.NUMBER, "description": "USD"},
    "x-remaining-credits": {**schemas.NUMBER, "description": "USD"},
    "x-generation-time": {**schemas.NUMBER, "description": "seconds"},
    "x-seed-value": {"type": "integer"},
}


async def openapi(service: Service, call: Call) -> Answer:  # noqa: ARG001  every handler has this face
    """Give the description."""
    return as_json(describe(service.url))


def describe(url: str) -> dict[str, Any]:
    """Return the description of a server at `url`."""
    error = {"Inputs": schemas.inputs(), "Error": schemas.ERROR, "Denial": schemas.DENIAL}
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
            "schemas": error,
        },
        "paths": {**_inference(), **_other_hosts(), **_controls()},
    }


def _inference() -> dict[str, Any]:
    poll = {"404": _error("unknown, or older than its lifetime"), "422": _json(schemas.FAILED, "it FAILED")}
    state, result = _json(schemas.STATUS), _json(schemas.RESULT)
    request_id = [_in_path("request_id")]
    return {
        f"/v2/{MODEL}": {
            "post": _submit("Submit a job; each accepted POST is billed", _json(schemas.SUBMITTED))
        },
        f"/v1/{MODEL}": {
            "post": _submit(
                "Run a job and wait for the picture",
                _picture("The bytes", V1_HEADERS),
                {"500": _error("the picture is lost"), "503": _page("the server ends")},
            )
        },
        "/v2/requests/{request_id}/status": {"get": _get("State of a job", state, request_id, poll)},
        "/v2/requests/{request_id}": {"get": _get("Result of a job", result, request_id, poll)},
        "/v1/requests/{request_id}": {"get": _get("Result of a job", result, request_id, poll)},
        "/v1/get-user-credits": {"get": _get("Balance in USD", _json(schemas.CREDITS))},
    }


def _other_hosts() -> dict[str, Any]:
    filters = [{"name": name, "in": "query", "schema": schema} for name, schema in schemas.FILTERS.items()]
    bad_filter = {"400": _error("a filter is out of range")}
    no_row = {"404": _error("not listed (yet)")}
    bad_upload = {"400": _error("no list of data URLs"), "406": _error("content type")}
    return {
        "/upload-asset": {"post": _post("Store files", schemas.DATA_URLS, _json(schemas.STORED), bad_upload)},
        "/inference-request/request-history": {
            "get": _get("Requests of this account", _json(schemas.PAGE), filters, bad_filter)
        },
        "/inference-request/request-history/{request_id}": {
            "get": _get("One request, of any age", _json(schemas.ROW), [_in_path("request_id")], no_row)
        },
        "/files/{folder}/{name}": {
            "get": {
                "summary": "An uploaded file or an output; needs no key",
                "security": [],
                "parameters": [_in_path("folder"), _in_path("name")],
                "responses": {
                    "200": {"description": "The bytes", "content": {"*/*": {}}},
                    "404": _page("no such file"),
                    "421": _error("not this host"),
                },
            }
        },
    }


def _controls() -> dict[str, Any]:
    settings = {"type": "object"}
    refused = {"400": _error("names each problem")}
    jobs = {"name": "jobs", "in": "query", "schema": schemas.TEXT, "description": "0: without the lists"}
    taken = _json(schemas.record({"faults": schemas.COUNT}))
    return {
        "/_local/stats": {"get": _get("What was counted", _json(schemas.STATS), [jobs])},
        "/_local/settings": {
            "get": _get("Settings in force", _json(settings)),
            "post": _post("Change settings", schemas.changes(), _json(settings), refused),
        },
        "/_local/faults": {
            "get": _get("Faults in force", _json({"type": "array", "items": {"type": "object"}})),
            "post": _post("Replace the faults", schemas.FAULTS, taken, refused),
        },
    }


def _submit(summary: str, accepted: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    refusals = {status: _error(text) for status, text in SUBMIT_REFUSALS.items()}
    return _post(summary, {"$ref": "#/components/schemas/Inputs"}, accepted, refusals | (more or {}))


def _post(summary: str, body: Schema, accepted: dict[str, Any], refusals: dict[str, Any]) -> dict[str, Any]:
    sent = {"required": True, "content": {"application/json": {"schema": body}}}
    return {"summary": summary, "requestBody": sent, "responses": {"200": accepted, **refusals, **_any()}}


def _get(
    summary: str,
    answer: dict[str, Any],
    parameters: list[dict[str, Any]] | None = None,
    refusals: dict[str, Any] | None = None,
) -> dict[str, Any]:
    responses = {"200": answer, **(refusals or {}), **_any()}
    return {"summary": summary, "parameters": parameters or [], "responses": responses}


def _any() -> dict[str, Any]:
    """Return the refusals that every call with a key can meet."""
    denial = {"application/json": {"schema": {"$ref": "#/components/schemas/Denial"}}}
    limited = _error("rate limit: submits only, or every call, as the settings say")
    limited["headers"] = {RESETS: {"schema": schemas.TEXT, "description": "the end of the window"}}
    return {
        "401": {"description": "key missing or rejected", "content": denial},
        "413": _error("the body is too large"),
        "421": _error("not this host"),
        "429": limited,
    }


def _json(schema: Schema, description: str = "OK") -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> dict[str, Any]:
    return _json({"$ref": "#/components/schemas/Error"}, description)


def _page(description: str) -> dict[str, Any]:
    return {"description": f"{description}, in HTML", "content": {"text/html": {}}}


def _picture(description: str, headers: dict[str, Schema]) -> dict[str, Any]:
    told = {name: {"required": True, "schema": schema} for name, schema in headers.items()}
    return {"description": description, "headers": told, "content": {"image/*": {}}}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schemas.TEXT}
