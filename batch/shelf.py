"""What lies in a folder of pictures, listed a page at a time, so that a million files need no memory of ours."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batch.errors import FolderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = 1000
PART = (".texbatch-", ".part")
"""How the name of a file begins and ends that is being written."""


class Names(NamedTuple):
    """Names below a folder, with forward slashes: plain files, and all else, sub-folders among it."""

    files: list[str]
    others: list[str]


@dataclass
class Shelf:
    """A folder and all below it, save what lies in `skip`, a folder directly in it.

    Links are not followed: a listing that met one (`linked`) does not tell everything. `check` is called at each page
    and may raise, to end it early.
    """

    folder: Path
    skip: str
    check: Callable[[], None] = lambda: None
    linked: bool = False
    leavings: list[str] = field(default_factory=list)
    """Half-written files of a run that was killed; they are not among the pages."""

    def pages(self) -> Iterator[Names]:
        """Yield what is there, in no order; raises FolderError for a folder that cannot be read."""
        page = Names([], [])
        for name, plain in self._below(""):
            page[not plain].append(name)
            if len(page.files) + len(page.others) == PAGE:
                self.check()
                yield page
                page = Names([], [])
        yield page

    def _below(self, parent: str) -> Iterator[tuple[str, bool]]:
        try:
            entries = os.scandir(self.folder / parent)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as exc:
            raise FolderError(
                f"{self.folder / parent}: cannot be read ({exc.strerror}). Make it readable or move it away: nothing is "
                "paid for again before it is known which pictures lie there."
            ) from exc
        with entries:
            for entry in entries:
                name = parent + entry.name
                if name == self.skip or not (name.isascii() or _is_text(name)):
                    continue
                plain = entry.is_file(follow_symlinks=False)
                if plain and entry.name.startswith(PART[0]) and entry.name.endswith(PART[1]):
                    self.leavings.append(name)
                    continue
                self.linked = self.linked or (not plain and entry.is_symlink())
                yield name, plain
                if not plain and entry.is_dir(follow_symlinks=False):
                    yield from self._below(f"{name}/")


def _is_text(name: str) -> bool:
    """Tell whether a name is text at all: one that is not UTF-8 is none of ours."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
