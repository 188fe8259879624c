"""The state machine of a paid job.

Rule 1: every transition is in TRANSITIONS; any other move raises IllegalMove and changes nothing.
Rule 2: `sending` is on disk before the POST leaves; found when a run starts, it was interrupted and becomes
        `unknown`, never `planned`: the POST may have been accepted.
Rule 3: a job returns to `planned` only when it certainly was not billed, or a person or the history says so.
        The one exception is `restart`, for the local service, where nothing is ever paid.
Rule 4: this file knows no HTTP and, save for one condition, no SQL.
"""

from __future__ import annotations

from enum import StrEnum

from batch.errors import IllegalMove


class State(StrEnum):
    """Where a job is."""

    PLANNED = "planned"
    SENDING = "sending"
    ACCEPTED = "accepted"
    COMPLETED = "completed"
    SAVED = "saved"
    FAILED = "failed"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"


class Event(StrEnum):
    """What happened to a job."""

    RESERVE = "reserve"  # the POST is about to leave
    SPOIL = "spoil"  # our own side cannot send it: a broken picture, a refused upload
    ACCEPT = "accept"  # the service gave a request id
    THROTTLE = "throttle"  # 429
    BOUNCE = "bounce"  # certainly not billed: the vendor's 500 envelope, or never delivered
    REFUSE = "refuse"  # the service refuses this row, or it bounced too often
    LOSE = "lose"  # nobody knows whether it was accepted
    COMPLETE = "complete"  # the job ran; its result is known
    FAIL = "fail"  # the job ran and failed, unbilled
    KEEP = "keep"  # the picture is on disk
    UNUSABLE = "unusable"  # paid, but what came is not the picture that was asked for
    EXPIRE = "expire"  # paid, and the result is gone
    FIND_RUNNING = "find_running"  # the history lists it, still at work
    FIND_DONE = "find_done"  # the history lists it, finished
    FIND_FAILED = "find_failed"  # the history lists it, failed
    ABSENT = "absent"  # the history proves that it never arrived
    GIVE_UP = "give_up"  # the history proves that it never arrived, once too often
    RESUBMIT = "resubmit"  # a person says: send it again
    ABANDON = "abandon"  # a person says: let it go
    ATTACH = "attach"  # a person names its request id
    RETRY = "retry"  # a person asks to pay for a failed or expired job again
    REFETCH = "refetch"  # the saved picture is gone from the folder
    RESTART = "restart"  # the local service was started anew and has forgotten it


_S, _E = State, Event

TRANSITIONS: dict[tuple[State, Event], State] = {
    (_S.PLANNED, _E.RESERVE): _S.SENDING,
    (_S.PLANNED, _E.SPOIL): _S.FAILED,
    (_S.SENDING, _E.ACCEPT): _S.ACCEPTED,
    (_S.SENDING, _E.THROTTLE): _S.PLANNED,
    (_S.SENDING, _E.BOUNCE): _S.PLANNED,
    (_S.SENDING, _E.REFUSE): _S.FAILED,
    (_S.SENDING, _E.LOSE): _S.UNKNOWN,
    (_S.ACCEPTED, _E.COMPLETE): _S.COMPLETED,
    (_S.ACCEPTED, _E.FAIL): _S.FAILED,
    (_S.ACCEPTED, _E.EXPIRE): _S.EXPIRED,
    (_S.COMPLETED, _E.KEEP): _S.SAVED,
    (_S.COMPLETED, _E.UNUSABLE): _S.FAILED,
    (_S.COMPLETED, _E.EXPIRE): _S.EXPIRED,
    (_S.UNKNOWN, _E.FIND_RUNNING): _S.ACCEPTED,
    (_S.UNKNOWN, _E.FIND_DONE): _S.COMPLETED,
    (_S.UNKNOWN, _E.FIND_FAILED): _S.FAILED,
    (_S.UNKNOWN, _E.ABSENT): _S.PLANNED,
    (_S.UNKNOWN, _E.GIVE_UP): _S.FAILED,
    (_S.UNKNOWN, _E.RESUBMIT): _S.PLANNED,
    (_S.UNKNOWN, _E.ABANDON): _S.ABANDONED,
    (_S.UNKNOWN, _E.ATTACH): _S.ACCEPTED,
    (_S.FAILED, _E.RETRY): _S.PLANNED,
    (_S.EXPIRED, _E.RETRY): _S.PLANNED,
    (_S.SAVED, _E.REFETCH): _S.COMPLETED,
    (_S.SENDING, _E.RESTART): _S.PLANNED,
    (_S.ACCEPTED, _E.RESTART): _S.PLANNED,
    (_S.COMPLETED, _E.RESTART): _S.PLANNED,
    (_S.SAVED, _E.RESTART): _S.PLANNED,
    (_S.UNKNOWN, _E.RESTART): _S.PLANNED,
}

IN_FLIGHT = (State.ACCEPTED, State.COMPLETED)
"""Paid, with the result still to be fetched: carried before anything new is sent."""

AT_RISK = (State.SENDING, State.UNKNOWN, *IN_FLIGHT)
"""Paid or perhaps paid, with no picture on disk."""

OPEN = "state <> 'saved'"
"""Said beside every question for jobs that are not saved: SQLite then reads the short index of those, not all jobs."""

REPORTED = {
    State.PLANNED: "pending",
    State.SENDING: "pending",
    State.ACCEPTED: "pending",
    State.COMPLETED: "pending",
}
"""The report's word for a state, where it differs from the state's own name."""


def step(state: State, event: Event) -> State:
    """Return the state that follows; raise IllegalMove when the table has no such transition."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalMove(f"a job that is {state} cannot {event}; nothing was changed") from None
