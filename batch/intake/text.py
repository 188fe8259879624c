"""Text files of unknown making: which encoding, and on which line it breaks.

Rule 1: UTF-8 with or without BOM is read as it is; anything else must be named (`--encoding`), never guessed: a
wrong guess is a wrong prompt that costs money. Rule 2: a byte that does not decode is reported with its line as
an editor counts it.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, NoReturn

from batch.errors import ManifestError
from batch.intake.spelling import did_you_mean
from batch.model import Problem

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

BOM = "\ufeff"
DEFAULT = "utf-8-sig"
SAVE_AS_UTF8 = 'Save it as "CSV UTF-8", or name its encoding with --encoding (from Excel often cp1252).'
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ZIP = b"PK\x03\x04"
_HEAD = 512


def refuse(path: Path, row: int | None, reason: str, remedy: str, column: str | None = None) -> NoReturn:
    """Raise the ManifestError of one problem."""
    raise ManifestError([Problem(str(path), row, column, reason, remedy)])


def check_readable(path: Path) -> None:
    """Raise ManifestError unless `path` is a file we may read."""
    if path.is_dir():
        refuse(path, None, "is a folder.", "Name the manifest file inside it.")
    if path.exists() and not path.is_file():
        refuse(path, None, "is no regular file.", "Write the manifest to a file: it is read twice.")
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        refuse(path, None, "does not exist.", _similar(path) or "Check the path.")
    except OSError as error:
        refuse(path, None, f"cannot be read ({error.strerror}).", "Check its permissions.")


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either: check the path."
    return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])


def codec_of(path: Path, encoding: str | None) -> str:
    """Return the codec to read a file with; raise ManifestError when UTF-8 is expected and it is visibly not."""
    if encoding is not None:
        try:
            name = codecs.lookup(encoding).name
            "".encode(name)  # codecs such as base64 are no text encodings
        except LookupError:
            refuse(path, None, f"the encoding {encoding!r} is not known.", "Try utf-8, utf-16 or cp1252.")
        return DEFAULT if name == "utf-8" else name
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for bom, name in _UTF16.items():
        if head.startswith(bom):
            refuse(path, 1, "the file is UTF-16, not UTF-8.", f"Save it as UTF-8, or add --encoding {name}.")
    if head.startswith(_ZIP):
        refuse(
            path, None, "is a ZIP archive, perhaps an Excel workbook, not text.", 'Save it as "CSV UTF-8".'
        )
    if b"\0" in head:
        order = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        line = head[: head.index(b"\0")].count(b"\n") + 1
        refuse(
            path,
            line,
            "there are NUL bytes: the file is UTF-16 or no text at all.",
            f"Save it as UTF-8, or add --encoding {order}.",
        )
    return DEFAULT


def open_text(path: Path, codec: str) -> TextIO:
    """Open a file for reading lines with their own line ends: LF, CRLF and CR each end one."""
    return path.open(encoding=codec, newline="")


def undecodable(path: Path, codec: str) -> Problem:
    """Return the problem of a file that failed to decode, with the first line that does not."""
    line = _first_bad_line(path, codec)
    name = "UTF-8" if codec == DEFAULT else codec
    remedy = SAVE_AS_UTF8 if codec == DEFAULT else f"The file is not {name}: name its real --encoding."
    return Problem(str(path), line, None, f"there are bytes that are not {name}.", remedy)


def _first_bad_line(path: Path, codec: str) -> int:
    """Decode step by step, one physical line of bytes at a time."""
    decoder = codecs.getincrementaldecoder(codec)()
    number = 1
    with path.open("rb") as file:
        for (
            raw
        ) in file:  # split at the byte LF, which in UTF-16 may be half a letter: count in the text instead
            try:
                text = decoder.decode(raw)
            except UnicodeDecodeError as error:
                before = raw[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                return number + before.count(b"\n")
            number += text.count("\n") + text.replace("\r\n", "").count("\r")
    return number  # the last line ends within a letter
