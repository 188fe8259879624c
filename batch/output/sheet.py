"""report.html, the contact sheet: what goes into it, in one pass over the ledger, and the page itself.

The sheet is report.csv with images: its data are the report's own cells, so a redo manifest downloaded from it is a
file that `texbatch retry` accepts. The page is one file with its style and script inside, opened from disk, and its
Content-Security-Policy lets nothing else run and nothing be fetched. Text reaches it escaped by jinja2, or as JSON that
jinja2 makes safe inside a <script> element and the script puts into the page as text only. Like the report it is
private to its user.

While a run goes on, `SheetRefresher` writes the sheet again and again for a person who has it open from disk. A thread of
its own reads the ledger as `status` does, over its own connection: neither the event loop nor the ledger's writer waits
for it. The runner writes the one at the end of the run.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import time
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from batch.core.errors import FolderError
from batch.core.units import format_span, iso
from batch.ledger import totals
from batch.ledger.ledger import Ledger
from batch.ledger.prices import job_price
from batch.ledger.totals import folder_status
from batch.output import report
from batch.output.advice import advice
from batch.output.files import PREVIOUS, atomic_write
from batch.output.images import check_images
from batch.output.thumbnails import MOVED_AWAY, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import jinja2

    from batch.ledger.totals import FolderStatus, ReportRow
    from batch.output.folder import OutputFolder
    from batch.output.thumbnails import Shown

MOST_ROWS = 20_000
"""Rows with an image that one sheet shows, and as many without: what a browser holds at ease. report.csv has all."""

THUMBS_S = 30.0
"""What the end of a run spends on new thumbnails; `texbatch report` has no such limit."""

THUMBS_STOPPED_S = 2.0
"""The same after a signal or a stop, when somebody waits for the process to exit."""

LIVE_THUMBS_S = 15.0
"""What a sheet of a run under way spends on new thumbnails, in one thread: the end of the run has fewer to make."""

EVERY_S = 60.0
SOON_S = 2.0
"""The first sheet comes this long after the first image: some more are there by then."""

SHARE = 20.0
"""A sheet never takes more than one part in so many of the time: that of a long manifest comes less often."""

_VERSION = re.compile(r"(?P<stem>.+)\.(?:\d{8}T\d{6}Z|seed-\d+)(?:-\d+)?(?P<suffix>\.[^.]+)")


@dataclass(slots=True)
class _Rows:
    """The rows of a sheet by column, and for each the numbers of its images: product, texture, result, earlier ones.

    `keys` and `own` are those of the report's columns.
    """

    columns: dict[str, list[Any]]
    keys: Mapping[str, str]
    own: tuple[str, ...]
    figures: dict[str, Any]
    made_at: str
    status: FolderStatus
    price: int
    products: list[str] = field(default_factory=list)
    textures: list[str] = field(default_factory=list)
    images: list[list[int]] = field(default_factory=list)
    total: int = 0


def write_sheet(
    ledger: Ledger,
    folder: OutputFolder,
    *,
    thumbs_s: float | None,
    running: bool = False,
    check: Callable[[], None] | None = None,
) -> float:
    """Write report.html and the thumbnails it needs, those that can be made within `thumbs_s`; raises FolderError.

    `check` is called at each row and new thumbnail and may raise, to end it early and leave the old sheet; the thumbnails
    are then made by this thread alone. Returns the seconds it took but for the thumbnails, which are made once.
    """
    began = time.monotonic()
    thumbs = Thumbnails(folder)
    rows = _gather(ledger, folder, thumbs, check or (lambda: None))
    shrinking = time.monotonic()
    thumbs.make(thumbs_s, check=check)
    if check is not None:
        check()
    shrunk = time.monotonic()
    page = _page(folder, rows, thumbs.shown, running=running)
    try:
        atomic_write(folder.sheet, page.encode("utf-8", "replace"), 0o600)
    except OSError as exc:
        raise FolderError(
            f"{folder.sheet}: cannot be written ({exc.strerror}). Make room or fix it."
        ) from exc
    return time.monotonic() - shrunk + shrinking - began


def _gather(ledger: Ledger, folder: OutputFolder, thumbs: Thumbnails, check: Callable[[], None]) -> _Rows:
    columns = report.report_columns(ledger)
    previous = _previous(folder.images) if (folder.images / PREVIOUS).is_dir() else {}
    shown = {True: 0, False: 0}
    # Chained: while the rows are being read SQLite shows one moment, so these figures are the rows' own.
    every = totals.report_rows(ledger)
    first = list(islice(every, 1))
    rows = _Rows(
        {name: [] for name in columns.names},
        columns.keys,
        columns.own,
        report.summary(ledger, ledger.clock),
        iso(ledger.clock()),
        folder_status(ledger),
        job_price(ledger).micro,
    )
    for row in chain(first, every):
        check()
        rows.total += 1
        shown[row.status == "saved"] += 1
        if shown[row.status == "saved"] > MOST_ROWS:
            continue
        cells = columns.cells(row, folder.path)
        for name, column in rows.columns.items():
            column.append(cells[name])
        product, texture, images = _images_of(row, folder.images, previous, thumbs)
        rows.products.append(product)
        rows.textures.append(texture)
        rows.images.append(images)
    return rows


def _images_of(
    row: ReportRow, images: Path, previous: dict[str, list[Path]], thumbs: Thumbnails
) -> tuple[str, str, list[int]]:
    """Return what people call a row's product and texture, and the numbers of its images; -1 for none.

    The names are those of the columns `product` and `texture`, else of the files. The images are product, texture and
    result, then earlier ones.
    """
    numbers = [-1, -1, -1]
    names = ["", ""]
    for index, (column, parameter) in enumerate((("product", "image_1"), ("texture", "image_2"))):
        value = str(row.parameters[parameter])
        path = row.files.get(value) or unquote(urlsplit(value).path)
        names[index] = row.cells.get(column, "").strip() or Path(path).stem
        if value in row.files:
            numbers[index] = thumbs.add(Path(path), value.rpartition(":")[2])
        elif value.startswith(("http://", "https://")):
            numbers[index] = thumbs.link(value)
    if row.status == "saved" and row.output is not None and row.outcome["sha256"] is not None:
        numbers[2] = thumbs.add(images / row.output, row.outcome["sha256"], gone=MOVED_AWAY)
    kept = row.outcome["kept_output"]
    if kept is not None:
        if row.output is None and (images / kept).is_file():  # it still lies there for other work
            numbers.append(thumbs.add(images / kept))
        numbers += map(thumbs.add, previous.get(str(Path(kept).with_suffix("")), ()))
    return names[0], names[1], numbers


def _previous(images: Path) -> dict[str, list[Path]]:
    """Return the images in images/.previous/ by the output name they had, without its suffix; newest first."""
    archive = images / PREVIOUS
    found: dict[str, list[Path]] = {}
    for path in sorted(archive.rglob("*"), reverse=True):
        match = _VERSION.fullmatch(path.name)
        if match and path.is_file():
            found.setdefault(str(path.relative_to(archive).with_name(match["stem"])), []).append(path)
    return found


def _packed(values: Sequence[Any]) -> dict[str, Any]:
    """Return a column as its distinct values and each row's index, where that is shorter."""
    index = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(index) * 2 > len(values):
        return {"values": list(values)}
    return {"values": list(index), "at": [index[value] for value in values]}


