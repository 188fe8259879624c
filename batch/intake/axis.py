"""One axis of a matrix: what its written values stand for.

    texture: "textures/*.jpg"                   a glob: one choice for each file, the value is the file's stem
    texture: [oak, linen]                       plain values
    texture: [{texture: denim, image_2: d.jpg}] a choice that carries several columns
    texture: [{glob: "extra/*.jpg", as: image_2}]

Rule 1: the files of the axis `product` are image_1, those of `texture` image_2, of an axis named image_… itself;
any other axis must say `as`. Rule 2: a plain value that is a picture's path or URL counts as a glob of one file,
and a plain value that the `rows` pair with one picture takes that picture, unless the matrix or the defaults
give the image. Rule 3: files come in natural order (2 before 10). Rule 4: a glob without files is a problem.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from glob import glob
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batch.intake.document import Fields, Items, Node, Scalar
from batch.intake.names import is_url, picture_stem
from batch.parameters import BY_NAME, IMAGE_PARAMETERS
from batch.table import double_braces

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from batch.intake.findings import Findings

FILLS = {"product": "image_1", "texture": "image_2"}
SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"])
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class Given:
    """What the manifest gives beside the matrix: paths start at `folder`; `limit` more rows are allowed."""

    folder: Path
    rows: Sequence[Mapping[str, str]]
    defaults: Mapping[str, str]
    limit: int


class Axes:
    """Reads axes; knows what the rest of the manifest gives, so that an image is filled once."""

    def __init__(self, given: Given, named: Collection[str], found: Findings) -> None:
        self._folder = given.folder
        self._rows = given.rows
        self._defaults = given.defaults
        self._named = named
        self._found = found

    def choices(self, name: str, node: Node) -> list[dict[str, str]]:
        """Return the choices of one axis, in order; none when there is a problem, which is then noted."""
        before = len(self._found.problems)
        choices: list[dict[str, str]] = []
        items = node.nodes if isinstance(node, Items) else [node]
        for item in items:
            if isinstance(item, Scalar):
                choices += self._scalar(name, item)
            elif isinstance(item, Items):
                self._problem(
                    item, name, "is a list inside a list.", "Write the values of an axis in one list."
                )
            elif "glob" in item.nodes:
                choices += self._glob_item(name, item)
            else:
                choices += self._carrying(name, item)
        if not items:
            self._problem(
                node, name, "is empty, so there is no combination.", "Give it values, or remove it."
            )
        return choices if len(self._found.problems) == before else []

    def _problem(self, node: Node, name: str, reason: str, remedy: str) -> None:
        self._found.problem(node.line, f"matrix.{name}", reason, remedy)

    def _scalar(self, name: str, node: Scalar) -> list[dict[str, str]]:
        value = node.text
        if value is None:
            return [{}]
        if self._is_glob(name, value):
            return self._files(name, node, value, None, {})
        image = FILLS.get(name)
        if image is None or image in self._named or image in self._defaults:
            return [{name: value}]
        if _is_picture(value):
            return [{name: picture_stem(value), image: value}]
        pictures = {row[image] for row in self._rows if row.get(name) == value and image in row}
        return [{name: value, image: pictures.pop()}] if len(pictures) == 1 else [{name: value}]

    def _is_glob(self, name: str, value: str) -> bool:
        if is_url(value) or "{" in value:
            return False
        if name in IMAGE_PARAMETERS or name in FILLS:
            return any(mark in value for mark in "*?[") and not os.path.exists(self._folder / value)  # noqa: PTH110  a name too long is none
        return "*" in value and name not in BY_NAME and name != "id"

    def _glob_item(self, name: str, node: Fields) -> list[dict[str, str]]:
        texts = self._texts(name, node)
        pattern, image = texts.pop("glob", ""), texts.pop("as", None)
        if image is not None and image not in IMAGE_PARAMETERS:
            self._problem(
                node, name, f"as: {image} is no image.", f"Write as: {' or '.join(IMAGE_PARAMETERS)}."
            )
            return []
        return self._files(name, node, pattern, image, texts)

    def _carrying(self, name: str, node: Fields) -> list[dict[str, str]]:
        texts = self._texts(name, node)
        image = FILLS.get(name)
        if name not in texts and image in texts:
            texts = {name: picture_stem(texts[image]), **texts}
        if name not in texts:
            self._problem(
                node,
                name,
                f"a choice does not say its {name}.",
                f"Add {name}: to it, or quote text with braces.",
            )
        return [texts]

    def _texts(self, name: str, node: Fields) -> dict[str, str]:
        texts: dict[str, str] = {}
        for column, value in node.nodes.items():
            if not isinstance(value, Scalar):
                self._problem(value, f"{name}.{column}", "is no single value.", "Give one value a column.")
            elif value.text is not None:
                texts[column] = value.text
        return texts

    def _files(
        self, name: str, node: Node, pattern: str, image: str | None, others: Mapping[str, str]
    ) -> list[dict[str, str]]:
        own_image = name if name in IMAGE_PARAMETERS else None
        fills = image or own_image or FILLS.get(name)
        if fills is None:
            remedy = f'Write {{glob: "{pattern}", as: image_2}}, or image_1, image_3.'
            self._problem(node, name, "is a glob and does not say which image its files are.", remedy)
            return []
        if "\0" in pattern or not pattern:
            self._problem(
                node, name, "has a glob that is empty or holds a NUL.", 'Write glob: "folder/*.jpg".'
            )
            return []
        matches = glob(pattern, root_dir=self._folder, recursive=True)  # noqa: PTH207  may be absolute; no dotfiles
        files = sorted((file for file in matches if (self._folder / file).is_file()), key=_natural)
        if not files:
            self._problem(node, name, f'no file matches "{pattern}".', self._why_none(pattern))
        implied = (
            image is None and own_image is None
        )  # then an axis or a value for that image stands above it
        choices: list[dict[str, str]] = []
        for file in files:
            choice = {} if own_image else {name: picture_stem(file)}
            if not (implied and fills in self._named):
                choice[fills] = double_braces(file)
            choices.append({**choice, **others})
        return choices

    def _why_none(self, pattern: str) -> str:
        parent = self._folder / re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if not parent.is_dir():
            return f"There is no folder {parent}; paths start at the manifest's folder."
        names = sorted((entry.name for entry in parent.iterdir() if entry.is_file()), key=_natural)
        if not names:
            return f"The folder {parent} holds no file."
        return f"{parent} holds {len(names)} files such as {names[0]}; letter case matters."


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    pieces = _DIGITS.split(name.casefold())
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces], name


def _is_picture(value: str) -> bool:
    return "{" not in value and (is_url(value) or PurePosixPath(value).suffix.lower() in SUFFIXES)
