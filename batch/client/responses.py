"""What each answer of the service means for a submit and for a status or result GET, and why: the table `RULES`.

The first rule that fits an answer and applies to the call decides. The status code comes before what a body says. The
rule about money: only an answer that the service itself gave, and that says "not accepted", lets a submit be repeated;
what may have come from a gateway is `Unknown`.

What an answer may mean is a value (`Submission`, `StatusVerdict`). Amounts and times are read without guessing: what
cannot be read is None.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from batch.client.own_words import own_words, texts_in
from batch.core import error_classes
from batch.core.errors import ServiceError
from batch.core.models import Result
from batch.core.units import MICRO
from batch.core.visible import visible
from batch.pacing.limiter import Throttled

EXCERPT = 300  # characters of a foreign answer that go into a message
LONGEST = 4000
"""Characters of the service's reason for a failure: it goes into a cell of the reports, which no spreadsheet takes longer
than 32,767, and no CSV reader longer than 131,072."""

WRONG_KEY = "The key was not accepted (401). Check SEGMIND_API_KEY."
WRONG_ACCOUNT = "This account may not call the model."
UNKNOWN_MODEL = "The service does not know this model."
WRONG_VERB = "The service refuses the verb: a fault of texbatch, please report it."
RETIRED_MODEL = "The model is retired."
WRONG_CONTENT_TYPE = "The service refuses our Content-Type: a fault of texbatch, please report it."
NO_CREDITS = "The account has no credits left. Add credits, then run the same command."
SPEND_LIMIT_REACHED = "The team's spend limit is reached. Raise it, then run the same command."

REFUSED_STATUSES = (400, 401, 402, 403, 404, 405, 406, 410, 422)
"""The codes by which the service refuses a submit."""
REFUSED_IN_ITS_WORDS = (413, 414, 415, 431, 451)
"""Codes about the request itself, which are the service's own where they come in its envelope."""
MONEY = frozenset({"balance", "balances", "credit", "credits", "payment", "payments", "funds", "billing"})
QUOTA = frozenset({"quota", "quotas"})

RUNNING_STATUSES = frozenset({"QUEUED", "PROCESSING"})
MOST_DOLLARS = 1_000_000_000  # more than any balance, and small enough for the ledger's 64-bit integers


def _keep() -> None:
    """Keep the connection: the answer did not come on one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read whole: `body` is the parsed JSON or None, `text` the start of the answer as text.

    `data` is the answer as it came, `sent` the body of a submit. `disown` closes the connection it came on: its answers
    cannot be trusted.
    """

    status: int
    headers: Mapping[str, str]  # looked up by names in lower case
    body: Any
    text: str
    data: bytes = field(default=b"", repr=False, compare=False)
    sent: Mapping[str, Any] = field(default_factory=dict, repr=False)
    disown: Callable[[], None] = field(default=_keep, repr=False, compare=False)

    def text_of(self, name: str) -> str | None:
        """Return the text that the JSON body has under a name; None where it has none, or an empty one."""
        value = self.body.get(name) if isinstance(self.body, Mapping) else None
        return value if isinstance(value, str) and value else None

    @property
    def vendor(self) -> bool:
        """Whether this is exactly the vendor's own error envelope: a text under `error`, and nothing else.

        A gateway's JSON looks alike: Amazon's answers {"message": "Internal server error"}, Kong's the same way, Spring's
        {"timestamp": …, "status": 500, "error": "Internal Server Error", "path": …}.
        """
        return self.text_of("error") is not None and len(self.body) == 1

    @property
    def envelope(self) -> str | None:
        """The error text of a JSON answer, the service's or a gateway's, on one line; or None."""
        for name in ("error_description", "error", "message", "detail"):
            if text := self.text_of(name):
                return visible(text[:LONGEST])
        return None

    @property
    def reason(self) -> str:
        """The answer in one line, for messages."""
        said = self.envelope or visible(" ".join(self.text.split()))[:EXCERPT] or "an empty answer"
        return f"HTTP {self.status}: {said[:EXCERPT]}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service took the job; from here on it costs money."""

    request_id: str


