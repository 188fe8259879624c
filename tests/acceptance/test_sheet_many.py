"""10,000 rows in the contact sheet: how long it takes to make, to open, to scroll, to search.

Opening is compared with an empty sheet in the same browser, scrolling with the frames of a still page.
"""

import hashlib
import json
import os
import time

import pytest
from PIL import Image

from batch.core.config import LOCAL_SERVICE
from batch.core.models import Payload
from batch.core.parameters import PARAMETERS
from batch.ledger.ledger import Ledger
from batch.ledger.staging import Stage
from batch.output.folder import OutputFolder
from batch.output.sheet import write_sheet

pytestmark = pytest.mark.slow

ROWS = 10_000
PICTURES = 200  # distinct results; the rows' files are links to them
DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS}

FRAMES = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  const frames = async (count, act) => {
    const times = [];
    for (let last = await frame(), n = 0; n < count; n += 1) { act(n); const now = await frame(); times.push(now - last); last = now; }
    return times.sort((a, b) => a - b); };
  const end = document.documentElement.scrollHeight - innerHeight;
  return {
    still: await frames(60, () => {}),
    smooth: await frames(180, () => scrollBy(0, 60)),
    jumps: await frames(60, n => scrollTo(0, end * ((n * 37) % 60) / 60)),
    cards: document.querySelectorAll(".card").length}; }"""
"""Frame times in ms: of a still page, scrolled as by a wheel (3,600 pixels a second), and thrown about."""


def images(place):
    """Write distinct noisy images; return them with their hashes."""
    place.mkdir()
    made = []
    for number in range(PICTURES):
        path = place / f"{number}.jpg"
        Image.effect_noise((300, 300), 60).convert("RGB").save(path, quality=80)
        made.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return made


def filled(folder, count):
    """Make a folder whose ledger has `count` saved rows, with a file each."""
    folder.mkdir()
    (folder / "images").mkdir()
    made = images(folder / "inputs")
    ledger = Ledger.create_or_open(folder / "ledger.sqlite")
    ledger.set_meta("service", LOCAL_SERVICE)
    stage = Stage(ledger)
    inputs = [(f"sha256:{sha256}", path) for path, sha256 in made]

    def payload(n):
        (one, product), (two, texture) = inputs[n % 100], inputs[100 + n % 40]
        given = {
            "prompt": f"Apply texture {n % 40} to product {n}, keep its light, folds and edges",
            "image_1": one,
            "image_2": two,
            "seed": n,
        }
        cells = {
            "id": f"sku-{n:05}",
            "product": f"product {n % 300}",
            "texture": f"texture {n % 40}",
            "line": f"autumn {n % 7}",
        }
        return Payload(n + 2, f"sku-{n:05}", derived_id=False, output=f"sku-{n:05}.jpg", parameters=DEFAULTS | given,
                       files={one: product, two: texture}, cells=cells)  # fmt: skip

    stage.fill(map(payload, range(count)), str)
    with ledger.atomic() as connection:
        stage.adopt(("id", "product", "texture", "line"), merge=False, retry_failed=False)
        connection.execute("UPDATE rows SET kept_job=job, kept_output=output")
        connection.executemany(
            "UPDATE jobs SET state='saved', cost=30000, request_id=?, submitted_at=1.8e9, completed_at=1.8e9 + job, total_s=job % 90, "
            "attempts=1, width=300, height=300, sha256=?, run_id='20260101T000000Z-abcdef', http_status=200 WHERE job=?",
            [(f"{n:08x}-7ea8-46d9-961a-a064284df878", made[n % PICTURES][1], n + 1) for n in range(count)],
        )
    for n in range(count):
        os.link(made[n % PICTURES][0], folder / "images" / f"sku-{n:05}.jpg")
    begun = time.perf_counter()
    write_sheet(ledger, OutputFolder(folder), thumbs_s=None)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    write_sheet(ledger, OutputFolder(folder), thumbs_s=None)
    again = time.perf_counter() - begun
    ledger.close()
    return first, again


def opened(browser, folder):
    """Open a sheet; return the page and seconds until the first card has its image."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    begun = time.perf_counter()
    page.goto((folder / "report.html").as_uri(), wait_until="commit")
    page.wait_for_selector(".card .result img, #none:not([hidden])")
    page.evaluate("() => document.querySelector('.result img')?.decode()")
    return page, time.perf_counter() - begun


def median(values):
    return sorted(values)[len(values) // 2]


def test_ten_thousand_rows_open_and_scroll(browser, tmp_path):
    first, again = filled(tmp_path / "many", ROWS)
    filled(tmp_path / "none", 0)
    opened(browser, tmp_path / "none")[0].close()  # the browser itself is warm
    empty, full = [], []
    for _ in range(5):
        for times, name in ((empty, "none"), (full, "many")):
            page, seconds = opened(browser, tmp_path / name)
            times.append(seconds)
            page.close()
    page, _ = opened(browser, tmp_path / "many")
    frames = page.evaluate(FRAMES)
    begun = time.perf_counter()
    page.locator("#text").fill("sku-09999")
    page.locator(".card").nth(1).wait_for(state="detached")
    search = time.perf_counter() - begun
    assert page.locator("#count").inner_text() == "1 of 10,000 rows"
    page.close()
    still, smooth, jumps = frames["still"], frames["smooth"], frames["jumps"]
    figures = {
        "made_s": first, "made_again_s": again, "MB": (tmp_path / "many" / "report.html").stat().st_size / 1e6,
        "open_s": median(full), "empty_open_s": median(empty), "first_search_s": search, "cards": frames["cards"],
        "still_ms": median(still), "smooth_ms": median(smooth), "smooth_p95_ms": smooth[int(len(smooth) * 0.95)], "jump_ms": median(jumps),
    }  # fmt: skip
    print("\n" + json.dumps({name: round(figure, 3) for name, figure in figures.items()}))  # noqa: T201  figures
    assert median(full) - median(empty) < 3
    assert median(full) < 12 * median(empty)
    assert median(smooth) < 6 * median(still)
    assert frames["cards"] < 100
