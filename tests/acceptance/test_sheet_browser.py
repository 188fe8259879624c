"""The contact sheet in a real browser: a person finds, compares, rejects, and sends round again."""

import csv
import io
import re
import shutil
from pathlib import Path

import pytest
import support
from cards import HOSTILE, card, shown

from batch.output.folder import OutputFolder
from batch.output.reports import rebuild

pytestmark = pytest.mark.slow


def download(page):
    with page.expect_download() as loading:
        page.get_by_role("button", name="Download redo.csv").click()
    return Path(loading.value.path()).read_text(encoding="utf-8")


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_head_tells_rows_money_and_reasons(page):
    head = page.locator("header.head").inner_text()
    assert re.search(r"Saved\s+4 of 6", head)
    assert "$0.15" in head  # five images of 0.03: one was made twice
    assert "$0.03" in head  # at risk: the lost one
    reasons = page.locator(".reasons").inner_text()
    assert "1 × refused" in reasons  # noqa: RUF001
    assert "texbatch resolve" in reasons


def test_filters_and_their_count(page):
    everything = ["chair-oak", "chair-denim", "mug-oak", "mug-denim", "hostile", "linked"]
    assert shown(page) == everything
    page.locator("button[data-status=saved]").click()
    assert shown(page) == ["chair-oak", "chair-denim", "hostile", "linked"]
    page.locator("#texture").select_option("denim")
    assert shown(page) == ["chair-denim"]
    assert page.locator("#count").inner_text() == "1 of 6 rows"
    page.locator("#texture").select_option("")
    page.locator("button[data-status='']").click()
    page.locator("#product").select_option("mug")
    assert shown(page) == ["mug-oak", "mug-denim"]
    page.locator("#product").select_option("")
    page.locator("#text").fill("OAK chair")
    page.locator(".card").nth(3).wait_for(state="detached")
    assert shown(page) == ["chair-oak", "hostile", "linked"]  # found by their texture's file
    page.locator("#text").fill("nothing like it")
    page.wait_for_selector("#none:not([hidden])")
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == everything
    page.get_by_role("button", name="Show rows: refused").click()
    assert shown(page) == ["mug-oak"]


def test_sorting(page):
    page.locator("#order").select_option("product")
    assert shown(page)[-2:] == ["mug-oak", "mug-denim"]
    page.locator("#order").select_option("cost")
    assert set(shown(page)[:4]) == {"chair-oak", "chair-denim", "hostile", "linked"}
    page.locator("#order").select_option("")
    assert shown(page)[0] == "chair-oak"


def test_full_size_slider_and_keys(page):
    card(page, "chair-oak").locator(".result").click()
    view = page.locator("#view")
    assert view.get_attribute("open") is not None
    slider = page.get_by_label("How much of the image on the left is seen")
    assert slider.input_value() == "50"
    assert page.locator("#before").get_attribute("src").endswith("chair%27s%20%7B1%7D.png")
    page.keyboard.press("ArrowRight")
    assert page.locator("#view-title").inner_text() == "chair-denim"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#view-title").inner_text() == "chair-oak"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert (slider.input_value(), page.locator("#view-title").inner_text()) == ("51", "chair-oak")
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    assert abs(int(slider.input_value()) - 20) <= 2
    clip = page.locator("#before-box").evaluate("node => getComputedStyle(node).clipPath")
    assert re.fullmatch(r"inset\(0(px)? (calc\(.*|[\d.]+%) .*", clip)
    page.get_by_role("button", name="Texture", exact=True).click()
    assert page.locator("#before").get_attribute("src").endswith("oak%27s%20%7B1%7D.png")
    page.keyboard.press("Escape")
    assert view.get_attribute("open") is None
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Open chair-oak")


def test_the_dialog_keeps_the_focus(page):
    card(page, "chair-oak").locator(".result").click()
    for _ in range(20):
        page.keyboard.press("Tab")
        inside = page.evaluate(
            "document.activeElement === document.body || Boolean(document.activeElement.closest('#view'))"
        )
        assert inside


def test_an_earlier_version_stands_beside_the_new_one(page):
    assert card(page, "chair-denim").locator("figcaption").all_text_contents() == [
        "chair",
        "denim",
        "earlier",
    ]
    card(page, "chair-denim").locator(".result").click()
    page.get_by_role("button", name="Earlier", exact=True).click()
    assert "images/.previous/chair-denim." in page.locator("#before").get_attribute("src")
    assert page.locator("#before").evaluate("node => node.decode().then(() => node.naturalWidth)") > 0


