"""What to do about rows without an image: by the reason that the ledger has for them, and at the end of a run.

In ADVICE, DIR stands for the output folder.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from batch.core import error_classes
from batch.core.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_FIX = "Fix the rows in failures.csv, then: texbatch retry DIR"
_WAIT = (
    "It is not known whether it was accepted, so it is not sent again. See: texbatch resolve DIR --reconcile"
)
_AGAIN = "Nothing was billed. Run the same command again."

ADVICE = {
    error_classes.INVALID: f"These rows of the manifest cannot be used as they are; they were not sent. {_FIX}",
    error_classes.REFUSED: f"The service refuses these rows as they are; nothing was billed. {_FIX}",
    error_classes.BAD_INPUT: "An image cannot be used; nothing was billed. Replace it, or name another in failures.csv, then: texbatch "
    "retry DIR",
    error_classes.UPLOAD: "An image could not be uploaded; nothing was billed. Try again with: texbatch retry DIR",
    error_classes.JOB_FAILED: f"The service ran them and failed; failed jobs are not billed. {_FIX}",
    error_classes.SERVICE_ERROR: "The service failed each time; nothing was billed. Later: texbatch retry DIR",
    error_classes.NOT_DELIVERED: "No connection could be made; nothing was billed. Check the network, then: texbatch retry DIR",
    error_classes.EXPIRED: "The results were paid for and are gone, because the service keeps them an hour. "
    "Paying again: texbatch retry DIR",
    error_classes.UNUSABLE_IMAGE: "The result was paid for and is not an image. Paying again: texbatch retry DIR",
    error_classes.NO_IMAGE: "Paid, and its host has no image so far, nor does the history. Run the same command again: it is fetched at "
    "no cost, as soon as it is there.",
    error_classes.NOT_FETCHED: "Paid, and the image or the history was out of reach. Run the same command again: it is fetched at no "
    "cost.",
    error_classes.NO_ANSWER: _WAIT,
    error_classes.AMBIGUOUS_ANSWER: _WAIT,
    error_classes.NO_REQUEST_ID: _WAIT,
    error_classes.INTERRUPTED: _WAIT,
    error_classes.REPEATED_REQUEST_ID: _WAIT,
    error_classes.LOST_LEDGER: _WAIT,
    error_classes.NEVER_ARRIVES: "They never arrived, however often they were sent; nothing was billed. Later: texbatch retry DIR",
    error_classes.STOPPED: f"The run was stopped before them. {_AGAIN}",
}


def advice(error_class: str, folder: str) -> str:
    """Return what to do about rows with this error class; `folder` as a shell takes it."""
    return ADVICE.get(error_class, _FIX).replace("DIR", folder)


def advice_on(figures: Mapping[str, Any], out: Path, pending: str) -> Iterator[str]:
    """Yield what went wrong in a run, by its summary, and what to do about rows without an image.

    `pending` is the line about rows that are pending.
    """
    for error in figures["top_errors"]:
        yield f"{error['count']} x {error['error_class']}: {error['example']}"
    if figures["failed"] or figures["expired"]:
        yield f"Fix {out / 'failures.csv'}, then: texbatch retry {quote(str(out))}"
    if failed := figures.get("candidates", {}).get("failed"):
        yield (
            f"{counted(failed, 'candidate')} failed or expired: `--candidates` with `--retry-failed` sends those again that were not "
            "billed, and the others with `--yes` besides."
        )
    for unknown, noun in (
        (figures["unknown"], "row"),
        (figures.get("candidates", {}).get("unknown", 0), "candidate"),
    ):
        if unknown:
            yield (
                f"{counted(unknown, noun)} may have been accepted although no answer came: they are not sent "
                f"again, so that nothing is paid twice. See: texbatch resolve {quote(str(out))}"
            )
    if figures["pending"]:
        yield pending
