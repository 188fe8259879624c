"""What is written down of an answer: from what the service said to an event of the ledger and its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.ledger.states import Event
from batch.remote import verdicts

if TYPE_CHECKING:
    from batch.model import Result
    from batch.remote.history import Entry

Move = tuple[Event, dict[str, Any]]


def is_url(output: str) -> bool:
    """Tell a result's URL from the picture itself in base64."""
    return output.startswith(("http://", "https://"))


def submitted(reply: verdicts.Submission, *, last: bool) -> Move:
    """Say what a submit's answer does to the job; `last` means that no further try is left."""
    match reply:
        case verdicts.Accepted(request_id):
            return Event.ACCEPT, {
                "request_id": request_id,
                "http_status": 200,
                "error": None,
                "error_class": None,
            }
        case verdicts.Throttled():
            return Event.THROTTLE, {"http_status": 429}
        case verdicts.Bounced(error_class, reason, http_status):
            event = Event.REFUSE if last and error_class != verdicts.NOT_DELIVERED else Event.BOUNCE
            return event, {"error_class": error_class, "error": reason, "http_status": http_status}
        case verdicts.Refused(reason, http_status):
            return Event.REFUSE, {"error_class": "refused", "error": reason, "http_status": http_status}
        case verdicts.Unknown(error_class, reason, http_status):
            return Event.LOSE, {"error_class": error_class, "error": reason, "http_status": http_status}
        case verdicts.Stop(reason, http_status):
            return Event.BOUNCE, {"error_class": "stopped", "error": reason, "http_status": http_status}


def completed(result: Result, now: float) -> Move:
    """Say what a result does. A base64 picture itself is not written down: it can be asked for again."""
    return Event.COMPLETE, {
        "completed_at": now,
        "output_url": result.output if is_url(result.output) else None,
        "cost": result.cost,
        "queue_s": result.queue_s,
        "inference_s": result.inference_s,
        "total_s": result.total_s,
        "error": None,
        "error_class": None,
    }


def found(entry: Entry, submitted_at: float) -> Move:
    """Say what the history's word on a lost submit does: `submitted_at` is when we sent it, our clock."""
    facts: dict[str, Any] = {"request_id": entry.request_id, "submitted_at": submitted_at}
    if entry.status == "FAILED":
        return Event.FIND_FAILED, facts | {
            "error_class": "job_failed",
            "error": entry.error or "no reason given",
        }
    facts |= {"error": None, "error_class": None}
    if entry.status == "COMPLETED":
        return Event.FIND_DONE, facts | {"output_url": entry.url, "cost": entry.cost}
    return Event.FIND_RUNNING, facts
