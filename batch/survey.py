"""One pass over a manifest: every row staged, every problem told, the first ones by name and the others by number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch.config import NAME
from batch.errors import ManifestError
from batch.intake import expand, fold_name, own_columns
from batch.model import Problem
from batch.redo import Rework

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from batch.config import Reading, Redo
    from batch.intake import Manifest, PictureCache
    from batch.ledger.stage import Stage
    from batch.model import Payload

MOST_PROBLEMS = 10_000
"""Kept of errors, and as many of warnings: however many of these there are, they hide no error."""


@dataclass
class Survey:
    """What one pass over a manifest found; `dropped` errors beyond MOST_PROBLEMS are only counted."""

    columns: tuple[str, ...] = ()
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    dropped: int = 0
    _noted: Counter[bool] = field(default_factory=Counter)

    def note(self, problem: Problem) -> None:
        """Take in one problem."""
        self._noted[problem.warning] += 1
        if self._noted[problem.warning] <= MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.dropped += not problem.warning

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run."""
        return [problem for problem in self.problems if not problem.warning]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that do not."""
        return [problem for problem in self.problems if problem.warning]

    def raise_for_errors(self) -> None:
        """Raise ManifestError with every problem, when one of them stops a run."""
        if self.errors:
            raise ManifestError(self.problems, dropped=self.dropped)


def survey(
    manifest: Manifest,
    reading: Reading,
    stage: Stage,
    seen: PictureCache | None = None,
    *,
    name: str = NAME,
    check: Callable[[], None] = lambda: None,
    redo: Redo | None = None,
    only: Collection[str] = (),
) -> Survey:
    """Read every row into `stage`; return what was found.

    `name` is the template where `reading` has none; `check` is called at each row and may raise, to end it early. A
    `redo` changes the rows and takes in those of `only` alone, since the others stay what they are.
    """
    found = Survey(own_columns(manifest))
    rework = Rework(redo) if redo is not None and redo.changes else None
    rows = expand(
        manifest, overrides=reading.parameters, name_template=reading.name or name, seen=seen, rework=rework
    )
    chosen = frozenset(only) if rework else frozenset()
    with stage.filling():
        stage.add(_good(rows, found, check, chosen), fold_name)
    found.rows = len(stage)
    for problem in stage.clashes(str(manifest.path)):
        found.note(problem)
    if not found.rows and not found.errors:
        found.note(
            Problem(str(manifest.path), None, None, "has no rows.", "Nothing will be sent.", warning=True)
        )
    return found


def _good(
    rows: Iterable[Payload | Problem], found: Survey, check: Callable[[], None], chosen: Collection[str]
) -> Iterator[Payload]:
    """Yield the payloads of the chosen ids, of all where none is; note the problems."""
    for item in rows:
        check()
        if isinstance(item, Problem):
            found.note(item)
        elif not chosen or item.id in chosen:
            yield item
