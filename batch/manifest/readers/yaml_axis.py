"""One axis of a matrix: the choices that its written values give.

    texture: "textures/*.jpg"                   a glob: one choice for each file, the value is the file's stem
    texture: [oak, linen]                       plain values
    texture: [{texture: denim, image_2: d.jpg}] a choice that carries several columns
    texture: [{glob: "extra/*.jpg", as: image_2}]

Rule 1: the files of the axis `product` are image_1, those of `texture` image_2, of an axis named image_… itself; any
other axis must say `as`. Rule 2: a plain value that is an image's path or URL counts as a glob of one file, and a plain
value that the `rows` pair with one image takes that image, unless the matrix or the defaults give the image. Rule 3:
files come in natural order (2 before 10). Rule 4: a glob without files is a problem. Rule 5: no glob yields a file of
an output folder, of this job or another: last night's images are not tonight's products.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from glob import glob
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batch.core.csv_format import double_braces
from batch.core.parameters import BY_NAME, IMAGE_PARAMETERS
from batch.manifest.naming import image_stem, is_url, shown
from batch.manifest.readers.yaml_document import Fields, Items, Node, ScalarNode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from batch.manifest.headings import Headings
    from batch.manifest.input_images import OutputFolders
    from batch.manifest.problems import ProblemLog

FILLS = {"product": "image_1", "texture": "image_2"}
SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"]
)
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class MatrixContext:
    """The rest of the manifest, for its matrix: paths start at `folder`; `limit` more rows are allowed.

    `headings` are those of the whole manifest.
    """

    folder: Path
    rows: Sequence[Mapping[str, str]]
    defaults: Mapping[str, str]
    limit: int
    outputs: OutputFolders
    headings: Headings


class Axes:
    """Reads axes. It knows the rest of the manifest, so that each image is filled once."""

    def __init__(self, given: MatrixContext, named: Collection[str], found: ProblemLog) -> None:
        self._given = given
        self._folder = given.folder
        self._named = named
        self._found = found
        self._left_out: dict[str, set[str]] = {}

    def choices(self, name: str, node: Node) -> list[dict[str, str]]:
        """Return the choices of one axis, in order; none when there is a problem, which is then noted."""
        before = len(self._found.problems)
        choices: list[dict[str, str]] = []
        items = node.nodes if isinstance(node, Items) else [node]
        for item in items:
            if isinstance(item, ScalarNode):
                choices += self._scalar(name, item)
            elif isinstance(item, Items):
                remedy = "Write the values of an axis in one list."
                self._problem(item, name, "is a list inside a list.", remedy)
            elif "glob" in item.nodes:
                choices += self._glob_item(name, item)
            else:
                choices += self._carrying(name, item)
        if not items:
            remedy = "Give it values, or remove it."
            self._problem(node, name, "is empty, so there is no combination.", remedy)
        return choices if len(self._found.problems) == before else []

    def warn_of_outputs(self, line: int) -> None:
        """Warn of each output folder that a glob reached into, once."""
        for folder, files in sorted(self._left_out.items()):
            self._found.warning(
                line, "matrix", f"{len(files)} files of the output folder {shown(folder)} match a glob and are left out.",
                "If one is meant as a product, name it in `rows:`, or copy it elsewhere.",
            )  # fmt: skip

    def _problem(self, node: Node, name: str, reason: str, remedy: str) -> None:
        self._found.problem(node.line, f"matrix.{name}", reason, remedy)

    def _scalar(self, name: str, node: ScalarNode) -> list[dict[str, str]]:
        value = node.text
        if value is None:
            return [{}]
        if self._is_glob(name, value):
            return self._files(name, node, value, None, {})
        image = FILLS.get(name)
        if image is None or image in self._named or image in self._given.defaults:
            return [{name: value}]
        if _is_image(value):
            return [{name: image_stem(value), image: value}]
        paired = {row[image] for row in self._given.rows if row.get(name) == value and image in row}
        return [{name: value, image: paired.pop()}] if len(paired) == 1 else [{name: value}]

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
            remedy = f"Write as: {' or '.join(IMAGE_PARAMETERS)}."
            self._problem(node, name, f"as: {image} is not an image parameter.", remedy)
            return []
        return self._files(name, node, pattern, image, texts)

    def _carrying(self, name: str, node: Fields) -> list[dict[str, str]]:
        texts = self._texts(name, node)
        image = FILLS.get(name)
        if name not in texts and image in texts:
            texts = {name: image_stem(texts[image]), **texts}
        if name not in texts:
            remedy = f"Add {name}: to it, or quote text with braces."
            self._problem(node, name, f"a choice does not say its {name}.", remedy)
        return [texts]

    def _texts(self, name: str, node: Fields) -> dict[str, str]:
        texts: dict[str, str] = {}
        for column, value in node.nodes.items():
            if not isinstance(value, ScalarNode):
                self._problem(value, f"{name}.{column}", "is not a single value.", "Give one value a column.")
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
            remedy = 'Write glob: "folder/*.jpg".'
            self._problem(node, name, "has a glob that is empty or holds a NUL.", remedy)
            return []
        matches = glob(pattern, root_dir=self._folder, recursive=True)  # noqa: PTH207  may be absolute; no dotfiles
        files = sorted((file for file in matches if (self._folder / file).is_file()), key=natural_order)
        files = [file for file in files if not self._is_output(file)]
        if not files and matches and self._left_out:
            remedy = "Keep products elsewhere, or give another --out. A result that is meant can be named in `rows:`."
            reason = f'"{pattern}" matches only files of the output folder {shown(min(self._left_out))}.'
            self._problem(node, name, reason, remedy)
        elif not files:
            self._problem(node, name, f'no file matches "{pattern}".', self._why_none(pattern))
        for file in files:
            if shown(file) != file:
                reason = f'the name of the file "{shown(file)}" is not valid UTF-8.'
                self._problem(node, name, reason, "Rename it: its name goes into the row and the report.")
        implied = image is None and own_image is None  # then an axis or a value for that image overrides it
        choices: list[dict[str, str]] = []
        for file in files:
            choice = {} if own_image else {name: image_stem(file)}
            if not (implied and fills in self._named):
                choice[fills] = double_braces(file)
            choices.append({**choice, **others})
        return choices

    def _is_output(self, file: str) -> bool:
        """Return whether texbatch made a file, and note its folder."""
        path = str(self._folder / file)
        folder = self._given.outputs.holding(path)
        if folder is not None:
            self._left_out.setdefault(folder, set()).add(os.path.realpath(path))
        return folder is not None

    def _why_none(self, pattern: str) -> str:
        parent = self._folder / re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]
        if not parent.is_dir():
            return f"There is no folder {parent}; paths start at the manifest's folder."
        names = sorted((entry.name for entry in parent.iterdir() if entry.is_file()), key=natural_order)
        if not names:
            return f"The folder {parent} holds no file."
        return f"{parent} holds {len(names)} files such as {shown(names[0])}; letter case matters."


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return the key that sorts files in natural order: 2 before 10."""
    pieces = _DIGITS.split(name.casefold())
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces], name


def _is_image(value: str) -> bool:
    return "{" not in value and (is_url(value) or PurePosixPath(value).suffix.lower() in SUFFIXES)
