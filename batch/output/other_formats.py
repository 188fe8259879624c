"""Where an image is put that came in another format than asked: under its own suffix, and never over anything else.

A name is free when no row of the manifest but its own wants its image there or has one there, and no other file has it;
else a number is put on it. What a row asks for is written down beside the name, so that it is looked for there from then
on and nothing is moved again.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.core.parameters import EXTENSIONS
from batch.manifest.naming import fold_name
from batch.output import images

if TYPE_CHECKING:
    from batch.core.models import StoredImage, Target, Task
    from batch.ledger.store import LedgerStore
    from batch.output.files import ImageStore


@dataclass(frozen=True, slots=True)
class OtherFormats:
    """Names for one run or restore of a folder; used on the ledger's thread alone."""

    image_store: ImageStore
    _chosen: dict[str, str] = field(default_factory=dict, init=False)
    """Folded name → the row's id; its file may not be there yet."""

    def renamed(self, store: LedgerStore, task: Task, image: StoredImage) -> Task:
        """Return the task with each target under a name that suits the format the image came in; blocking."""
        if image.came_as is None:
            return task
        if not self._chosen:
            store.note_places(fold_name)
        return replace(task, targets=tuple(self._suited(store, target, image) for target in task.targets))

    def _suited(self, store: LedgerStore, target: Target, image: StoredImage) -> Target:
        stem, extension = target.output.rpartition(".")[0], EXTENSIONS[image.came_as or ""]
        names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        name = next(
            name
            for name in (f"{each}.{extension}" for each in names)
            if self._chosen.get(fold_name(name), target.id) == target.id
            and store.is_name_free(name, target.id)
            and (name == target.kept or images.holds_no_other(self.image_store, name, image.sha256))
        )
        self._chosen[fold_name(name)] = target.id
        return replace(target, output=name, asked=target.output)
