"""Secrets are read from whatever an editor made of their file, and shown nowhere; control characters are shown, never sent."""

import json
from pathlib import Path

import pytest
import support
from support import rows, write_csv

KEY = "SG_5ec4e7c0ffee5ec4"
ESCAPES = "no \x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2028 oak\r\njob.saved id=forged"


@pytest.fixture
def caught(monkeypatch):
    """Catch what a run would be given."""

    class Caught:
        service = None

    def catch(_manifest, _settings, service, **_):
        Caught.service = service
        raise SystemExit(0)

    monkeypatch.setattr("batch.execution.runner.run", catch)
    return Caught


@pytest.fixture
def manifest(pairs):
    return pairs(1)


DOTENV = {
    "plain": f"SEGMIND_API_KEY={KEY}\n".encode(),
    "quoted, exported": f'export SEGMIND_API_KEY="{KEY}"\r\n'.encode(),
    "a mark of UTF-8": f"\ufeffSEGMIND_API_KEY={KEY}\n".encode(),
    "UTF-16, as PowerShell writes it": f"\ufeffSEGMIND_API_KEY={KEY}\r\n".encode("utf-16-le"),
    "UTF-16, the other way round": f"\ufeffSEGMIND_API_KEY={KEY}\n".encode("utf-16-be"),
    "UTF-16 without its mark": f"SEGMIND_API_KEY={KEY}\n".encode("utf-16-le"),
    "big-endian without its mark": f"SEGMIND_API_KEY={KEY}\n".encode("utf-16-be"),
    "a Latin-1 letter in a comment": b"# f\xfcr Z\xfcrich\nSEGMIND_API_KEY=" + KEY.encode() + b"\n",
    "a Latin-1 letter in another value": b"SEGMIND_API_KEY=" + KEY.encode() + b"\nCAF\xc9=\xe9\n",
}
ALONE = {
    "alone": KEY.encode(),
    "with line ends": f"\n{KEY}\r\n\n".encode(),
    "in quotes": f"'{KEY}'\n".encode(),
    "in UTF-16": f"\ufeff{KEY}\r\n".encode("utf-16-le"),
    "below a comment": f"# of the shop\n{KEY}\n".encode(),
    "as cmd sets it": f"set segmind_api_key={KEY}\r\n".encode(),
    "as PowerShell sets it": f'$env:SEGMIND_API_KEY = "{KEY}"\n'.encode(),
    "as YAML": f"SEGMIND_API_KEY: {KEY}\n".encode(),
    "among others": f"SEGMIND_BASE_URL=http://h\nSEGMIND_API_KEY={KEY}\n".encode(),
}


@pytest.mark.parametrize("data", DOTENV.values(), ids=DOTENV)
def test_a_dotenv_of_any_editor_is_read(command, caught, manifest, data):
    (manifest.parent / ".env").write_bytes(data)
    code, told, said = command("run", manifest, "--out", "out", "--log-format", "json")
    assert (code, KEY in told + said) == (0, False)
    assert caught.service.api_key == KEY


@pytest.mark.parametrize("data", (DOTENV | ALONE).values(), ids=DOTENV | ALONE)
def test_a_key_file_of_any_editor_is_read(command, caught, manifest, tmp_path, data):
    (tmp_path / "key").write_bytes(data)
    assert command("run", manifest, "--out", "out", "--api-key-file", tmp_path / "key")[0] == 0
    assert caught.service.api_key == KEY


UNUSABLE = {
    "two keys": (f"{KEY}\nSG_another\n".encode(), "contains 2 lines"),
    "nothing": (b"", "contains no key"),
    "blank lines": (b"\n \r\n\t", "contains no key"),
    "a name without its value": (b"SEGMIND_API_KEY=\n", "contains no key"),
    "a letter no header carries": (KEY.encode() + b"\xe9", "no HTTP header can carry"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + KEY.encode() * 3, "key"),
    "too much": (KEY.encode() * 100_000, "too large"),
}


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(("data", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_file_that_cannot_be_used_is_named_and_not_shown(
    command, caught, manifest, tmp_path, monkeypatch, data, said, log_format
):
    """Another key elsewhere does not stand in for it."""
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_of_another_account")
    (tmp_path / "key.txt").write_bytes(data)
    code, out, err = command(
        "run", manifest, "--out", "out", "--api-key-file", tmp_path / "key.txt", "--log-format", log_format
    )
    assert (code, "key.txt" in err, said in err) == (2, True, True), err
    assert KEY not in out + err
    assert caught.service is None


def test_a_dotenv_whose_key_cannot_be_sent_is_named_and_not_shown(command, caught, manifest):
    (manifest.parent / ".env").write_bytes(b"SEGMIND_API_KEY=" + KEY.encode() + b"\xe9\n")
    code, out, err = command("run", manifest, "--out", "out", "--log-format", "json")
    assert (code, ".env" in err, KEY in out + err) == (2, True, False)


@pytest.mark.parametrize("place", ["environment", "file", "dotenv"])
def test_a_dotenv_is_opened_only_when_nothing_else_gives_the_key(
    command, caught, manifest, tmp_path, monkeypatch, place
):
    opened = []
    opening = Path.open

    def watched(path, *args, **options):
        opened.append(path.name)
        if path.name == ".env":
            raise PermissionError(13, "Permission denied")
        return opening(path, *args, **options)

    (manifest.parent / ".env").write_text(f"SEGMIND_API_KEY={KEY}\n")
    (tmp_path / "key").write_text(KEY)
    if place == "environment":
        monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setattr(Path, "open", watched)
    options = ["--api-key-file", tmp_path / "key"] if place == "file" else []
    code, _, err = command("run", manifest, "--out", "out", *options)
    assert (code, ".env" in opened) == ((2, True) if place == "dotenv" else (0, False))
    assert (".env: cannot be read (Permission denied)" in err) is (place == "dotenv")


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_a_blank_variable_is_no_key(command, caught, manifest, monkeypatch, blank):
    (manifest.parent / ".env").write_text(f"SEGMIND_API_KEY={KEY}\n")
    monkeypatch.setenv("SEGMIND_API_KEY", blank)
    assert command("run", manifest, "--out", "out")[0] == 0
    assert caught.service.api_key == KEY


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_internal_error_quotes_no_bytes_of_a_file(command, manifest, tmp_path, monkeypatch, log_format):
    """The repr of a UnicodeDecodeError holds all it was given."""
    (tmp_path / "file").write_bytes(b"SG_not_registered \xe9")

    def broken(*_, **__):
        (tmp_path / "file").read_text(encoding="utf-8")

    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setattr("batch.execution.runner.run", broken)
    code, out, err = command("run", manifest, "--out", "out", "--log-format", log_format)
    assert (code, "SG_not_registered" in out + err, "UnicodeDecodeError" in err) == (70, False, True)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEGMIND_BASE_URL", f"https://me:pass-word@{KEY}.example"),
        ("SEGMIND_HISTORY_URL", f"ftp://{KEY}"),
        ("https_proxy", f"socks5://me:pass-word@{KEY}"),
    ],
)
def test_a_setting_that_is_wrong_shows_no_secret(command, manifest, monkeypatch, variable, value):
    """Hidden before it can fail: the key itself, and passwords in URLs."""
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setenv(variable, value)
    code, out, err = command("run", manifest, "--out", "out", "--log-format", "json")
    assert code == 2
    assert "pass-word" not in out + err
    assert KEY not in out + err