def _page(folder: OutputFolder, rows: _Rows, shown: Sequence[Shown], *, running: bool) -> str:
    """Return the page: what its top shows, and the data for its script."""
    figures = rows.figures
    command = shlex.quote(str(folder.path.absolute()))  # the page is opened from anywhere
    data = {
        "columns": [
            {"name": name, "key": rows.keys[name], **_packed(values)} for name, values in rows.columns.items()
        ],
        "own": rows.own,
        "templated": ["id", *report.TEMPLATED],
        "products": _packed(rows.products),
        "textures": _packed(rows.textures),
        "images": rows.images,
        "hrefs": [image.href for image in shown],
        "thumbs": [image.thumb for image in shown],
        "notes": _packed([image.note for image in shown]),
        "price": rows.price,
        "running": running,
        "made_at": rows.made_at,
    }
    return _template().render(
        figures,
        title=folder.path.resolve().name or str(folder.path),
        folder=command,
        made_at=rows.made_at,
        folder_status=rows.status,
        state="running" if running else "ended" if figures["ended_at"] else "cut",
        statuses=[(name, figures[name]) for name in report.STATUSES],
        reasons=[
            error | {"advice": advice(error["error_class"], command)} for error in figures["top_errors"]
        ],
        left_out=rows.total - len(rows.images),
        data=data,
    )


@cache
def _template() -> jinja2.Template:
    """Return the page's template, which knows its style and script and the hashes that its policy allows."""
    import jinja2  # noqa: PLC0415  start-up time

    rules = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    rules.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    rules.filters["span"] = partial(format_span, tenths=True)
    files = resources.files("batch.output")
    for name, file in (("style", "sheet.css"), ("script", "sheet.js")):
        text = files.joinpath(file).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        rules.globals |= {name: text, f"{name}_hash": f"'sha256-{digest}'"}
    return rules.from_string(files.joinpath("sheet.html.jinja").read_text(encoding="utf-8"))


@dataclass
class SheetRefresher:
    """Writes the sheet of one folder until it is cancelled; `warn` is called once when it cannot."""

    folder: OutputFolder
    warn: Callable[[str], None]
    _warned: bool = field(default=False, init=False)

    async def refresh(self, first_saved: anyio.Event) -> None:
        """Write the sheet soon after the first image was saved, then again and again.

        Cancelled while a sheet is being written, it leaves the old one and returns when the thread has
        ended: nothing else writes the sheet meanwhile.
        """
        thread = CapacityLimiter(1)
        with anyio.move_on_after(EVERY_S):
            await first_saved.wait()
            await anyio.sleep(SOON_S)
        while True:
            began = time.monotonic()
            page_s = await to_thread.run_sync(self._write, limiter=thread)
            await anyio.sleep(pause_s(page_s, time.monotonic() - began))

    def _write(self) -> float:
        """Write the sheet once; return the seconds it took but for the thumbnails."""
        began = time.monotonic()
        try:
            with Ledger.read(self.folder.ledger) as ledger:
                check_images(ledger, self.folder.path, read=False)
                checked_s = time.monotonic() - began
                return checked_s + write_sheet(
                    ledger,
                    self.folder,
                    thumbs_s=LIVE_THUMBS_S,
                    running=True,
                    check=from_thread.check_cancelled,
                )
        except Exception as exc:  # noqa: BLE001  the run is worth more than its contact sheet
            if not self._warned:
                self._warned = True
                from_thread.run_sync(
                    self.warn, f"The contact sheet cannot be written while the run goes on: {exc}"
                )
            return time.monotonic() - began


def pause_s(page_s: float, took_s: float) -> float:
    """Seconds until the next sheet, when the last took `took_s`, thumbnails included, and its page `page_s` of these.

    One each EVERY_S, and never more than one part in SHARE of the time for pages.
    """
    return max(EVERY_S - took_s, SHARE * page_s, 0.0)