@dataclass(frozen=True)
class _Reasoned:
    """A reason, for people, and the answer's status, None where there was no answer."""

    reason: str
    http_status: int | None


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """Certainly not accepted and not billed; may be sent again, a bounded number of times."""

    error_class: str
    reason: str
    http_status: int | None


class Refused(_Reasoned):
    """This row is refused; the others are not concerned."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Accepted or not, nobody knows; the job is never sent again without the user's order."""

    error_class: str
    reason: str
    http_status: int | None


class AccountRefused(_Reasoned):
    """The service refuses us as a whole; nothing was accepted, and no other submit would be."""


Submission = Accepted | Throttled | NotAccepted | Refused | Unknown | AccountRefused


@dataclass(frozen=True, slots=True)
class Running:
    """The job is queued or at work."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The job is done; its result can be asked for."""


class Failed(_Reasoned):
    """The service ran the job and it failed; not billed. Only as HTTP 422 is that the service's last word."""


class NotFound(_Reasoned):
    """The service has no record of this request: older than its hour, or never known."""


class Unauthorized(_Reasoned):
    """401 or 403 on a GET: no use in submitting more, but this job may still be fetched once the key works again."""


class Inconclusive(_Reasoned):
    """An answer that says nothing about the job; ask again."""


class Doubtful(_Reasoned):
    """An answer that contradicts what we know of the request: the history, asked by id, decides."""


StatusVerdict = (
    Running
    | Completed
    | Failed
    | NotFound
    | Throttled
    | Unauthorized
    | AccountRefused
    | Inconclusive
    | Doubtful
)


def read_result(reply: Reply) -> Result:
    """Read a COMPLETED result; raises ServiceError when it names no output.

    `images[0].url` is preferred and `output` the fallback: `images` may be missing, and with base64 the image is in
    `output`.
    """
    images = reply.body.get("images")
    for found in (images if isinstance(images, list) else None, reply.body.get("output")):
        first = found[0] if isinstance(found, list) and found else found
        url = first.get("url") if isinstance(first, Mapping) else first
        if isinstance(url, str) and url:
            break
    else:
        raise ServiceError("the service reports COMPLETED but names no output")
    metrics = reply.body.get("metrics")
    return Result(
        output=url,
        cost=micro_dollars(metrics.get("cost") if isinstance(metrics, Mapping) else None),
        queue_s=metric_s(reply, "queue_time"),
        inference_s=metric_s(reply, "inference_time"),
        total_s=metric_s(reply, "total_time"),
    )


