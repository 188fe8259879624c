"""report.csv, failures.csv, decisions.csv and summary.json: written whole, in one pass over the ledger, in manifest order.

report.csv and failures.csv are valid manifests, with the columns of the folder's manifest in its order and under its headings
(see `report_columns`): local image paths are relative to the folder, expanded text has its braces doubled,
and cells and column names that a spreadsheet would run as a formula are escaped. They hold prompts and URLs, so only
their user can read them. `read_report` gives one as a DataFrame.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch.core.csv_format import (
    ADDED_LATER,
    OUTCOME_COLUMNS,
    OUTCOMES,
    OWN_PREFIX,
    TIMESTAMP,
    csv_lines,
    double_braces,
    escape_formula,
    unescape_formula,
)
from batch.core.errors import FolderError
from batch.core.parameters import IMAGE_PARAMETERS, PARAMETERS
from batch.core.units import MICRO, iso
from batch.ledger import decisions, runs, totals
from batch.manifest.columns import ID
from batch.manifest.readers import own_report
from batch.output.decision_file import SHOWN_COLUMNS, decision_columns, hash_of, is_edited, write_decisions
from batch.output.files import IMAGES, atomic_file, atomic_write
from batch.output.groups import grouped
from batch.output.known_headings import headings_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from batch.ledger.ledger import Ledger
    from batch.ledger.totals import ReportRow
    from batch.output.folder import OutputFolder

CHUNK = 2000  # rows in memory at a time

_ROOM = "Make room or fix it, then run again: the old file is as it was."

STATUSES = ("saved", "failed", "expired", "unknown", "pending", "abandoned")
FAILURES = frozenset({"failed", "expired"})

TEMPLATED = tuple(parameter.name for parameter in PARAMETERS if parameter.kind in {"text", "image", "url"})
"""Parameters that a manifest may write as templates, besides the id."""

_RUN_FIGURES = (
    "started_at", "ended_at", "seconds", "rows_per_minute", "status_calls", "http_429", "exit_code",
)  # fmt: skip
"""The last run's figures in summary.json, None where there was no run."""

_KINDS = {"int": "Int64", "bool": "boolean"}


@dataclass(frozen=True, slots=True)
class ReportColumns:
    """The columns of a folder's report: the manifest's `own` ones without the id, and each outcome's column by its name.

    `keys` has every column in order, by what is written above it: the parameter or `id` that it is, else the same again.
    """

    own: tuple[str, ...]
    outcomes: Mapping[str, str]
    keys: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """What is written above the columns, not escaped yet."""
        return tuple(self.keys)

    @property
    def id_heading(self) -> str:
        """What is written above the ids."""
        return next(name for name, key in self.keys.items() if key == ID)

    def cells(self, row: ReportRow, base: Path) -> dict[str, Any]:
        """Return a row's cells as a report in `base` has them, by what is written above them."""
        outcome = row.outcome
        cost = outcome.get("cost")
        known = dict(outcome) | {
            "status": row.status,
            "cost": None if cost is None else f"{cost // MICRO}.{cost % MICRO:06d}",
            "output_path": f"{IMAGES}/{row.output}" if row.output and row.status == "saved" else None,
            "output_sha256": outcome["sha256"],
            "output_state": row.output_state,
            "manifest_seed": None if row.manifest_seed == row.parameters["seed"] else row.manifest_seed,
            "submitted_at": iso(outcome.get("submitted_at")),
            "completed_at": iso(outcome.get("completed_at")),
        }
        known |= zip(SHOWN_COLUMNS, astuple(row.decision), strict=True)
        cells: dict[str, Any] = {ID: double_braces(row.id)}
        cells |= {name: row.cells.get(name, "") for name in self.own}
        for name, value in row.parameters.items():  # as a manifest in `base` writes them
            if row.as_given:
                text = str(value)
                is_path = name in IMAGE_PARAMETERS and Path(text).is_absolute()
                cells[name] = os.path.relpath(text, base) if is_path else text
            elif isinstance(value, bool):
                cells[name] = str(value).lower()
            elif isinstance(value, str) and name in TEMPLATED:
                path = row.files.get(value)
                cells[name] = double_braces(value if path is None else os.path.relpath(path, base))
            else:
                cells[name] = value
        cells |= {column: known.get(name) for name, column in self.outcomes.items()}
        return {
            name: escape_formula(cell) if isinstance(cell := cells[key], str) else cell
            for name, key in self.keys.items()
        }