def test_another_seed_of_a_row_is_called_by_it(page):
    assert card(page, "chair-oak").locator("figcaption").all_text_contents() == ["chair", "oak", "seed 77"]
    card(page, "chair-oak").locator(".result").click()
    page.get_by_role("button", name="Seed 77", exact=True).click()
    assert "images/.previous/chair-oak.seed-77.webp" in page.locator("#before").get_attribute("src")


def test_a_failed_row_shows_its_product_and_reason(page):
    card(page, "mug-oak").locator(".result").click()
    assert page.locator("#slider").is_hidden()
    assert page.locator("#after").get_attribute("src").endswith("mug%27s%20%7B1%7D.png")
    assert "onerror" in page.locator("#facts").inner_text()


def test_arrow_keys_walk_the_grid(page):
    page.locator(".result").first.focus()
    page.keyboard.press("ArrowRight")
    assert "chair-denim" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("End")
    assert "linked" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("x")
    assert page.get_by_label("Reject linked").is_checked()
    page.keyboard.press("Enter")
    assert page.locator("#view-title").inner_text() == "linked"


def test_rejected_rows_become_a_manifest_that_retry_takes(page, sheet_folder, tmp_path, command):
    """The file lies elsewhere, as a download does; paths with braces and quotes, formulas and markup come through."""
    page.get_by_label("Reject chair-oak").check()
    page.get_by_label("Reject hostile").check()
    page.get_by_label("Reject mug-oak").check()
    assert page.locator("#redo-title").inner_text() == "3 rows rejected, about $0.09 to make again"
    text = download(page)
    assert text == download(page)  # the seeds are drawn once
    assert page.locator("#command").text_content().endswith(" ~/Downloads/redo.csv")
    rows = {row["id"]: row for row in rows_of(text)}
    assert list(rows) == ["chair-oak", "mug-oak", "hostile"]
    assert rows["chair-oak"]["seed"] not in {"", "-1", "1"}
    assert (rows["mug-oak"]["seed"], rows["hostile"]["prompt"]) == ("3", HOSTILE)
    assert rows["chair-oak"]["sku"] == "'=SKU1"
    with (sheet_folder / "report.csv").open(encoding="utf-8", newline="") as file:
        assert list(rows["hostile"]) == next(csv.reader(file))
    redo = tmp_path / "redo.csv"
    redo.write_text(text, encoding="utf-8")
    code, told, _ = command("retry", sheet_folder, redo, "--dry-run")
    lines = {" ".join(line.split()) for line in told.splitlines()}
    assert code == 0
    assert "changed 2 $ 0.06 to pay again" in lines
    assert any(line.startswith("3 jobs to send, for about $0.09") for line in lines)


def test_a_card_shows_what_was_decided_and_the_filter_knows_it(page):
    assert "Accepted\n1 $0.15 each" in page.locator("header.head").inner_text()
    said = {
        row_id: card(page, row_id).locator(".verdict") for row_id in ("chair-oak", "chair-denim", "linked")
    }
    assert said["chair-oak"].inner_text().strip() == "accepted"
    assert said["chair-denim"].inner_text().strip() == "rejected (shape)"
    assert said["linked"].count() == 0
    assert re.fullmatch(r"by anna, 20\S+ \S+ UTC: <img src=x .*", said["chair-denim"].get_attribute("title"))
    for choice, rows in {
        "accepted": ["chair-oak"],
        "rejected": ["chair-denim"],
        "undecided": ["hostile", "linked"],
    }.items():
        page.locator("#decision").select_option(choice)
        assert shown(page) == rows
    page.reload()  # the choice is kept
    assert shown(page) == ["hostile", "linked"]
    page.locator("#decision").select_option("")
    card(page, "chair-denim").locator(".result").click()
    assert "rejected (shape) by anna" in page.locator("#facts").inner_text()


def test_rejected_rows_become_decisions_that_mark_takes(page, sheet_folder, tmp_path, command):
    """A row without an image cannot be judged; a line for an image that somebody decided about since is a conflict."""
    for row_id in ("hostile", "mug-oak", "chair-oak"):
        page.get_by_label(f"Reject {row_id}").check()
    with page.expect_download() as loading:
        page.get_by_role("button", name="Download decisions.csv").click()
    assert loading.value.suggested_filename == "decisions.csv"
    file, out = tmp_path / "decisions.csv", tmp_path / "out"
    file.write_bytes(Path(loading.value.path()).read_bytes())
    assert [(row["id"], row["decision"]) for row in rows_of(file.read_text(encoding="utf-8"))] == [
        ("chair-oak", "rejected"),
        ("hostile", "rejected"),
    ]
    shutil.copytree(sheet_folder, out)
    command("mark", out, "--accept", "hostile", "--as", "otto")
    code, told, said = command("mark", out, file, "--as", "eva")
    assert (code, told) == (1, "0 accepted, 1 rejected, 1 line not applied\n")
    assert said.startswith("not applied: hostile (line 3): otto has accepted it since")
    page.get_by_label("Reject chair-oak").uncheck()
    page.get_by_label("Reject hostile").uncheck()
    assert page.get_by_role("button", name="Download decisions.csv").is_hidden()


