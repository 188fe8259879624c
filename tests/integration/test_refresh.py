"""The contact sheet while a run goes on: written anew beside it, told once when it cannot be, ended with the run."""

import re
import threading

import anyio
import pytest
import support
from support import go

from batch import RunHooks
from batch.core.config import Backoff
from batch.core.errors import FolderError
from batch.output import sheet
from batch.output.folder import OutputFolder
from batch.output.sheet import SheetRefresher, pause_s

HELD_BACK = {"call": "status", "action": "status", "status": 503, "prompt": "oak 3"}
"""The last job is not finished until the fault is taken away."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch, waits):
    """Let what is asked again, and the next sheet, come at once."""
    waits(no_answer=Backoff(0.1, 30.0, least=0.5))
    monkeypatch.setattr(sheet, "SOON_S", 0.0)
    monkeypatch.setattr(sheet, "EVERY_S", 0.05)
    monkeypatch.setattr(sheet, "SHARE", 0.0)


@pytest.fixture
def place(tmp_path):
    return OutputFolder(tmp_path / "out")


def test_the_sheet_shows_a_run_in_its_middle_and_then_its_end(api, manifest, place):
    """The last picture comes only when the sheet has been seen with the other three."""
    api.faults([HELD_BACK])
    seen = []

    def look(progress):
        text = place.sheet.read_text(encoding="utf-8") if place.sheet.exists() else ""
        if "3 <small>of 4" in text and not seen:
            seen.append((text, progress.saved, len(list(place.thumbs.iterdir()))))
            api.faults([])

    end = go(api, manifest, place.path, listener=RunHooks(progress=look))
    assert end.exit_code == 0
    [(text, saved, thumbs)] = seen
    assert (saved, thumbs) == (3, 3)
    assert "Running, as of" in text
    assert re.search(r"<dt>This run</dt><dd>[\d.]+ s <small>[1-9]\d* a minute", text)
    assert re.search(r"<dt>Left</dt><dd>[\d.]+ s <small>1 row<", text)
    assert '"running":true' in text
    last = place.sheet.read_text(encoding="utf-8")
    assert "4 <small>of 4" in last
    assert "Running" not in last.partition("<script")[0]
    assert '"running":false' in last
    assert "<dt>Last run</dt>" in last
    assert len(list(place.thumbs.iterdir())) == 4


def test_a_sheet_that_cannot_be_written_is_told_once_and_the_run_goes_on(api, manifest, place, monkeypatch):
    api.faults([HELD_BACK])
    truly, refused, told = sheet.atomic_write, [], []

    def no_room(path, data, *mode):
        if b'"running":true' in data:
            refused.append(path)
            if len(refused) == 3:
                api.faults([])
            raise OSError(28, "No space left on device")
        truly(path, data, *mode)

    monkeypatch.setattr(sheet, "atomic_write", no_room)
    end = go(api, manifest, place.path, listener=RunHooks(warn=told.append))
    assert end.exit_code == 0
    assert len(refused) >= 3
    [warning] = [text for text in told if "contact sheet" in text]
    assert "report.html: cannot be written (No space left on device)" in warning
    assert "4 <small>of 4" in place.sheet.read_text(encoding="utf-8")


def test_the_sheet_at_the_end_must_still_be_written(api, manifest, place, monkeypatch):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheet, "atomic_write", no_room)
    with pytest.raises(FolderError, match=r"report\.html: cannot be written"):
        go(api, manifest, place.path)


@pytest.mark.anyio
async def test_cancelled_it_leaves_the_old_sheet_and_no_thread(api, manifest, place, monkeypatch):
    """Cancelled amid a sheet, whose thread then sees it at its next row."""
    await anyio.to_thread.run_sync(lambda: go(api, manifest, place.path))
    before = place.sheet.read_bytes()
    amid, cancelled = threading.Event(), threading.Event()
    truly = sheet._images_of

    def slowly(*given):
        amid.set()
        assert cancelled.wait(30)
        return truly(*given)

    monkeypatch.setattr(sheet, "_images_of", slowly)
    told = []
    async with anyio.create_task_group() as tasks:
        refreshing = SheetRefresher(place, told.append)
        saved = anyio.Event()
        saved.set()
        tasks.start_soon(refreshing.refresh, saved)
        assert await anyio.to_thread.run_sync(amid.wait, 30)
        tasks.cancel_scope.cancel()
        cancelled.set()
    assert place.sheet.read_bytes() == before
    assert told == []


@pytest.mark.parametrize(
    ("page_s", "took_s", "pause"),
    [
        pytest.param(0.1, 0.1, 59.9, id="a short manifest: one a minute"),
        pytest.param(0.5, 15.5, 44.5, id="thumbnails do not make it rarer"),
        pytest.param(6.0, 21.0, 120.0, id="a long one: a twentieth of the time"),  # 20 x 6 s
        pytest.param(0.1, 90.0, 2.0, id="never without a pause"),  # 20 x 0.1 s
    ],
)
def test_how_often_a_sheet_is_written(monkeypatch, page_s, took_s, pause):
    monkeypatch.undo()
    assert pause_s(page_s, took_s) == pytest.approx(pause)


@pytest.mark.slow
def test_a_page_for_many_rows_is_its_share_of_the_time(api, manifest, place):
    """What `write_sheet` returns is without the thumbnails' time."""
    go(api, manifest, place.path)
    with sheet.Ledger.read(place.ledger) as ledger:
        page_s = sheet.write_sheet(ledger, place, thumbs_s=None)
    assert 0 < page_s < 30
    assert support.statuses(place.path) == {"saved": 4}