# -- control characters -----------------------------------------------------------------------------------------------


def clean(text):
    return support.without_controls(text) and "\njob.saved id=forged" not in text


def test_control_characters_of_the_service_are_shown_and_never_sent(hosted, command, pairs, out):
    hosted.faults(
        [
            {
                "call": "submit",
                "action": "status",
                "status": 422,
                "body": {"error": ESCAPES},
                "prompt": "oak 0",
            },
            {
                "call": "submit",
                "action": "status",
                "status": 502,
                "body": {"error": ESCAPES},
                "prompt": "oak 1",
            },
            {"call": "credits", "action": "status", "status": 500, "body": {"error": ESCAPES}},
            {"call": "history", "action": "status", "status": 404, "body": {"error": ESCAPES}},
        ]
    )
    code, *told = command("run", pairs(3), "--out", out, "-v", "--settle", "0s")
    assert code == 4
    told += [text for args in (["status", out], ["status", out, "--json"], ["resolve", out], ["doctor", "--out", out])
             for text in command(*args)[1:]]  # fmt: skip
    assert all(map(clean, told)), told
    assert sum(r"\x1b]0;owned" in text for text in told) >= 3


def test_a_stop_of_the_service_forges_no_line(hosted, command, pairs, out):
    hosted.faults([{"call": "submit", "action": "status", "status": 403, "body": {"error": ESCAPES}}])
    code, *told = command("run", pairs(1), "--out", out)
    assert (code, all(map(clean, told))) == (3, True), told
    assert r"\x1b]0;owned" in "".join(told)


def test_every_line_of_a_json_log_is_one_and_has_no_control_character(hosted, command, pairs, out):
    hosted.faults([{"call": "submit", "action": "status", "status": 422, "body": {"error": ESCAPES}}])
    _, _, err = command("run", pairs(2), "--out", out, "--log-format", "json", "-v")
    assert clean(err)
    told = [json.loads(line) for line in err.splitlines()]
    errors = [line["error"] for line in told if line["event"] == "job.failed"]
    assert len(errors) == 2
    assert all("owned" in error for error in errors)


@pytest.mark.parametrize(
    "command_line", [["validate"], ["run", "--out", "out"], ["plan", "--out", "out"]], ids=" ".join
)
def test_names_of_a_manifest_are_shown_and_never_sent(hosted, command, tmp_path, monkeypatch, command_line):
    monkeypatch.chdir(tmp_path)
    name, *options = command_line
    lines = [rows(1)[0] | {"id": "a\x1b[2Jb", "image_1": "gone\x1b]0;owned\x07\x9b.jpg", "seed": "\x1bmany"}]
    manifest = write_csv(tmp_path / "pairs\u202e\x1b.csv", lines)
    code, *told = command(name, manifest, *options)
    assert code == 2
    assert all(map(clean, told)), told
    assert r"\x1b" in "".join(told)


def test_a_row_with_an_escape_in_its_name_is_listed_without_it(hosted, command, tmp_path, out):
    """Where ids may hold one at all."""
    manifest = write_csv(tmp_path / "pairs.csv", [rows(1)[0] | {"id": "a\u202eb"}])
    hosted.faults([{"call": "submit", "action": "reset_after"},
                   {"call": "history", "action": "status", "text": "unavailable"}])  # fmt: skip
    told = [text for args in (["run", manifest, "--out", out, "-v"], ["resolve", out], ["status", out])
            for text in command(*args)[1:]]  # fmt: skip
    assert all(map(clean, told)), told
