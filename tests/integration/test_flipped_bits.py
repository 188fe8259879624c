"""One bit of a ledger's text has flipped: it is called damaged where it matters, and no row is paid again for it."""

import os
import random
import re
import shutil

import pytest
import support
from support import rows, submits, write_csv

SAVED, FAILED, PLANNED = 4, 1, 2


@pytest.fixture
def whole(hosted, command, tmp_path, out):
    """A folder with saved rows, one of them with a drawn seed, a failed one and planned ones; the manifest has all."""
    hosted.settings(blocked_words=["oak 4"])
    lines = rows(SAVED + FAILED + PLANNED)
    lines[2]["seed"] = -1
    manifest = write_csv(tmp_path / "pairs.csv", lines)
    chosen = ",".join(f"row-{n}" for n in range(SAVED + FAILED))
    assert command("run", manifest, "--out", out, "--only", chosen)[0] == 1
    shutil.copytree(out, tmp_path / "whole")
    return manifest


def flip(path, offset, bit):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(bytes(data))


def try_all(hosted, command, manifest, out):
    """Give every command; return the codes. No row that was saved is accepted again, whatever they say."""
    codes = {}
    for args in (
        ("status", out),
        ("plan", manifest, "--out", out),
        ("run", manifest, "--out", out, "--yes", "--settle", "0s", "--progress", "none"),
        ("report", out),
        ("resolve", out),
        ("retry", out, "--yes", "--settle", "0s", "--progress", "none"),
    ):
        code, _, warned = command(*args)
        codes[args[0]] = code
        assert code != 70, warned
        assert "ove it away" not in warned
        assert "is safe" not in warned
        if code in {2, 3} and "damaged" in warned:
            assert "Restore it from a copy, and leave it where it is" in warned
    twice = [job["prompt"] for job in hosted.stats()["jobs"]]
    assert [prompt for prompt in {f"oak {n}" for n in range(SAVED)} if twice.count(prompt) != 1] == []
    return codes


def places(data, text):
    return [match.start() for match in re.finditer(re.escape(text), data)]


def test_a_paid_rows_key_is_never_taken_for_other_work(hosted, command, whole, out, tmp_path):
    """In the table of jobs, in that of rows, and in the index; also of the row whose seed was drawn."""
    report = support.by_id(out)
    data = (out / "ledger.sqlite").read_bytes()
    tried = 0
    for row_id in ("row-0", "row-2"):
        for place in places(data, report[row_id]["payload_key"].encode()):
            shutil.rmtree(out)
            shutil.copytree(tmp_path / "whole", out)
            flip(out / "ledger.sqlite", place + 20, 1)
            assert try_all(hosted, command, whole, out)["run"] in {
                1,
                2,
                3,
            }  # what a row asked for matters only where its seed is drawn
            tried += 1
    assert tried >= 5


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("text", "within", "bit"),
    [
        pytest.param(b"saved", 2, 0, id="a state"),
        pytest.param(b'{"aspect_ratio"', 0, 3, id="JSON"),
        pytest.param(b'{"aspect_ratio"', 5, 2, id="the name of a parameter"),
        pytest.param(b"CREATE TABLE runs", 14, 1, id="the name of a table"),
        pytest.param(b"ended_at     REAL", 0, 3, id="the name of a column"),
        pytest.param(b'prompt":"oak 1', 12, 7, id="a byte that is not UTF-8"),
        pytest.param(b'prompt":"oak 5', 13, 1, id="the prompt of a planned row"),
        pytest.param(b"texb", 0, 0, id="the header"),
    ],
)  # fmt: skip
def test_a_flipped_bit_is_damage_and_not_an_error_of_ours(hosted, command, whole, out, text, within, bit):
    found = places((out / "ledger.sqlite").read_bytes(), text)
    assert found
    flip(out / "ledger.sqlite", found[-1] + within, bit)
    try_all(hosted, command, whole, out)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 30))])
def test_bits_flipped_anywhere(hosted, command, whole, out, tmp_path, seed):
    dice = random.Random(seed)
    size = (out / "ledger.sqlite").stat().st_size
    for _ in range(8):
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "whole", out)
        flip(out / "ledger.sqlite", dice.randrange(size), dice.randrange(8))
        try_all(hosted, command, whole, out)


@pytest.mark.slow
def test_work_that_is_about_to_be_paid_for_is_the_work_of_its_key(hosted, command, whole, out):
    """Its prompt differs by one bit, and the manifest is not read again: nothing is sent for it."""
    data = (out / "ledger.sqlite").read_bytes()
    (place, *_) = places(data, b'"prompt":"oak 6"')
    flip(out / "ledger.sqlite", place + len('"prompt":"oak '), 0)
    before = submits(hosted)
    code, _, told = command("retry", out, "--status", "pending")
    assert (code, "damaged" in told, submits(hosted) - before) == (2, True, 0), told


def test_a_ledger_of_another_user_is_not_to_be_moved_away(hosted, command, whole, out, monkeypatch):
    """Opening it is refused by the system; the tests may run as root, who may open everything."""
    opened = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("ledger.sqlite"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr("batch.ledger.connection.os.open", refuse)
    code, _, told = command("run", whole, "--out", out)
    assert (code, "Permission denied" in told, "Run as the user whose folder this is" in told) == (
        2,
        True,
        True,
    )
    assert "ove it away" not in told
