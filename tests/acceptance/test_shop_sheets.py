"""Tables as people have them: each is read as it is, or one line says what to paste; with that line its good rows are planned."""

import shlex

import pytest
from PIL import Image
from shop_sheets import SHEETS, A, B, C, T, U

WITHOUT_IMAGES = "price_list"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    for number, name in enumerate((A, B, C, T, U)):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (24 + number, 24), (40 * number, 90, 200)).save(folder / name)
    return folder


def to_paste(said):
    """Return the columns that a message proposes, as the arguments that it asks to paste."""
    lines = {line.partition("Add: ")[2].strip() for line in said.splitlines() if "Add: " in line}
    assert len(lines) == 1, said
    words = shlex.split(lines.pop())
    return [
        part
        for option in zip(words[::2], words[1::2], strict=True)
        if option[0] == "--column"
        for part in option
    ]


@pytest.mark.quick(8)
@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_table_is_read_or_one_line_says_what_to_paste(shop, command, sheet, monkeypatch):
    """Where an option is all that is needed, it is named."""
    monkeypatch.chdir(shop)
    path = sheet.write(shop)
    code, told, said = command("plan", path.name, "--invalid", "skip")
    if code:
        assert not told
        options = [part for part in sheet.more if part.startswith("--")]
        if sheet.name == WITHOUT_IMAGES:
            options = ["--image-1", "--image-2", "--prompt"]
        assert all(option in said for option in options), said
        if sheet.name == WITHOUT_IMAGES:
            return
        pasted = to_paste(said) if "Add: " in said else []
        assert pasted or options
        code, told, said = command("plan", path.name, "--invalid", "skip", *pasted, *sheet.more)
    assert code == 0, said
    counts = {
        line[:16].strip(): int(line[16:].split()[0]) for line in told.splitlines() if line.startswith("  ")
    }
    assert (counts["new"], counts.get("invalid", 0)) == (sheet.good, sheet.bad), (told, said)


def test_nothing_but_what_a_person_pasted_is_taken(shop, command, monkeypatch):
    """A guess is proposed and never taken: the same table without its line stays an error."""
    monkeypatch.chdir(shop)
    sheet = next(sheet for sheet in SHEETS if sheet.name == "shopify")
    path = sheet.write(shop)
    code, told, said = command("plan", path.name, "--invalid", "skip", *sheet.more)
    assert (code, told) == (2, "")
    assert '--column image_1="Image Src"' in said
