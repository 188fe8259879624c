"""report.html, the contact sheet: what goes into it, in one pass over the ledger, and the page itself.

The sheet is report.csv with pictures: its data are the report's own cells, so a redo manifest taken from it is a file
that `texbatch retry` accepts. The page is one file with its style and script inside, opened from disk, and its
Content-Security-Policy lets nothing else run and nothing be fetched. Text reaches it escaped by jinja2, or as JSON that
the script puts into the page as text only. Like the report it is private to its user.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import time
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from batch.errors import FolderError
from batch.ledger import bill
from batch.ledger.pulse import pulse
from batch.results import report
from batch.results.advice import advice
from batch.results.keep import PREVIOUS, write_whole
from batch.results.thumbs import Thumbs
from batch.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import jinja2

    from batch.folder import OutputFolder
    from batch.ledger.bill import ReportRow
    from batch.ledger.pulse import Pulse
    from batch.ledger.store import Ledger

MOST = 20_000
"""Rows with a picture that one sheet shows, and as many without: what a browser holds at ease. report.csv has all."""

THUMBS_S = 30.0
"""What the end of a run spends on new thumbnails; `texbatch report` has no such limit."""

THUMBS_STOPPED_S = 2.0
"""The same after a signal or a stop: somebody waits for the process to go."""

_VERSION = re.compile(r"(?P<stem>.+)\.\d{8}T\d{6}Z(?:-\d+)?(?P<suffix>\.[^.]+)")
_UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&'\u2028\u2029"}


@dataclass(slots=True)
class _Rows:
    """The rows of a sheet by column, and for each the numbers of its pictures: product, texture, result, earlier ones."""

    columns: dict[str, list[Any]]
    products: list[str] = field(default_factory=list)
    textures: list[str] = field(default_factory=list)
    pictures: list[list[int]] = field(default_factory=list)
    total: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    made_at: str = ""
    pulse: Pulse | None = None


def write_sheet(
    ledger: Ledger,
    folder: OutputFolder,
    *,
    thumbs_s: float | None,
    running: bool = False,
    check: Callable[[], None] | None = None,
) -> float:
    """Write report.html and the thumbnails it needs, those that can be made within `thumbs_s`; raises FolderError.

    `check` is called at each row and picture and may raise, to end it early with the old sheet in place; the thumbnails
    are then made by this thread alone. Returns the seconds it took but for the thumbnails, which are made once.
    """
    began = time.monotonic()
    thumbs = Thumbs(folder)
    rows = _gather(ledger, folder, thumbs, check or _go_on)
    shrinking = time.monotonic()
    thumbs.make(thumbs_s, check=check)
    (check or _go_on)()
    shrunk = time.monotonic()
    page = _page(_head(folder, rows, running=running), _data(ledger, rows, thumbs, running=running))
    try:
        write_whole(folder.sheet, page.encode("utf-8", "replace"), 0o600)
    except OSError as exc:
        raise FolderError(
            f"{folder.sheet}: cannot be written ({exc.strerror}). Make room or mend it."
        ) from exc
    return time.monotonic() - shrunk + shrinking - began


def _go_on() -> None:
    """Let it be done to its end."""


def _gather(ledger: Ledger, folder: OutputFolder, thumbs: Thumbs, check: Callable[[], None]) -> _Rows:
    own = report.own_columns(ledger)
    rows = _Rows({name: [] for name in report.header_of(own)})
    versions = _versions(folder.images)
    taken = {True: 0, False: 0}
    # Chained: while the rows are being read SQLite shows one moment, so these figures are the rows' own.
    every = bill.report_rows(ledger)
    first = list(islice(every, 1))
    rows.figures, rows.made_at = report.summary(ledger, ledger.clock), iso(ledger.clock())
    rows.pulse = pulse(ledger)
    for row in chain(first, every):
        check()
        rows.total += 1
        saved = row.status == "saved"
        taken[saved] += 1
        if taken[saved] > MOST:
            continue
        cells = report.cells_of(row, own, folder.path)
        for name, column in rows.columns.items():
            column.append(cells[name])
        rows.products.append(_name(row, "product", "image_1"))
        rows.textures.append(_name(row, "texture", "image_2"))
        rows.pictures.append(
            [
                _input(row, "image_1", thumbs),
                _input(row, "image_2", thumbs),
                _result(row, folder, thumbs) if saved else -1,
                *(thumbs.version(path) for path in _earlier(row, folder.images, versions)),
            ]
        )
    return rows


def _input(row: ReportRow, name: str, thumbs: Thumbs) -> int:
    value = str(row.parameters[name])
    if value in row.files:
        return thumbs.picture(Path(row.files[value]), value.rpartition(":")[2])
    return thumbs.link(value) if value.startswith(("http://", "https://")) else -1


def _result(row: ReportRow, folder: OutputFolder, thumbs: Thumbs) -> int:
    return -1 if row.output is None else thumbs.picture(folder.images / row.output, row.outcome["sha256"])


def _name(row: ReportRow, column: str, image: str) -> str:
    """Return what people call a row's product or texture: its column of that name, or the picture's name."""
    value = str(row.parameters[image])
    path = row.files[value] if value in row.files else unquote(urlsplit(value).path)
    return row.cells.get(column, "").strip() or Path(path).stem


def _versions(images: Path) -> dict[str, list[Path]]:
    """Return the pictures in images/.previous/ by the output name they had, without its suffix; newest first."""
    place = images / PREVIOUS
    found: dict[str, list[Path]] = {}
    for path in sorted(place.rglob("*"), reverse=True):
        match = _VERSION.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(str(path.relative_to(place).with_name(match["stem"])), []).append(path)
    return found


def _earlier(row: ReportRow, images: Path, versions: Mapping[str, list[Path]]) -> list[Path]:
    """Return a row's pictures that are not its result: one that still lies there for other work, then older ones."""
    kept = row.outcome["kept_output"]
    if kept is None:
        return []
    waiting = [images / kept] if row.output is None and (images / kept).is_file() else []
    return waiting + versions.get(str(Path(kept).with_suffix("")), [])


