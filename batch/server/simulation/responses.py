"""The answers of the service: the two error envelopes, the vendor's texts, HTML pages.

An Answer is a value: handlers return it, faults cut or replace it, `http.response` sends it. Every text that the
service refuses a call with is defined here once; `VENDOR` names those that a fault may ask for. The 406 texts differ by their
wording only, as in the vendor's documentation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MISSING_KEY = "Missing Authorization or x-api-key in header"
WRONG_KEY = "Invalid API key"
CONTENT_TYPE = "Invalid Content-Type. Expected application/json"
INSUFFICIENT = "Insufficient credits. Please add credits to your account to continue"
SPEND_LIMIT = "Team spend limit reached. Ask your team admin to raise the limit"
RATE_LIMIT = "Rate limit exceeded. Please try again later"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `headers` holds everything but Date and Content-Length."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class RequestRefused(Exception):
    """The call is refused; `answer` is what the client gets."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def as_json(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return `payload` as JSON."""
    body = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(status, body, headers=tuple((headers or {}).items()))


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return the service's error envelope."""
    return as_json({"error": text}, status, headers)


def auth_refusal(text: str, status: int = 401, code: str = "unauthorized") -> Answer:
    """Return the envelope of the auth surface, which differs."""
    return as_json({"error": code, "error_description": text, "status_code": status}, status)


def page(status: int, title: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an HTML page, as proxies and the 405 of the service do."""
    heading = f"{status} {title}"
    body = f"<html>\r\n<head><title>{heading}</title></head>\r\n<body><center><h1>{heading}</h1></center></body>\r\n</html>\r\n"
    return Answer(status, body.encode(), "text/html; charset=utf-8", tuple((headers or {}).items()))


def rate_limited(reset: str | None) -> Answer:
    """Return the 429; `reset` is the text of its header, None leaves the header out."""
    headers = {"x-rate-limit-remaining": "0"}
    if reset is not None:
        headers["x-rate-limit-reset-at-utc"] = reset
    return refusal(429, RATE_LIMIT, headers)


def reset_text(at: float, style: str) -> str | None:
    """Return the instant `at` (epoch seconds) in one of the styles seen: iso_z, iso, space, epoch; none: None."""
    moment = datetime.fromtimestamp(at, UTC)
    if style == "iso_z":
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if style == "iso":
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
    if style == "space":
        return moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{at:.3f}" if style == "epoch" else None


VENDOR = {
    "malformed": refusal(400, "Malformed JSON body"),
    "missing_key": auth_refusal(MISSING_KEY),
    "wrong_key": auth_refusal(WRONG_KEY),
    "forbidden": refusal(403, "Your account does not have access to this model"),
    "unknown_model": refusal(404, "Model not found"),
    "not_found": refusal(404, "Request not found or expired"),
    "content_type": refusal(406, CONTENT_TYPE),
    "insufficient_credits": refusal(406, INSUFFICIENT),
    "parameter": refusal(406, "Invalid value for parameter: lora"),
    "spend_limit": refusal(406, SPEND_LIMIT),
    "retired": refusal(410, "This model has been retired and is no longer available"),
    "refused": refusal(422, "Parameter out of range: quality"),
    "internal": refusal(500, "Internal server error"),
    "bad_gateway": page(502, "Bad Gateway"),
    "unavailable": page(503, "Service Temporarily Unavailable"),
    "gateway_timeout": page(504, "Gateway Time-out"),
    "wrong_verb": page(405, "Method Not Allowed"),
}