def test_what_a_redo_does_can_be_chosen(page):
    page.get_by_label("Reject chair-oak").check()
    page.locator("#redo summary").click()
    page.locator("#seed").select_option("next")
    page.locator("#append").fill("with {braces}")
    [row] = rows_of(download(page))
    assert (row["seed"], row["prompt"]) == ("2", "oak on chair with {{braces}}")
    page.locator("#seed").select_option("same")
    assert rows_of(download(page))[0]["seed"] == "1"


def test_copy_puts_the_manifest_on_the_clipboard(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Reject chair-oak").check()
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied", exact=True).wait_for()
    assert rows_of(page.evaluate("navigator.clipboard.readText()"))[0]["id"] == "chair-oak"


def test_unknown_rows_cannot_be_sent_again_from_here(page):
    assert card(page, "mug-denim").locator("input").count() == 0
    page.get_by_role("button", name="Reject all shown").click()
    assert "mug-denim" not in {row["id"] for row in rows_of(download(page))}


def test_rejections_outlive_a_reload(page):
    page.get_by_label("Reject linked").check()
    page.reload()
    assert page.get_by_label("Reject linked").is_checked()
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#redo").is_hidden()


def test_hostile_text_is_only_text(page):
    assert card(page, "hostile").locator(".prompt").inner_text().startswith("<img src=x")
    assert page.locator("img[src='x']").count() == 0
    card(page, "hostile").locator(".result").click()
    assert HOSTILE in page.locator("#facts").inner_text()
    assert page.title() == "out: contact sheet"


def test_the_policy_lets_nothing_else_run_or_leave(page, complaints, outside):
    """Even a script that got in could neither be run nor tell anybody."""
    ran = page.evaluate(
        """async () => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          new Image().src = "https://pictures.example/seen.png";
          return [window.ran, await fetch("https://pictures.example/").catch(error => error.name)]; }"""
    )
    assert ran == [None, "TypeError"]
    assert {word for text in complaints for word in ("inline script", "image", "connect") if word in text.lower()} == {
        "inline script", "image", "connect",
    }, complaints  # fmt: skip
    assert {request.failure for request in outside} <= {"csp"}
    complaints.clear()
    outside.clear()


def test_a_url_is_a_link_that_tells_nobody(page):
    link = card(page, "linked").locator("a")
    attributes = {name: link.get_attribute(name) for name in ("href", "target", "rel", "referrerpolicy")}
    assert attributes == {
        "href": support.PRODUCT, "target": "_blank", "rel": "noopener noreferrer", "referrerpolicy": "no-referrer",
    }  # fmt: skip
    assert card(page, "linked").locator("img").count() == 2  # texture and result


def test_the_sheet_can_be_rebuilt_while_a_run_holds_the_folder(sheet_folder, command):
    before = (sheet_folder / "report.csv").stat().st_mtime_ns
    with OutputFolder(sheet_folder).hold():
        code, told, said = command("report", sheet_folder)
    assert (code, told.strip()) == (0, str(sheet_folder / "report.html"))
    assert "A run holds this folder" in said
    assert (sheet_folder / "report.csv").stat().st_mtime_ns == before
    assert rebuild(sheet_folder).reports
    assert (sheet_folder / "report.csv").stat().st_mtime_ns > before


def test_an_image_that_was_moved_away_is_shown_small_and_said_to_be(browser, sheet_folder, tmp_path):
    """Nothing that is not there is asked for, on the sheet or in the view."""
    out = tmp_path / "out"
    shutil.copytree(sheet_folder, out)
    for image in (out / "images").glob("*.*"):
        if image.is_file():  # not the folder of earlier ones
            image.unlink()
    rebuild(out)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, missed = context.new_page(), []
    page.on("requestfailed", lambda request: missed.append(request.url))
    page.goto((out / "report.html").as_uri())
    page.wait_for_selector(".card")
    moved = card(page, "chair-oak")
    assert moved.locator(".status").inner_text() == "saved, moved away"
    moved.locator(".result").click()
    assert "/thumbs/" in page.evaluate("document.getElementById('after').src")
    assert page.locator("#after-tag").inner_text() == "Result, moved away"
    context.close()
    assert missed == []