def _packed(values: Sequence[Any]) -> dict[str, Any]:
    """Return a column as its distinct values and each row's index, where that is shorter."""
    index = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(index) * 2 > len(values):
        return {"values": list(values)}
    return {"values": list(index), "at": [index[value] for value in values]}


def _data(ledger: Ledger, rows: _Rows, thumbs: Thumbs, *, running: bool) -> dict[str, Any]:
    """Return what the script is given."""
    shown = thumbs.shown
    return {
        "columns": [{"name": name, **_packed(values)} for name, values in rows.columns.items()],
        "templated": ["id", *report.TEMPLATED],
        "products": _packed(rows.products),
        "textures": _packed(rows.textures),
        "pictures": rows.pictures,
        "hrefs": [picture.href for picture in shown],
        "thumbs": [picture.thumb for picture in shown],
        "notes": _packed([picture.note for picture in shown]),
        "price": bill.price(ledger),
        "running": running,
        "made_at": rows.made_at,
    }


def _head(folder: OutputFolder, rows: _Rows, *, running: bool) -> dict[str, Any]:
    """Return what the top of the page says."""
    figures = rows.figures
    command = shlex.quote(str(folder.path.absolute()))  # the page is opened from anywhere
    return figures | {
        "title": folder.path.resolve().name or str(folder.path),
        "folder": command,
        "made_at": rows.made_at,
        "pulse": rows.pulse,
        "state": "running" if running else "ended" if figures["ended_at"] else "cut",
        "statuses": [(name, figures[name]) for name in report.STATUSES],
        "reasons": [
            error | {"advice": advice(error["error_class"], command)} for error in figures["top_errors"]
        ],
        "left_out": rows.total - len(rows.pictures),
    }


def _page(head: dict[str, Any], data: dict[str, Any]) -> str:
    style, script = _source("sheet.css"), _source("sheet.js")
    return _template().render(
        head,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=embedded(data),
    )


def embedded(data: Any) -> str:
    """Return JSON that can stand in a <script> element: nothing in it ends the element or opens a comment."""
    return json.dumps(data, separators=(",", ":")).translate(_UNSAFE)


@cache
def _template() -> jinja2.Template:
    import jinja2  # noqa: PLC0415  start-up time

    rules = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rules.filters |= {"usd": _usd, "span": _span, "moment": _moment}
    return rules.from_string(_source("sheet.html.jinja"))


def _source(name: str) -> str:
    return resources.files("batch.results").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:,.2f}"


def _span(seconds: float) -> str:
    """Return a time as people say it."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
    )


def _moment(text: str) -> str:
    """Return an ISO time to the minute, as people read it."""
    return f"{text[:10]} {text[11:16]} UTC"
