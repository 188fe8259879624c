"""The contact sheet: what goes into it, how its text is made harmless, and thumbnails that are made once."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

import batch
from batch.core import error_classes
from batch.core.errors import FolderError
from batch.core.parameters import PARAMETERS
from batch.ledger.states import State
from batch.output import advice, images, report, sheet

HOSTILE = "<img src=x onerror=document.title='owned'></script><!--<script>{{7*7}}\u2028'\""


def test_a_row_shows_product_texture_and_result(book, made, save, local):
    book.adopt(local("a", prompt="oak {please}"))
    save("a")
    page = made()
    assert [page.href(0, place) for place in range(3)] == [
        "products/my%20chair.png", "textures/oak.png", "images/a.webp",
    ]  # fmt: skip
    assert page.products == ["my chair"]
    assert page.textures == ["oak"]
    assert page.columns["prompt"] == ["oak {{please}}"]
    assert page.columns["cost"] == ["0.030000"]


def test_its_columns_are_the_reports(book, payload, folder, made):
    """So that a redo manifest taken from it is texbatch's own file."""
    book.adopt(payload("a", prompt="=1+1", cells={"sku": "-x"}), columns=("id", "sku"))
    page = made()
    report.write_report(book.ledger, folder)
    assert list(page.columns) == folder.report.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert (page.columns["prompt"], page.columns["sku"]) == (["'=1+1"], ["'-x"])


def test_a_moved_image_shows_the_thumbnail_it_had_and_says_so(book, folder, made, save, local):
    book.adopt(local("a"))
    save("a")
    thumb = made().thumb(0, 2)
    (folder.images / "a.webp").unlink()
    images.check_images(book.ledger, folder.path)
    page = made()
    assert (page.thumb(0, 2), page.note(0, 2), page.columns["output_state"]) == (
        thumb,
        "moved away",
        ["moved"],
    )
    (folder.thumbs / thumb).unlink()
    page = made()
    assert (page.thumb(0, 2), page.note(0, 2)) == (None, "moved away")


def test_a_changed_image_is_said_to_be(book, folder, made, save, local):
    book.adopt(local("a"))
    save("a")
    (folder.images / "a.webp").write_bytes(b"mine")
    images.check_images(book.ledger, folder.path)
    assert made().columns["output_state"] == ["changed"]


def test_names_of_product_and_texture_come_from_their_columns_first(book, payload, made):
    book.adopt(
        payload(
            "a", cells={"product": "Chair 7", "texture": " "}, image_2="https://h/x/dark%20oak.jpg?sig=1"
        ),
        columns=("id", "product", "texture"),
    )
    page = made()
    assert page.products == ["Chair 7"]
    assert page.textures == ["dark oak"]


def test_a_url_is_a_link_and_nothing_else(book, payload, folder, made):
    book.adopt(payload("a", image_1="https://h/p.jpg?X-Signature=secret"))
    page = made()
    assert (page.href(0, 0), page.thumb(0, 0), page.note(0, 0)) == (
        "https://h/p.jpg?X-Signature=secret",
        None,
        "link",
    )
    assert list(folder.thumbs.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//h/p.jpg"]
)
def test_only_http_and_https_become_links(book, payload, made, url):
    book.adopt(payload("a", image_1=url))
    page = made()
    assert page.data["images"][0][0] == -1
    assert url not in page.data["hrefs"]


def test_hostile_text_ends_no_element_and_starts_none(book, payload, folder, made):
    book.adopt(
        payload(HOSTILE, output="a.webp", prompt=HOSTILE, cells={"note": HOSTILE + "\u2029 & 😀"}),
        columns=("id", "note"),
    )
    book.bring(HOSTILE, State.FAILED, error=HOSTILE, error_class=HOSTILE)
    page = made()
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("style")) == (2, 1)
    assert [attributes["id"] for tag, attributes in page.elements if tag == "img"] == ["after", "before"]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.columns["note"] == [HOSTILE + "\u2029 & 😀"]
    text = folder.sheet.read_text(encoding="utf-8")
    assert not set("<>&'\u2028\u2029") & set(page.texts["data"])
    assert "<!--" not in text
    assert "49" not in re.findall(r"onerror[^&]*", text)


