"""The state machine of a paid job.

Rule 1: every transition is in TRANSITIONS; any other event raises InvalidTransition and changes nothing.
Rule 2: `sending` is on disk before the POST leaves; found when a run starts, it was interrupted and becomes
        `unknown`, never `planned`: the POST may have been accepted.
Rule 3: a job returns to `planned` only when it certainly was not billed, or a person or the history says so.
        The one exception is `restart`, for the local service, where nothing is ever paid.
Rule 4: once saved, never failed. Only `remake`, which a person asks for, leads away from `saved`; a job that is remade
        goes back to `saved`, with what was known of its earlier image, wherever the table says planned, failed,
        expired or abandoned.
Rule 5: this file knows no HTTP, and of SQL only the two conditions that every query shares: OPEN and `paid`.
"""

from __future__ import annotations

from enum import StrEnum

from batch.core.errors import InvalidTransition


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
    SPOIL = "spoil"  # our own side cannot send it: a broken image, a refused upload
    ACCEPT = "accept"  # the service gave a request id
    THROTTLE = "throttle"  # 429
    BOUNCE = "bounce"  # certainly not billed: the vendor's 500, not delivered, or the account is refused
    REFUSE = "refuse"  # the service refuses this row, or it bounced too often
    LOSE = "lose"  # nobody knows whether it was accepted
    COMPLETE = "complete"  # the job ran; its result is known
    FAIL = "fail"  # the job ran and failed, unbilled
    KEEP = "keep"  # the image is on disk
    UNUSABLE = "unusable"  # paid, but what came is not the image that was asked for
    EXPIRE = "expire"  # paid, and the result is gone
    FIND_RUNNING = "find_running"  # the history lists it, still at work
    FIND_DONE = "find_done"  # the history lists it, finished
    FIND_FAILED = "find_failed"  # the history lists it, failed
    ABSENT = "absent"  # the history proves that it never arrived
    GIVE_UP = "give_up"  # the history proves that it never arrived, once too often
    RESUBMIT = "resubmit"  # a person says: send it again
    ABANDON = "abandon"  # a person says: let it go
    ATTACH = "attach"  # a person names its request id
    RETRY = "retry"  # a failed or expired job is planned again: by `retry`, --retry-failed; a paid one when confirmed
    REMAKE = "remake"  # a person pays again for a saved image that is nowhere; the POST is about to leave
    RESTART = "restart"  # the local service was started again and has forgotten it


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
    (_S.EXPIRED, _E.FIND_RUNNING): _S.ACCEPTED,
    (_S.EXPIRED, _E.FIND_DONE): _S.COMPLETED,
    (_S.EXPIRED, _E.FIND_FAILED): _S.FAILED,
    (_S.SAVED, _E.KEEP): _S.SAVED,  # fetched again, with other bytes
    (_S.SAVED, _E.SPOIL): _S.SAVED,  # cannot be sent again
    (_S.SAVED, _E.REMAKE): _S.SENDING,
    (_S.SENDING, _E.RESTART): _S.PLANNED,
    (_S.ACCEPTED, _E.RESTART): _S.PLANNED,
    (_S.COMPLETED, _E.RESTART): _S.PLANNED,
    (_S.UNKNOWN, _E.RESTART): _S.PLANNED,
}

IN_FLIGHT = (State.ACCEPTED, State.COMPLETED)
"""Paid, with the result still to be fetched: processed before anything new is sent."""

AT_RISK = (State.SENDING, State.UNKNOWN, *IN_FLIGHT)
"""Paid or perhaps paid, with no image on disk."""

FORGETS_UPLOADS = frozenset({Event.FAIL, Event.REFUSE, Event.FIND_FAILED})
"""Events by which the service called the images bad: perhaps it no longer has what was uploaded."""

OPEN = "state <> 'saved'"
"""Part of every query for jobs that are not saved: SQLite then reads the short index of those, not all jobs."""

REPORTED = {
    State.PLANNED: "pending",
    State.SENDING: "pending",
    State.ACCEPTED: "pending",
    State.COMPLETED: "pending",
}
"""The report's word for a state, where it differs from the state's own name."""


_STATES = frozenset(State)
_WITHOUT_IMAGE = frozenset({State.PLANNED, State.FAILED, State.EXPIRED, State.ABANDONED})


def next_state(state: str, event: Event, *, remade: bool = False) -> State:
    """Return the state that follows; raise InvalidTransition when the table has no such transition.

    `remade` says that the job was saved before and is being made again: then it goes back to saved.
    """
    following = TRANSITIONS.get((State(state), event)) if state in _STATES else None
    if following is None:
        raise InvalidTransition(f"a job that is {state} cannot {event}; nothing was changed")
    return State.SAVED if remade and following in _WITHOUT_IMAGE else following


_PERHAPS_PAID = ",".join(f"'{state}'" for state in (*AT_RISK, State.SAVED, State.EXPIRED, State.ABANDONED))
_BILLED = "'complete', 'find_done', 'unusable', 'expire'"


def paid(job: str) -> str:
    """Return the SQL condition that a job (an alias of `jobs`) was paid for, or perhaps was.

    A job that ran to its end was billed, whatever became of it then; what a restarted local service forgot was not.
    """
    last = f"(SELECT max(seq) FROM events WHERE events.job = {job}.job AND event IN"
    return (
        f"({job}.state IN ({_PERHAPS_PAID}) OR {job}.cost IS NOT NULL "
        f"OR coalesce({last} ({_BILLED})), -1) > coalesce({last} ('restart')), 0))"
    )
