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
    """Return the one line that a message asks to paste, as arguments."""
    lines = {line.partition("Add: ")[2].strip() for line in said.splitlines() if "Add: " in line}
    assert len(lines) == 1, said
    return shlex.split(lines.pop())


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_table_is_read_or_one_line_says_what_to_paste(shop, command, sheet, monkeypatch):
    monkeypatch.chdir(shop)
    path = sheet.write(shop)
    arguments = []
    code, told, said = command("plan", path.name, "--invalid", "skip")
    if code:
        assert not told
        if sheet.name == WITHOUT_IMAGES:
            assert all(f"--{name}" in said for name in ("image-1", "image-2", "prompt")), said
            return
        arguments = [part for part in to_paste(said) if part.startswith("--column") or "=" in part]
        code, told, said = command("plan", path.name, "--invalid", "skip", *arguments, *sheet.more)
    assert code == 0, said
    new = next(line.split() for line in told.splitlines() if line.split()[0] == "new")
    assert int(new[1]) == sheet.good, (told, said)
    if sheet.bad:
        assert f"{sheet.bad} row" in said + told or f"{sheet.bad} invalid" in said + told, (told, said)


def test_nothing_but_what_a_person_pasted_is_taken(shop, command, monkeypatch):
    """A guess is proposed and never taken: the same table without its line stays an error."""
    monkeypatch.chdir(shop)
    sheet = next(sheet for sheet in SHEETS if sheet.name == "shopify")
    path = sheet.write(shop)
    code, told, said = command("plan", path.name, "--invalid", "skip", *sheet.more)
    assert (code, told) == (2, "")
    assert '--column image_1="Image Src"' in said
