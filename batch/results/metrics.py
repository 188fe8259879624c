"""The figures of a folder as Prometheus reads them: the textfile collector's exposition format, version 0.0.4.

Names end in their unit. What a run counts anew each time is a gauge; only the money of the folder, which never goes
down, is a counter. A figure that is not known is left out, never zero: so an alarm on the age of the last success, or on
an exit code, cannot be calmed by a run that has not ended.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from batch.config import LOCAL_SERVICE
from batch.errors import FolderError
from batch.ledger import bill
from batch.ledger.pulse import last_success, pulse
from batch.results.keep import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.ledger.store import Ledger

STATUSES = ("saved", "failed", "expired", "unknown", "pending", "abandoned")

Sample = tuple["Mapping[str, str]", float | None]
Family = tuple[str, str, str, list[Sample]]


def exposition(ledger: Ledger, folder: Path) -> str:
    """Return every figure of a folder; all samples carry its path as the label `folder`."""
    where = {"folder": str(folder.resolve())}
    lines: list[str] = []
    for name, kind, meaning, samples in _families(ledger):
        told = [(labels, value) for labels, value in samples if value is not None]
        if told:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(where | dict(labels))} {_number(value)}" for labels, value in told]
    return "\n".join(lines) + "\n"


def write_metrics(ledger: Ledger, folder: Path, path: Path) -> None:
    """Write the figures whole or not at all, readable by the collector; raises FolderError when that cannot be."""
    try:
        write_whole(path, exposition(ledger, folder).encode(), 0o644)
    except OSError as exc:
        raise FolderError(f"--metrics-file {path}: cannot be written ({exc.strerror}).") from exc


def _families(ledger: Ledger) -> Iterator[Family]:
    total, now = bill.bill(ledger), pulse(ledger)
    run = now.run or {}
    simulated = str(ledger.meta("service") == LOCAL_SERVICE).lower()
    version = {"version": metadata.version("texbatch")}
    yield "texbatch_build_info", "gauge", "The version of texbatch that wrote this; always 1.", [(version, 1)]
    rows: list[Sample] = [({"status": status}, total.statuses.get(status, 0)) for status in STATUSES]
    yield "texbatch_rows", "gauge", "Rows of the current manifest by status.", rows
    errors: list[Sample] = [({"error_class": name}, count) for name, count, _ in total.errors]
    yield "texbatch_rows_with_error", "gauge", "Rows without a picture by class of error.", errors
    yield (
        "texbatch_jobs_in_flight",
        "gauge",
        "Jobs accepted by the service and not saved yet.",
        [({}, now.in_flight)],
    )
    spent: list[Sample] = [({"simulated": simulated}, total.spent / bill.MICRO)]
    yield "texbatch_spent_usd_total", "counter", "US dollars spent in this folder since it was made.", spent
    risk = None if total.at_risk is None else total.at_risk / bill.MICRO
    yield (
        "texbatch_at_risk_usd",
        "gauge",
        "US dollars paid or perhaps paid for work without a picture.",
        [({}, risk)],
    )
    for name, meaning, value in (
        ("run_start_timestamp_seconds", "When the last run began, Unix time.", run.get("started_at")),
        ("run_end_timestamp_seconds", "When the last run ended, Unix time; absent while one goes on.", run.get("ended_at")),
        ("run_exit_code", "Exit code of the last run; absent while one goes on.", run.get("exit_code")),
        ("run_pictures_per_minute", "Pictures saved per minute over the last five minutes of the run.", now.per_minute),
        ("run_status_calls", "Status requests of the last run; counted at its end.", run.get("status_calls")),
        ("run_http_429_answers", "Answers 429 to the last run; counted at its end.", run.get("http_429")),
        ("last_success_timestamp_seconds", "When a run last ended with every row saved, Unix time.", last_success(ledger)),
    ):  # fmt: skip
        yield f"texbatch_{name}", "gauge", meaning, [({}, value)]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(value)