def metric_s(reply: Reply, name: str) -> float | None:
    """Return a time among the metrics of a status or result in seconds; None where it is missing or unreadable."""
    metrics = reply.body.get("metrics") if isinstance(reply.body, Mapping) else None
    value = metrics.get(name) if isinstance(metrics, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e7 else None


def is_of_another_seed(reply: Reply, seed: object) -> bool:
    """Return whether a result names another seed than the one that was asked for; -1 asks for any."""
    named = reply.body.get("seed") if isinstance(reply.body, Mapping) else None
    if named is None or seed is None or seed == -1:
        return False
    try:  # a service may write 7 as 7.0 or "7"
        asked, given = Decimal(str(seed)), Decimal(str(named))
        whole = all(number == number.to_integral_value() and abs(number) < 2**63 for number in (asked, given))
    except (InvalidOperation, ValueError, OverflowError):
        return False
    return whole and asked not in {-1, given}


def read_throttle(reply: Reply) -> Throttled:
    """Read the headers of a 429: each may be missing or unreadable, and is None then."""
    try:
        retry_after = float(reply.headers.get("retry-after") or "")
    except ValueError:
        retry_after = math.nan
    return Throttled(
        reset_at=read_time(reply.headers.get("x-rate-limit-reset-at-utc")),
        date=read_time(reply.headers.get("date")),
        retry_after=retry_after if 0 <= retry_after < 86_400 else None,
    )


def micro_dollars(value: object, *, may_be_negative: bool = False) -> int | None:
    """Read dollars as the service writes them, in whole micro-dollars; never through a float's rounding.

    None where it is not an amount. Only a balance may be negative: the account owes something.
    """
    try:
        amount = Decimal(str(value))
        if not (-MOST_DOLLARS if may_be_negative else 0) <= amount < MOST_DOLLARS:
            return None
        return int((amount * MICRO).to_integral_value())
    except (InvalidOperation, ValueError):
        return None


def read_time(text: str | None) -> float | None:
    """Read a time of unpublished format as epoch seconds; None when it is not of a known format.

    Known: ISO 8601 with or without zone (UTC), with a space for the T, epoch seconds or milliseconds, an HTTP date.
    """
    text = (text or "").strip()
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        seconds = number / 1000 if number > 1e11 else number
        return seconds if 1e8 < seconds < 1e11 else None  # neither a plain count of seconds nor infinity
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except OverflowError:  # at either end of the calendar, where the moment has no date in UTC
        return None


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table: the answers it fits, why, and what they mean; None: the call's next rule decides."""

    when: Callable[[Reply], bool]
    why: str
    submit: Callable[[Reply], Submission] | None = None
    get: Callable[[Reply], StatusVerdict] | None = None


def classify_submit(reply: Reply, sent: Mapping[str, Any] | None = None) -> Submission:
    """Return what the answer to a submit means for the job that was sent; `sent` is its body."""
    reply = replace(reply, sent=sent or {})
    return next(rule.submit(reply) for rule in RULES if rule.submit is not None and rule.when(reply))


def classify_status(reply: Reply) -> StatusVerdict:
    """Return what the answer to a status or result GET means for the job."""
    return next(rule.get(reply) for rule in RULES if rule.get is not None and rule.when(reply))


def is_about_money(reply: Reply) -> bool:
    """Return whether the service refuses for want of money: 402, or a refusal that speaks of it.

    A limit of requests is called a quota too, but it comes as 429.
    """
    if reply.status == 402:
        return True
    if reply.status == 429:
        return not MONEY.isdisjoint(_own_words(reply))
    return _is_refusal(reply) and not (MONEY | QUOTA).isdisjoint(_own_words(reply))


def _own_words(reply: Reply) -> tuple[str, ...]:
    """Return what the service says itself, in lower case: words that it quotes from the row are not counted."""
    return own_words(texts_in(reply.body) or [reply.text], texts_in(reply.sent))


def _is_refusal(reply: Reply) -> bool:
    """Return whether an answer says that a submit was not accepted."""
    return reply.status in REFUSED_STATUSES or (reply.vendor and reply.status in {500, *REFUSED_IN_ITS_WORDS})


def _accepted(reply: Reply) -> Submission:
    request_id = reply.text_of("request_id")
    if request_id is not None and request_id.isprintable():
        return Accepted(request_id)
    return Unknown(
        error_classes.NO_REQUEST_ID, f"accepted without a request id ({reply.reason})", reply.status
    )


def _not_accepted(reply: Reply) -> Submission:
    return NotAccepted(error_classes.SERVICE_ERROR, reply.reason, reply.status)


def _refused(reply: Reply) -> Submission:
    return Refused(reply.reason, reply.status)


def _account_refused(text: str, reply: Reply) -> AccountRefused:
    return AccountRefused(f"{text} ({reply.reason})", reply.status)


def _unauthorized(text: str, reply: Reply) -> StatusVerdict:
    return Unauthorized(f"{text} ({reply.reason})", reply.status)


def _not_found(reply: Reply) -> StatusVerdict:
    return NotFound(reply.reason, reply.status)


RULES = (
    Rule(lambda r: 200 <= r.status < 300,
         "a job is accepted by its request id; without one it may be billed and cannot be asked for",
         submit=_accepted),
    Rule(lambda r: r.status == 200 and r.text_of("status") in RUNNING_STATUSES,
         "the two words for a job that has not ended",
         get=lambda _: Running()),
    Rule(lambda r: r.status == 200 and r.text_of("status") == "COMPLETED",
         "only this word is worth asking for a result",
         get=lambda _: Completed()),
    Rule(lambda r: r.status == 200 and r.text_of("status") == "FAILED",
         "a failed job is served as 422: what ran and is paid must not be sent again for a word in the wrong place",
         get=lambda r: Doubtful(f"{r.reason}: FAILED, though not as 422", r.status)),
    Rule(lambda r: _is_refusal(r) and {"spend", "limit"} <= set(_own_words(r)),
         "not billed; no other row could be paid either",
         submit=lambda r: _account_refused(SPEND_LIMIT_REACHED, r)),
    Rule(is_about_money,
         "not billed; no other row could be paid either, in whatever words and under whatever code that is said",
         submit=lambda r: _account_refused(NO_CREDITS, r)),
    Rule(lambda r: r.status == 429,
         "not billed; it is the account's limit, so all requests wait for its reset",
         submit=read_throttle, get=read_throttle),
    Rule(lambda r: r.status == 401,
         "not billed; no other submit would be taken, but a paid job can be fetched once the key works again",
         submit=lambda r: _account_refused(WRONG_KEY, r), get=lambda r: _unauthorized(WRONG_KEY, r)),
    Rule(lambda r: r.status == 403,
         "not billed; as 401, for the model",
         submit=lambda r: _account_refused(WRONG_ACCOUNT, r), get=lambda r: _unauthorized(WRONG_ACCOUNT, r)),
    Rule(lambda r: r.status == 404,
         "a submit names the model, a GET the request: its record is over, or was never known",
         submit=lambda r: _account_refused(UNKNOWN_MODEL, r), get=_not_found),
    Rule(lambda r: r.status == 405,
         "we alone choose the verb",
         submit=lambda r: _account_refused(WRONG_VERB, r), get=lambda r: _account_refused(WRONG_VERB, r)),
    Rule(lambda r: r.status == 410,
         "a retired model takes no job, and a record of it reads as one that is over",
         submit=lambda r: _account_refused(RETIRED_MODEL, r), get=_not_found),
    Rule(lambda r: r.status == 406 and {"content", "type"} <= set(_own_words(r)),
         "406 means four things, which only the text separates; this one is our fault, in every row",
         submit=lambda r: _account_refused(WRONG_CONTENT_TYPE, r)),
    Rule(lambda r: r.status == 422 and (r.text_of("status") == "FAILED" or r.vendor),
         "the job ran and failed, by its status word or the vendor's reason alone: not billed",
         get=lambda r: Failed(r.envelope or "the service gave no reason", r.status)),
    Rule(lambda r: r.status in {400, 406, 422},
         "malformed, a field missing, a parameter refused: not billed, and the next row may be right",
         submit=_refused),
    Rule(lambda r: r.status == 500 and r.vendor,
         'the vendor says "retry the submit"; after a parameter change it usually means a bad one, hence bounded',
         submit=_not_accepted),
    Rule(lambda r: r.status in REFUSED_IN_ITS_WORDS and r.vendor,
         "any other refusal of what was sent, in the service's own words: not accepted",
         submit=_refused),
    Rule(lambda _: True,
         "a gateway or the way there (408, 409, 425, 499, 5xx) cannot know whether the job was started; a GET is just asked again",
         submit=lambda r: Unknown(error_classes.AMBIGUOUS_ANSWER, r.reason, r.status),
         get=lambda r: Inconclusive(r.reason, r.status)),
)  # fmt: skip
"""The errors that the service documents, and what else was seen or may come from a gateway, line by line."""
