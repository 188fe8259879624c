"""The service's error table: what each answer means for a submit and for a status or result GET, and why.

The first line that fits an answer and speaks of the call decides. What decides about money: only an answer that the
service itself gave, and that says "not accepted", lets a submit be repeated; what a gateway may have said is `Unknown`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from batch.remote.verdicts import (
    RUNNING,
    Accepted,
    Bounced,
    Completed,
    Denied,
    Failed,
    Gone,
    Refused,
    Reply,
    Running,
    StatusVerdict,
    Stop,
    Submission,
    Trouble,
    Unknown,
    read_throttle,
)

When = Callable[[Reply], bool]
OnSubmit = Callable[[Reply], Submission]
OnGet = Callable[[Reply], StatusVerdict]

KEY = "The API key is missing or not accepted. Check SEGMIND_API_KEY."
ACCOUNT = "This account may not call the model."
MODEL = "The service does not know this model."
VERB = "The service refuses the verb: a fault of texbatch, please report it."
RETIRED = "The model is retired."
CONTENT_TYPE = "The service refuses our Content-Type: a fault of texbatch, please report it."
CREDITS = "The account has no credits left. Add credits, then run the same command."
SPEND_LIMIT = "The team's spend limit is reached. Raise it, then run the same command."


@dataclass(frozen=True, slots=True)
class Line:
    """One line: the answers it is about, why they are judged so, and what they mean; None: read on for that call."""

    when: When
    why: str
    submit: OnSubmit | None = None
    get: OnGet | None = None


def judge_submit(reply: Reply) -> Submission:
    """Say what the answer to a submit means for the job that was sent."""
    return next(line.submit(reply) for line in TABLE if line.submit is not None and line.when(reply))


def judge_status(reply: Reply) -> StatusVerdict:
    """Say what the answer to a status or result GET means for the job."""
    return next(line.get(reply) for line in TABLE if line.get is not None and line.when(reply))


# -- which answers ----------------------------------------------------------------------------------------------------


def _is(*statuses: int) -> When:
    return lambda reply: reply.status in statuses


def _own(first: int, last: int) -> When:
    """Fit the service's own error of a status from … to."""
    return lambda reply: first <= reply.status <= last and reply.vendor


def _says(*words: str) -> When:
    return lambda reply: reply.status == 406 and all(word in _told(reply) for word in words)


def _told(reply: Reply) -> str:
    return (reply.envelope or reply.text).casefold().replace("content type", "content-type")


def _word(reply: Reply) -> str | None:
    word = reply.body.get("status") if isinstance(reply.body, Mapping) else None
    return word if isinstance(word, str) else None


# -- what they mean ---------------------------------------------------------------------------------------------------


def _accepted(reply: Reply) -> Submission:
    request_id = reply.body.get("request_id") if isinstance(reply.body, Mapping) else None
    if isinstance(request_id, str) and request_id:
        return Accepted(request_id)
    return Unknown("no_request_id", f"accepted without a request id ({reply.reason})", reply.status)


def _refused(reply: Reply) -> Submission:
    return Refused(reply.reason, reply.status)


def _bounced(reply: Reply) -> Submission:
    return Bounced("service_error", reply.reason, reply.status)


def _unknown(reply: Reply) -> Submission:
    return Unknown("ambiguous_answer", reply.reason, reply.status)


def _stop(text: str) -> Callable[[Reply], Stop]:
    return lambda reply: Stop(f"{text} ({reply.reason})", reply.status)


def _denied(text: str) -> OnGet:
    return lambda reply: Denied(f"{text} ({reply.reason})", reply.status)


def _failed(reply: Reply) -> StatusVerdict:
    return Failed(reply.envelope or "the service gave no reason", reply.status)


def _gone(reply: Reply) -> StatusVerdict:
    return Gone(reply.reason, reply.status)


def _trouble(reply: Reply) -> StatusVerdict:
    return Trouble(reply.reason, reply.status)


TABLE = (
    Line(lambda reply: _word(reply) == "FAILED",
         "the job's own word decides: it is served as 422, which alone may mean less",
         get=_failed),
    Line(lambda reply: 200 <= reply.status < 300,
         "a job is accepted by its request id; without one it may be billed and nobody can ask for it",
         submit=_accepted),
    Line(lambda reply: reply.status == 200 and _word(reply) in RUNNING,
         "the two words for a job that has not ended",
         get=lambda _: Running()),
    Line(lambda reply: reply.status == 200 and _word(reply) == "COMPLETED",
         "only this word is worth asking for a result",
         get=lambda _: Completed()),
    Line(_is(429), "not billed; it is the account's limit, so everybody waits for its reset",
         submit=read_throttle, get=read_throttle),
    Line(_is(401), "not billed; no other submit would be taken, but a paid job can be fetched once the key works again",
         submit=_stop(KEY), get=_denied(KEY)),
    Line(_is(403), "not billed; as 401, for the model",
         submit=_stop(ACCOUNT), get=_denied(ACCOUNT)),
    Line(_is(404), "a submit names the model, a GET the request: its record is over, or was never known",
         submit=_stop(MODEL), get=_gone),
    Line(_is(405), "we alone choose the verb",
         submit=_stop(VERB), get=_stop(VERB)),
    Line(_is(410), "a retired model takes no job, and a record of it reads as one that is over",
         submit=_stop(RETIRED), get=_gone),
    Line(_says("content-type"), "406 is four things, told apart by the text; this one is our fault, in every row",
         submit=_stop(CONTENT_TYPE)),
    Line(_says("credit"), "not billed; no other row could be paid either",
         submit=_stop(CREDITS)),
    Line(_says("spend", "limit"), "not billed; no other row could be paid either",
         submit=_stop(SPEND_LIMIT)),
    Line(_is(406), "what is left of 406 is a parameter's value, so it is this row alone",
         submit=_refused),
    Line(_own(422, 422), "a parameter refused, or on a GET a job that ran and failed: not billed",
         submit=_refused, get=_failed),
    Line(_is(400, 422), "malformed or a field missing: not billed, and the next row may be right",
         submit=_refused),
    Line(_own(500, 500), 'the vendor says "retry the submit"; after a parameter change it usually means a bad one, hence bounded',
         submit=_bounced),
    Line(_own(400, 499), "any other refusal in the service's own words: not accepted",
         submit=_refused),
    Line(lambda _: True, "a gateway cannot know whether the job behind it was started; a GET is just asked again",
         submit=_unknown, get=_trouble),
)  # fmt: skip
"""API.md's errors, line by line."""