def report_columns(ledger: Ledger) -> ReportColumns:
    """Return the columns of the report on a folder.

    First those of the manifest, in its order and under its headings, parameters and others as they are mixed there; `id` before
    them where no heading is it. Then the other parameters, then the outcomes; an outcome added later whose name the
    manifest has is prefixed. The report on a folder of an earlier version keeps that one's order: id, own columns, parameters.
    """
    own = tuple(name for name in totals.columns(ledger) if name != ID)
    headings = totals.headings(ledger)
    keys = {name: name for name in own} if headings is None else {name: key or name for name, key in headings}
    if ID not in keys.values():
        keys = {ID: ID} | keys
    keys |= {
        parameter.name: parameter.name for parameter in PARAMETERS if parameter.name not in keys.values()
    }
    outcomes = {
        name: OWN_PREFIX + name if name in ADDED_LATER and name in keys else name for name in OUTCOME_COLUMNS
    }
    return ReportColumns(own, outcomes, keys | {name: name for name in outcomes.values()})


def write_report(ledger: Ledger, folder: OutputFolder) -> bool:
    """Write report.csv, failures.csv, decisions.csv and summary.json; return whether decisions.csv was left as it is.

    That is where it has edits that were not taken in. Without a ledger that can be written it is left too: nothing could
    remember what was written. Images count as present, moved or changed as `check_images` found them last on this ledger.
    Raises FolderError when the disk refuses, leaving the old files.
    """
    columns = report_columns(ledger)
    seen = hash_of(folder.decisions)
    edited, decided = is_edited(ledger, folder), decisions.last(ledger)
    rows = totals.report_rows(ledger)
    try:
        with ExitStack() as stack:
            report = stack.enter_context(atomic_file(folder.report, 0o600))
            failures = stack.enter_context(atomic_file(folder.failures, 0o600))
            listed, digest = None, hashlib.sha256()
            if ledger.writable and not edited:
                listed = stack.enter_context(
                    # a person may save it at any moment
                    atomic_file(
                        folder.decisions, 0o600, may_replace=lambda: hash_of(folder.decisions) == seen
                    )
                )
                head = csv_lines([decision_columns(escape_formula(columns.id_heading))])
                listed.write(head)
                digest.update(head)
            header = csv_lines([[escape_formula(name) for name in columns.names]])
            report.write(header)
            failures.write(header)
            while chunk := list(islice(rows, CHUNK)):
                cells = [columns.cells(row, folder.path) for row in chunk]
                written = [[each[name] for name in columns.names] for each in cells]
                failed = [line for row, line in zip(chunk, written, strict=True) if row.status in FAILURES]
                report.write(csv_lines(written))
                failures.write(csv_lines(failed))
                if listed is not None:
                    write_decisions(listed, chunk, digest)
            if listed is not None and decided:
                # Before it takes its place: a file that is not known would count as edited.
                with ledger.atomic():
                    decisions.note_file(ledger, digest.hexdigest())
    except OSError as exc:
        files = f"{folder.report}, {folder.failures.name} or {folder.decisions.name}"
        raise FolderError(f"{files}: cannot be written ({exc.strerror}). {_ROOM}") from exc
    figures = json.dumps(summary(ledger, ledger.clock, grouped(ledger)), indent=2, ensure_ascii=False)
    try:
        atomic_write(folder.summary, f"{figures}\n".encode(), 0o600)
    except OSError as exc:
        raise FolderError(f"{folder.summary}: cannot be written ({exc.strerror}). {_ROOM}") from exc
    return edited or (listed is not None and hash_of(folder.decisions) != digest.hexdigest())


