"""Write a manifest of every product with every texture: `texbatch new`.

Rule 1: what is written validates: only images that can be used are taken, the others are listed with their reasons. Rule 2:
each image has a name of its own, its file's without folder and suffix, which makes the ids; the three formats have the same
rows and ids. Rule 3: no file is written over, and nothing is taken from an output folder. Rule 4: CSV and workbook have one row
a pair; YAML has one line an image, which its matrix combines.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import TYPE_CHECKING

from batch.core.csv_format import bad_character, csv_lines, double_braces
from batch.core.errors import UsageError
from batch.core.models import Issue, Problem
from batch.manifest.input_images import InputImages, OutputFolders
from batch.manifest.naming import fold_name, image_stem, name_fault, normal_name, portable_stem, shown
from batch.manifest.readers.sheet_reader import MAX_ROWS
from batch.manifest.readers.yaml_axis import SUFFIXES, natural_order
from batch.manifest.values import TemplateError, parse_template
from batch.output.folder import OutputFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROMPT = "Apply the {texture} texture to the {product}"
NEW_COLUMNS = ("id", "image_1", "image_2", "prompt", "product", "texture")
_UNUSABLE = frozenset([".svg", ".pdf", ".eps", ".ai", ".psd", ".jxl", ".jp2", ".ico"])
"""Suffixes of drawings and formats that cannot be sent: such files are listed, not passed over."""

_LONGEST_NAME = 80  # bytes
_FORMULA = ("=", "+", "-", "@", "'")
_ESCAPED = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")  # of a character, in a workbook
_WIDTHS = {"id": 32, "image_1": 40, "image_2": 40, "prompt": 56, "product": 20, "texture": 20}


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image of a folder: its name in ids and prompts, and its path from the manifest's folder."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class NewManifest:
    """What was written: the number of products, textures and rows, and each file left out with the reason."""

    path: Path
    products: int
    textures: int
    rows: int
    left_out: tuple[Problem, ...]


def write_new(products: Path, textures: Path, out: Path, prompt: str | None = None) -> NewManifest:
    """Write the manifest `out` of each image below `products` with each below `textures`, subfolders included.

    Raises UsageError where there is nothing to combine, or `out` cannot be written.
    """
    writer = _WRITERS.get(out.suffix.lower())
    if writer is None:
        raise UsageError(
            f"--out {out}: the suffix is none of {' '.join(_WRITERS)}. Name the file like manifest.xlsx."
        )
    if os.path.lexists(out):
        raise UsageError(
            f"--out {out}: is there already, and is not written over. Give another name, or move it away."
        )
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}. Create it, or check the path.")
    prompt = PROMPT if prompt is None else prompt
    _check_prompt(prompt)
    left_out: list[Problem] = []
    found = [
        _images(folder, other, out.parent, left_out)
        for folder, other in ((products, textures), (textures, products))
    ]
    rows = len(found[0]) * len(found[1])
    if rows > MAX_ROWS and writer is not _csv:
        raise UsageError(
            f"--out {out}: there would be {rows} rows, {MAX_ROWS} at most. Write a .csv: it has no limit."
        )
    content = writer(found[0], found[1], prompt)
    try:
        with out.open("xb") as file:
            file.write(content)
    except OSError as error:
        raise UsageError(
            f"--out {out}: cannot be written ({error.strerror}). Check the folder's permissions."
        ) from error
    return NewManifest(out, len(found[0]), len(found[1]), rows, tuple(left_out))


def _check_prompt(prompt: str) -> None:
    """Raise UsageError for a prompt that no row could be given."""
    try:
        names = parse_template(prompt).names
    except TemplateError as error:
        raise UsageError(f"--prompt: {error.reason} {error.remedy}") from error
    unknown = [name for name in names if name not in NEW_COLUMNS or name == "prompt"]
    if unknown:
        raise UsageError(
            f"--prompt: there is no column {unknown[0]}. Known are {{product}}, {{texture}} and {{id}}."
        )
    if issue := bad_character(prompt):
        raise UsageError(f"--prompt: {issue.reason} {issue.remedy}")


# -- the images -------------------------------------------------------------------------------------------------------


def _images(folder: Path, other: Path, base: Path, left_out: list[Problem]) -> list[NamedImage]:
    """Return the images below a folder in natural order; `other` is the folder of the other images, perhaps within it."""
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"{folder}: {reason}. Name the folder that holds the images.")
    if OutputFolder(folder).ledger.exists():
        raise UsageError(
            f"{folder}: is an output folder of texbatch. Name the folder that holds your own images."
        )
    if folder.resolve() == other.resolve():
        raise UsageError(f"{folder}: is given for both products and textures. Put them into two folders.")
    outputs, finder = OutputFolders(), InputImages(base, None)
    images: list[tuple[str, str]] = []
    before = len(left_out)
    for file in _files(folder, other):
        path = _from_base(file, base)
        if outputs.holding(str(file)) is not None:
            continue
        issue = bad_character(path)
        if issue is not None:
            reason = f"{shown(path)!a}: {issue.reason}"
            left_out.append(
                Problem(str(folder), None, None, reason, "Rename that file or folder.", warning=True)
            )
            continue
        seen = finder.find(path)
        if isinstance(seen, Issue):
            left_out.append(Problem(str(folder), None, None, seen.reason, seen.remedy, warning=True))
        else:
            images.append((image_stem(path), path))
    if not images:
        why = f" {left_out[before].reason} {left_out[before].remedy}" if len(left_out) > before else ""
        raise UsageError(
            f"{folder}: holds no image that can be used.{why} Name the folder that holds the images."
        )
    return _named(images)


def _files(folder: Path, other: Path) -> list[Path]:
    """Return the files below a folder that may be images, without hidden ones and without those of the other folder."""
    apart = other.resolve()
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        inside = Path(parent)
        folders[:] = [
            name for name in folders if not name.startswith(".") and (inside / name).resolve() != apart
        ]
        found += [
            inside / name
            for name in files
            if not name.startswith(".") and inside.joinpath(name).suffix.lower() in SUFFIXES | _UNUSABLE
        ]
    return sorted(found, key=lambda file: natural_order(str(file)))


def _from_base(file: Path, base: Path) -> str:
    """Return a file's path from the manifest's folder, so that a cell holds it as it is."""
    path = os.path.relpath(file, base)
    if path.startswith(".."):  # a link on the way up leads elsewhere
        path = os.path.relpath(file.resolve(), base.resolve())
    path = Path(path).as_posix()
    plain = not path.startswith((*_FORMULA, "~", " ", "#")) and ":" not in path
    return path if plain else f"./{path}"


def _named(images: Sequence[tuple[str, str]]) -> list[NamedImage]:
    """Give each image a name of its own that can be part of an id and of a file's name."""
    taken: set[str] = set()
    named: list[NamedImage] = []
    for written, path in images:
        name = stem = _plain_name(written)
        numbers = count(2)
        while fold_name(name) in taken:
            name = f"{stem}-{next(numbers)}"
        taken.add(fold_name(name))
        named.append(NamedImage(name, path))
    return named


