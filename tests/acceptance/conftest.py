"""A contact sheet with all that can happen to a row, opened from disk in a real browser."""

import shutil
from pathlib import Path

import pytest
import support
from cards import HOSTILE

from batch.ledger.decisions import Decision
from batch.maintenance.mark import AskedDecisions, Named, mark
from batch.output.reports import rebuild
from batch.server import LocalApi

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


def manifest(folder):
    """Write six rows: two products in two textures, one hostile, one by URL; a picture of each colour."""
    colours = {"chair": "tomato", "mug": "gold", "oak": "peru", "denim": "steelblue"}
    for name, colour in colours.items():
        support.picture(folder / f"{name}'s {{1}}.png", colour, (64, 48))
    lines = [
        {"id": f"{product}-{texture}", "image_1": f"{product}'s {{{{1}}}}.png", "image_2": f"{texture}'s {{{{1}}}}.png",
         "prompt": f"{texture} on {product}", "seed": number, "product": product, "texture": texture, "sku": f"=SKU{number}",
         "'=set": "x"}
        for number, (product, texture) in enumerate([("chair", "oak"), ("chair", "denim"), ("mug", "oak"), ("mug", "denim")], 1)
    ]  # fmt: skip
    hostile = lines[0] | {"id": "hostile", "prompt": HOSTILE, "sku": HOSTILE, "product": HOSTILE, "seed": 5}
    linked = lines[0] | {
        "id": "linked",
        "image_1": support.PRODUCT,
        "prompt": "by link",
        "product": "linked",
        "seed": 6,
    }
    return support.write_csv(folder / "pairs.csv", [*lines, hostile, linked])


@pytest.fixture(autouse=True)
def on_a_quick_machine(no_syncing, quick_certificates, waits):
    """Spend no time on what these tests are not about."""
    waits(**support.A_TENTH)


@pytest.fixture(scope="session")
def sheet_folder(tmp_path_factory):
    """Run the manifest: one row is refused, one unknown, one made twice, one with another seed; of two images a person decided."""
    folder = tmp_path_factory.mktemp("a sheet's folder")
    with LocalApi(**support.QUICK) as api:
        refuse = {"call": "submit", "action": "status", "status": 400, "body": {"error": HOSTILE}}
        lose = {"call": "submit", "action": "reset_after"}
        api.faults([refuse | {"prompt": "oak on mug"}, lose | {"prompt": "denim on mug"}, NO_HISTORY])
        path = manifest(folder)
        support.go(api, path, folder / "out", settle_s=0.1)
        path.write_text(
            path.read_text(encoding="utf-8").replace("denim on chair,2", "denim on chair,22"),
            encoding="utf-8",
        )
        support.go(api, path, folder / "out", settle_s=0.1, yes=True)
    support.picture(folder / "out" / "images" / ".previous" / "chair-oak.seed-77.webp", "black", (64, 48))
    named = [
        Named("chair-oak", Decision.ACCEPTED, "--accept"),
        Named("chair-denim", Decision.REJECTED, "--reject"),
    ]
    mark(folder / "out", AskedDecisions(named, reason="shape", note=HOSTILE, by="anna"))
    rebuild(folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def browser():
    """Start the system's Chromium, or playwright's own where that is installed, driven by playwright; else the test skips.

    For one module: while it is there its event loop runs in this thread, and no command can run in this process.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'"
    )
    with playwright.sync_playwright() as driver:
        if CHROMIUM is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip(
                "no Chromium here (Debian: apt-get install chromium; else: playwright install chromium)"
            )
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints():
    """What the browser complains of."""
    return []


@pytest.fixture
def outside():
    """What the page asked of others than the folder."""
    return []


@pytest.fixture
def page(browser, sheet_folder, complaints, outside):
    """The sheet, opened from disk; afterwards no request has left and the script has not complained."""
    out = sheet_folder
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(10_000)
    page = context.new_page()
    own = (out.parent.as_uri(), "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else outside.append(request))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None,
    )
    page.goto((out / "report.html").as_uri())
    page.wait_for_selector(".card")
    yield page
    assert page.title() == "out: contact sheet"
    context.close()
    assert [request.url for request in outside] == []
    assert complaints == []
