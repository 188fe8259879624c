"""The contact sheet: what goes into it, how its text is made harmless, and thumbnails that are made once."""

import json
import re
from pathlib import Path

import pytest

import batch
from batch.errors import FolderError
from batch.ledger.states import State
from batch.parameters import PARAMETERS
from batch.results import advice, report, sheet

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
    assert page.data["pictures"][0][0] == -1
    assert url not in page.data["hrefs"]


def test_hostile_text_ends_no_element_and_starts_none(book, payload, folder, made):
    book.adopt(
        payload(HOSTILE, output="a.webp", prompt=HOSTILE, cells={"note": HOSTILE}), columns=("id", "note")
    )
    book.bring(HOSTILE, State.FAILED, error=HOSTILE, error_class=HOSTILE)
    page = made()
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("style")) == (2, 1)
    assert [attributes["id"] for tag, attributes in page.elements if tag == "img"] == ["after", "before"]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.columns["note"] == [HOSTILE]
    text = folder.sheet.read_text(encoding="utf-8")
    assert "\u2028" not in page.texts["data"]
    assert "<!--" not in text
    assert "49" not in re.findall(r"onerror[^&]*", text)


def test_embedded_json_comes_back_as_it_was():
    value = {"a": [HOSTILE, "\u2029 & 😀", None, 1.5]}
    text = sheet.embedded(value)
    assert not set("<>&'\u2028\u2029") & set(text)
    assert json.loads(text) == value


def test_the_policy_allows_its_own_script_and_style_alone(book, payload, made):
    book.adopt(payload("a"))
    page = made()
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "'self' file:",
        "style-src": sheet._hash(page.texts["style"]),
        "script-src": sheet._hash(page.texts["script"]),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not any(name in attributes for _, attributes in page.elements for name in ("src", "style"))
    assert not any(tag == "link" for tag, _ in page.elements)


def test_earlier_versions_stand_beside_the_new_picture(book, payload, picture, made, save):
    book.adopt(payload("a", output="deep/a.webp"), payload("ab", prompt="2"))
    save("a")
    save("ab")
    picture("images/.previous/deep/a.20260102T030405Z.png", "grey")
    picture("images/.previous/deep/a.20260203T030405Z-1.webp", "black")
    picture("images/.previous/ab.no-version.webp")
    page = made()
    earlier = [page.data["hrefs"][number] for number in page.data["pictures"][0][3:]]
    assert earlier == [
        "images/.previous/deep/a.20260203T030405Z-1.webp", "images/.previous/deep/a.20260102T030405Z.png",
    ]  # fmt: skip
    assert len(page.data["pictures"][1]) == 3


def test_while_a_redo_is_under_way_the_old_picture_is_an_earlier_one(book, payload, made, save):
    book.adopt(payload("a"))
    save("a")
    book.adopt(payload("a", seed=8))
    page = made()
    assert page.columns["status"] == ["pending"]
    assert page.data["pictures"][0][2] == -1
    assert page.href(0, 3) == "images/a.webp"


def test_an_empty_folder_has_a_sheet(made):
    page = made()
    assert page.data["pictures"] == []


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


def test_every_reason_of_the_package_has_its_advice():
    """Reasons are words in the source; this finds those that no advice knows."""
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(batch.__file__).parent.rglob("*.py"))
    words = set(re.findall(r'error_class(?:=|": )"(\w+)"|(?:Bounced|Unknown)\("(\w+)"', sources))
    assert {word for pair in words for word in pair if word} - set(advice.ADVICE) == set()


def test_a_long_manifest_is_cut_and_says_so(book, payload, folder, made, monkeypatch):
    """Two with a picture and two without are shown of six; the failed one at the end is among them."""
    monkeypatch.setattr(sheet, "MOST", 2)
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

    monkeypatch.setattr(sheet, "write_whole", full)
    with pytest.raises(FolderError, match=r"report\.html: cannot be written \(No space left on device\)"):
        made()
    assert folder.sheet.read_bytes() == before


def test_every_parameter_is_in_a_redo(book, payload, made):
    book.adopt(payload("a"))
    assert {parameter.name for parameter in PARAMETERS} <= set(made().columns)


def test_times_and_money_as_people_say_them():
    assert [sheet._span(seconds) for seconds in (4.26, 59.4, 61, 3725)] == [
        "4.3 s",
        "59 s",
        "1 min 1 s",
        "1 h 2 min",
    ]
    assert (sheet._usd(None), sheet._usd(1234.5)) == ("unknown", "$1,234.50")