def read_report(place: Path | str) -> pd.DataFrame:
    """Read the report of an output folder, or a report.csv or failures.csv, as a DataFrame of one row per manifest row.

    The columns are the file's, in its order and under its headings: those of the manifest, the other effective parameters, the
    outcome. Which heading is which parameter is known from the ledger beside the file, without one from how it is spelt. Texts are
    as the manifest gave them, without the escapes that the CSV file needs; an empty cell is <NA>.

    string     id, the manifest's own columns, the parameters but those below, status (saved, failed, expired, unknown,
               pending, abandoned), error_class, error, request_id, output_path and local image_1 … image_3 (relative to
               the folder), output_sha256, payload_key, run_id, decision (accepted, rejected, cleared), decision_reason,
               decision_note, decided_by, output_state (present, moved, changed; saved rows only)
    Int64      seed, quality, http_status, attempts, width and height (pixels), manifest_seed (where the manifest's row asks
               for another seed than the one that the image was made with)
    Float64    queue_s, inference_s, total_s (seconds); cost (US dollars)
    boolean    base64
    datetime   submitted_at, completed_at, decided_at (UTC, to the millisecond)

    Raises FolderError when the report is missing or cannot be read.
    """
    import pandas as pd  # noqa: PLC0415  start-up time

    path = Path(place)
    if path.is_dir():
        path /= "report.csv"
    try:
        header = tuple(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns)
        keys = dict(zip(header, own_report.headings(header, {}, headings_beside(path)).names, strict=True))
        types = _types(keys)
        as_read = {name: "string" if kind == TIMESTAMP else kind for name, kind in types.items()}
        frame = pd.read_csv(path, dtype=as_read, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
        if "payload_key" not in frame:
            raise FolderError(
                f"{path}: is not a report of texbatch. Give an output folder or its report.csv."
            )
        for name in frame.columns:
            if as_read[name] == "string":
                frame[name] = frame[name].map(unescape_formula, na_action="ignore").astype("string")
        for name in (name for name, key in keys.items() if key == ID or key in TEMPLATED):
            frame[name] = frame[name].str.replace("{{", "{").str.replace("}}", "}")
        for name in (name for name, kind in types.items() if kind == TIMESTAMP):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").astype(TIMESTAMP)
    except FileNotFoundError as exc:
        raise FolderError(
            f"{path}: there is no report. A run writes it when it ends, and so does `texbatch report DIR`."
        ) from exc
    except (OSError, ValueError, KeyError) as exc:
        raise FolderError(
            f"{path}: cannot be read as a report ({exc}). Write it again: texbatch report DIR"
        ) from exc
    return frame.rename(columns=unescape_formula)


def _types(keys: Mapping[str, str]) -> dict[str, str]:
    """Return pandas' type of each column of a report, which `keys` has with the parameters that some of them are.

    An outcome's column is the prefixed one where there is one.
    """
    kinds = {parameter.name: _KINDS.get(parameter.kind, "string") for parameter in PARAMETERS}
    types = {name: kinds.get(key, "string") for name, key in keys.items()}
    for name, kind, later in OUTCOMES:
        column = OWN_PREFIX + name if later and OWN_PREFIX + name in types else name
        if column in types or not later:
            types[column] = kind
    return types


def summary(
    ledger: Ledger, now: Callable[[], float], groups: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the folder in figures: rows by status, money in USD, and the last run's times and calls.

    Money is the folder's, over its whole life: an exact bill whatever was interrupted; `run_spent_usd` is the last run's
    part of it. `at_risk_usd` is an estimate. `saved_by_resume_usd` is the price of work that was done before the last run
    began and was not sent again. `estimated_usd` is there only when a part of `spent_usd` is our estimate, because the
    service named no cost; `candidates` only when further images of rows were made, failed or became unknown;
    `cost_per_accepted_usd`, what was spent for each accepted image, only once one is accepted; `groups`, as `grouped` returns them, only where
    they were asked for.
    """
    total, run = totals.folder_totals(ledger), runs.last_run(ledger)
    figures: dict[str, Any] = {"rows": total.rows}
    figures |= {status: total.statuses.get(status, 0) for status in STATUSES}
    figures |= {"spent_usd": total.spent / MICRO, "run_spent_usd": total.run_spent / MICRO}
    if total.estimated:
        figures["estimated_usd"] = total.estimated / MICRO
    figures |= {
        "at_risk_usd": total.at_risk / MICRO,
        "saved_by_resume_usd": (run["already_done"] if run else 0) / MICRO,
        "simulated": ledger.is_local(),
    }
    figures |= dict.fromkeys(_RUN_FIGURES)
    if run is not None:
        seconds = max((run["ended_at"] or now()) - run["started_at"], 0.0)
        figures |= {name: run[name] for name in ("status_calls", "http_429", "exit_code")} | {
            "started_at": iso(run["started_at"]),
            "ended_at": iso(run["ended_at"]) or None,
            "seconds": round(seconds, 3),
            "rows_per_minute": round(run["rows_saved"] * 60 / seconds, 2) if seconds else 0.0,
        }
    figures["top_errors"] = [
        {"error_class": error_class, "count": count, "example": example}
        for error_class, count, example in total.errors
    ]
    figures |= {"moved": total.moved, "changed": total.changed}
    if any(total.candidates):
        made, failed, unknown = total.candidates
        figures["candidates"] = {"made": made, "failed": failed} | ({"unknown": unknown} if unknown else {})
    figures |= {"accepted": total.accepted, "rejected": total.rejected}
    if total.accepted:
        figures["cost_per_accepted_usd"] = round(total.spent / total.accepted / MICRO, 6)
    if groups is not None:
        figures["groups"] = groups
    return figures