def hash_of(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_the_policy_allows_its_own_script_and_style_alone(book, payload, made):
    book.adopt(payload("a"))
    page = made()
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' file:",
        "style-src": hash_of(page.texts["style"]),
        "script-src": hash_of(page.texts["script"]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not any(name in attributes for _, attributes in page.elements for name in ("src", "style"))
    assert not any(tag == "link" for tag, _ in page.elements)


def test_earlier_versions_stand_beside_the_new_image(book, payload, image, made, save):
    book.adopt(payload("a", output="deep/a.webp"), payload("ab", prompt="2"))
    save("a")
    save("ab")
    image("images/.previous/deep/a.20260102T030405Z.png", "grey")
    image("images/.previous/deep/a.20260203T030405Z-1.webp", "black")
    image("images/.previous/ab.no-version.webp")
    page = made()
    earlier = [page.data["hrefs"][number] for number in page.data["images"][0][3:]]
    assert earlier == [
        "images/.previous/deep/a.20260203T030405Z-1.webp", "images/.previous/deep/a.20260102T030405Z.png",
    ]  # fmt: skip
    assert len(page.data["images"][1]) == 3


def test_candidates_stand_beside_the_rows_image_with_their_seeds(book, payload, image, made, save):
    book.adopt(payload("a"))
    save("a")
    image("images/.previous/a.seed-7.webp", "grey")
    image("images/.previous/a.seed-12-2.png", "black")
    page = made()
    assert {page.data["hrefs"][number] for number in page.data["images"][0][3:]} == {
        "images/.previous/a.seed-7.webp", "images/.previous/a.seed-12-2.png",
    }  # fmt: skip


def test_while_a_redo_is_under_way_the_old_image_is_an_earlier_one(book, payload, made, save):
    book.adopt(payload("a"))
    save("a")
    book.adopt(payload("a", seed=8))
    page = made()
    assert page.columns["status"] == ["pending"]
    assert page.data["images"][0][2] == -1
    assert page.href(0, 3) == "images/a.webp"


def test_an_empty_folder_has_a_sheet(made):
    page = made()
    assert page.data["images"] == []


def test_a_folder_of_failures_tells_reasons_and_what_to_do(book, payload, folder, made):
    book.adopt(*(payload(f"r{n}", prompt=str(n)) for n in range(3)))
    book.bring("r0", State.FAILED)
    book.bring("r1", State.FAILED)
    book.bring("r2", State.UNKNOWN)
    page = made()
    text = folder.sheet.read_text(encoding="utf-8")
    assert re.search(r"<strong>2 . job failed</strong>", text)
    assert f"texbatch retry {folder.path}" in text
    assert f"texbatch resolve {folder.path} --reconcile" in text
    assert page.columns["status"] == ["failed", "failed", "unknown"]


def test_every_error_class_has_its_advice():
    classes = {value for name, value in vars(error_classes).items() if name.isupper()}
    assert classes - set(advice.ADVICE) == {error_classes.OTHER_FORMAT}  # such a row has its image
    assert set(advice.ADVICE) < classes


def test_every_error_class_is_taken_from_the_table():
    """A word that a module writes itself would be missing there, and in the advice."""
    written = re.compile(
        r'error_class\b(?:=|": | = [^:].*)"|(?:NotAccepted|Unknown)\(\s*"|_unfetched\(\w+, "'
    )
    found = {
        path.name
        for path in Path(batch.__file__).parent.rglob("*.py")
        if path.name != "error_classes.py" and written.search(path.read_text(encoding="utf-8"))
    }
    assert found == set()


@pytest.mark.parametrize("error_class", [error_classes.LOST_LEDGER, error_classes.REPEATED_REQUEST_ID])
def test_a_row_that_may_be_paid_is_not_advised_to_be_sent_again(error_class):
    said = advice.advice(error_class, "out")
    assert "texbatch resolve out --reconcile" in said
    assert "retry" not in said


def test_a_long_manifest_is_cut_and_says_so(book, payload, folder, made, monkeypatch):
    """Two with an image and two without are shown of six; the failed one at the end is among them."""
    monkeypatch.setattr(sheet, "MOST_ROWS", 2)
    book.adopt(*(payload(f"r{n}", prompt=str(n)) for n in range(6)))
    for n in range(4):
        book.bring(f"r{n}", State.SAVED, sha256=f"{n}")
        book.keep(f"r{n}")
    book.bring("r5", State.FAILED)
    page = made()
    assert page.columns["id"] == ["r0", "r1", "r4", "r5"]
    assert "2 more rows are in report.csv" in folder.sheet.read_text(encoding="utf-8")


def test_equal_cells_are_written_once():
    assert sheet._packed(["a", "b", "a", "a", "a"]) == {"values": ["a", "b"], "at": [0, 1, 0, 0, 0]}
    assert sheet._packed(["a", "b"]) == {"values": ["a", "b"]}


def test_it_says_that_a_run_is_going_on(book, payload, folder, made):
    book.adopt(payload("a"))
    made(running=True)
    assert "Running, as of" in folder.sheet.read_text(encoding="utf-8")


def test_a_disk_that_refuses_leaves_the_old_sheet(book, payload, folder, made, monkeypatch):
    book.adopt(payload("a"))
    made()
    before = folder.sheet.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sheet, "atomic_write", full)
    with pytest.raises(FolderError, match=r"report\.html: cannot be written \(No space left on device\)"):
        made()
    assert folder.sheet.read_bytes() == before


def test_every_parameter_is_in_a_redo(book, payload, made):
    book.adopt(payload("a"))
    assert {parameter.name for parameter in PARAMETERS} <= set(made().columns)


def test_money_is_written_as_people_write_it(book, payload, folder, made):
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("b", State.UNKNOWN, estimate=None)
    made()
    assert "<dt>At risk</dt><dd>$0.03</dd>" in folder.sheet.read_text(encoding="utf-8")
    book.bring("a", State.COMPLETED, cost=1_234_500_000)
    made()
    assert "<dt>Spent</dt><dd>$1,234.50</dd>" in folder.sheet.read_text(encoding="utf-8")