def _plain_name(stem: str) -> str:
    """Return a stem as it is where an id, a file's name and a cell may have it; else its letters and digits."""
    name = normal_name(stem.strip())
    is_plain = (
        name_fault(f"{name}.webp", "webp") is None
        and not name.startswith(_FORMULA)
        and not {"{", "}", "/"} & set(name)
        and len(name.encode()) <= _LONGEST_NAME
    )
    return name if is_plain else portable_stem(stem)


def _between(products: Sequence[NamedImage], textures: Sequence[NamedImage]) -> str:
    """Return the separator of an id's two names: a dash, more of them where two pairs would have one id."""
    between = "-"
    pairs = len(products) * len(textures)
    while len({fold_name(one.name + between + two.name) for one, two in product(products, textures)}) < pairs:
        between += "-"
    return between


# -- the formats ------------------------------------------------------------------------------------------------------


def _rows(
    products: Sequence[NamedImage], textures: Sequence[NamedImage], prompt: str
) -> Iterator[tuple[str, ...]]:
    """Yield the header, then one row a pair, the textures of a product together."""
    yield NEW_COLUMNS
    between = _between(products, textures)
    for one, two in product(products, textures):
        identity = f"{one.name}{between}{two.name}"
        yield identity, double_braces(one.path), double_braces(two.path), prompt, one.name, two.name


def _csv(products: Sequence[NamedImage], textures: Sequence[NamedImage], prompt: str) -> bytes:
    return csv_lines(list(_rows(products, textures, prompt)))


def _xlsx(products: Sequence[NamedImage], textures: Sequence[NamedImage], prompt: str) -> bytes:
    """Return a workbook whose cells are text, its header in sight when the rows are scrolled."""
    from openpyxl import Workbook  # noqa: PLC0415  start-up time
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.styles import Font  # noqa: PLC0415

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Pairs")
    sheet.freeze_panes = "A2"
    for letter, width in zip("ABCDEF", _WIDTHS.values(), strict=True):
        sheet.column_dimensions[letter].width = width
    for number, texts in enumerate(_rows(products, textures, prompt)):
        cells = []
        for text in texts:
            cell = WriteOnlyCell(sheet, value=_ESCAPED.sub("_x005F_", text))
            cell.data_type = "s"  # also what openpyxl takes for a formula or an error
            cell.number_format = "@"
            if number == 0:
                cell.font = Font(bold=True)
            cells.append(cell)
        sheet.append(cells)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _yaml(products: Sequence[NamedImage], textures: Sequence[NamedImage], prompt: str) -> bytes:
    """Return a matrix of one line an image."""
    import yaml  # noqa: PLC0415  start-up time

    matrix = {
        "product": [{"product": image.name, "image_1": double_braces(image.path)} for image in products],
        "texture": [{"texture": image.name, "image_2": double_braces(image.path)} for image in textures],
        "id": f"{{product}}{_between(products, textures)}{{texture}}",
    }
    manifest = {"defaults": {"prompt": prompt}, "matrix": matrix}
    text = yaml.safe_dump(
        manifest, allow_unicode=True, sort_keys=False, width=1 << 20, default_flow_style=None
    )
    return f"# Every product with every texture: {len(products)} x {len(textures)} images.\n{text}".encode()


_WRITERS: dict[str, Callable[[Sequence[NamedImage], Sequence[NamedImage], str], bytes]] = {
    ".xlsx": _xlsx, ".csv": _csv, ".yaml": _yaml, ".yml": _yaml,
}  # fmt: skip
