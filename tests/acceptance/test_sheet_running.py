"""The contact sheet of a run that goes on, open in a real browser: fresh figures, and nobody is disturbed."""

import pytest
import support

from batch.output.folder import OutputFolder
from batch.output.reports import rebuild
from batch.server import LocalApi

pytestmark = pytest.mark.slow


@pytest.fixture
def out(tmp_path):
    """A folder of three saved rows."""
    with LocalApi(**support.QUICK) as api:
        support.go(api, support.write_csv(tmp_path / "pairs.csv", support.rows(3)), tmp_path / "out")
    return tmp_path / "out"


def write_running(out):
    """Write the sheet as it is while somebody holds the folder."""
    with OutputFolder(out).hold():
        rebuild(out)


@pytest.fixture
def page(browser, out, complaints):
    """The sheet of the run, opened from disk; time passes as the test says."""
    write_running(out)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.clock.install()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto((out / "report.html").as_uri())
    page.wait_for_selector(".card")
    yield page
    context.close()
    assert complaints == []


def reloads(page, seconds):
    """Let so many seconds pass, and wait until the page has loaded itself anew."""
    with page.expect_navigation():
        page.clock.run_for(seconds * 1000)
    page.wait_for_selector(".card")


def stays(page, seconds):
    """Tell whether the page is still the same after so many seconds; what it set going has its way first."""
    page.evaluate("window.before = true")
    page.clock.run_for(seconds * 1000)
    page.wait_for_load_state()
    page.locator(".card img").first.evaluate("node => node.decode()")
    return page.evaluate("window.before === true")


def when(page):
    return page.locator(".when").inner_text()


def test_it_says_as_of_when_and_reloads_until_the_run_has_ended(page, out):
    assert when(page).startswith("Running, as of 20")
    assert "UTC" in when(page)
    assert stays(page, 50)
    reloads(page, 15)
    assert when(page).startswith("Running")
    rebuild(out)
    reloads(page, 65)
    assert when(page).startswith("As of")
    assert page.locator("#reload").count() == 0
    assert stays(page, 600)


def test_an_open_image_is_not_taken_away(page):
    page.locator(".result").first.click()
    assert stays(page, 130)
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    reloads(page, 65)


def test_a_rejection_is_not_disturbed_and_outlives_the_reload_that_is_asked_for(page):
    page.get_by_label("Reject row-1").check()
    page.evaluate("document.activeElement.blur()")
    assert stays(page, 130)
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()
    assert page.get_by_label("Reject row-1").is_checked()
    page.get_by_role("button", name="Clear").click()
    page.evaluate("document.activeElement.blur()")
    reloads(page, 65)


def test_a_choice_is_not_disturbed_and_stands_in_the_address(page):
    page.locator("button[data-status=saved]").click()
    page.locator("#order").select_option("cost")
    page.locator("#text").fill("row-1")
    page.clock.run_for(1000)
    assert page.locator(".card .id").all_text_contents() == ["row-1"]
    page.evaluate("document.activeElement.blur()")
    assert stays(page, 130)
    assert page.url.endswith("report.html#status=saved&text=row-1&order=cost")
    with page.expect_navigation():
        page.get_by_role("button", name="Reload").click()
    page.wait_for_selector(".card")
    assert page.locator(".card .id").all_text_contents() == ["row-1"]
    assert page.locator("#text").input_value() == "row-1"
    assert page.locator("#order").input_value() == "cost"
    assert page.locator("button[data-status=saved]").get_attribute("aria-pressed") == "true"
    page.locator("#text").fill("")
    page.locator("#order").select_option("")
    page.locator("button[data-status='']").click()
    page.clock.run_for(1000)
    assert page.url.endswith("report.html")
    page.evaluate("document.activeElement.blur()")
    reloads(page, 65)


def test_an_address_with_what_is_not_there_any_more_shows_all(page, out):
    page.goto("about:blank")
    page.goto((out / "report.html").as_uri() + "#status=pending&texture=gone&reason=no_answer&order=evil")
    page.wait_for_selector(".card")
    assert len(page.locator(".card").all()) == 3


def test_the_skip_link_leaves_the_choice_in_the_address(page):
    page.locator("button[data-status=saved]").click()
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "grid"
    assert page.url.endswith("#status=saved")


def test_a_run_that_was_killed_is_not_waited_for_for_ever(page):
    """Nothing wrote the page for a quarter of an hour."""
    reloads(page, 65)
    page.clock.fast_forward(16 * 60 * 1000)
    page.wait_for_selector("#fresh:has-text('was the run killed? See: texbatch status')")
    assert stays(page, 300)
