"""What to do about rows without a picture, by the reason the ledger has for them. DIR stands for the output folder."""

from __future__ import annotations

_MEND = "Mend the rows in failures.csv, then: texbatch retry DIR"
_WAIT = "Nobody knows whether it was accepted, so it is not sent again. See: texbatch resolve DIR --reconcile"
_AGAIN = "Nothing was billed. Run the same command again."

ADVICE = {
    "refused": f"The service refuses these rows as they are; nothing was billed. {_MEND}",
    "bad_input": "A picture cannot be used; nothing was billed. Put a good one in its place, or name another in "
    "failures.csv, then: texbatch retry DIR",
    "upload": "A picture could not be uploaded; nothing was billed. Try again with: texbatch retry DIR",
    "job_failed": f"The service ran them and failed; failed jobs are not billed. {_MEND}",
    "service_error": "The service failed each time; nothing was billed. Later: texbatch retry DIR",
    "not_delivered": "No connection could be made; nothing was billed. Check the network, then: texbatch retry DIR",
    "expired": "The results were paid for and are gone, for the service keeps them an hour. "
    "Paying again: texbatch retry DIR",
    "unusable_picture": "What came was paid for and is no picture. Paying again: texbatch retry DIR",
    "no_answer": _WAIT,
    "ambiguous_answer": _WAIT,
    "no_request_id": _WAIT,
    "interrupted": _WAIT,
    "repeated_request_id": _WAIT,
    "never_arrives": "They never arrived, however often they were sent; nothing was billed. Later: texbatch retry DIR",
    "stopped": f"The run was stopped before them. {_AGAIN}",
}


def advice(error_class: str, folder: str) -> str:
    """Return what to do about rows with this error class; `folder` as a shell takes it."""
    return ADVICE.get(error_class, _MEND).replace("DIR", folder)
