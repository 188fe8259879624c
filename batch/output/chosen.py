"""Put the images at their place that people chose, and what lay there beside the other candidates.

Only who holds the folder does it, with no job in flight. First the ledger gives the row its job, then the files are moved:
when the process dies in between, the row's image is not at its place yet, and the next command that holds the folder goes on.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batch.core.models import aside_name
from batch.core.units import named
from batch.ledger import choices
from batch.output import images
from batch.output.files import PREVIOUS
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions

if TYPE_CHECKING:
    from batch.core.models import Target, Task
    from batch.ledger.ledger import Ledger
    from batch.output.files import ImageStore


def apply_choices(ledger: Ledger, image_store: ImageStore) -> list[str]:
    """Apply the choices that wait; return what a person should know. Raises FolderError when the disk refuses."""
    void = choices.settle(ledger)
    waiting = choices.unplaced(ledger)
    missing = _Placing(ledger, image_store).place(waiting) if waiting else []
    notes = []
    if void:
        notes.append(
            f"Not applied, because the row was given other work since: the choice for {named(void)}. Choose again."
        )
    if missing:
        notes.append(
            f"Chosen, but in no file of the folder: the image of {named(missing)}. `texbatch restore DIR` brings it back."
        )
    return notes


class _Placing:
    """Moves images of one folder."""

    def __init__(self, ledger: Ledger, image_store: ImageStore) -> None:
        self._ledger = ledger
        self._store = image_store
        self._previous = PreviousVersions(image_store)
        self._naming = OtherFormats(image_store)

    def place(self, waiting: list[choices.Unplaced]) -> list[str]:
        """Put each image at its rows' place; return the ids of rows whose image is in no file."""
        missing = []
        for job in dict.fromkeys(each.job for each in waiting):
            (task,) = self._ledger.tasks([job])
            found = images.find_existing(self._previous, task, lambda: (), lambda: None)
            if found is not None:
                image = images.decode_image(found.data, str(task.parameters["image_format"]))
                task = self._naming.renamed(self._ledger, task, image)
            for target in task.targets:
                self._set_aside(task, target)
            if found is None:
                missing += [each.id for each in waiting if each.job == job]
                with self._ledger.atomic():
                    self._ledger.mark_nowhere(task)
                continue
            images.write_image(self._previous, task, image)
            outputs = [target.output for target in task.targets]
            stamps = {name: there for name in outputs if (there := self._store.exists(name))}
            with self._ledger.atomic():
                self._ledger.place_image(task, stamps)
            if found.name.startswith(f"{PREVIOUS}/"):  # it is not an earlier version any longer
                self._previous.forget(found.name, image.sha256, lies_at=outputs[0])
        return missing

    def _set_aside(self, task: Task, target: Target) -> None:
        """Move the image that a row has so far to where its other candidates lie, called after its seed."""
        if target.kept is None or target.kept_sha256 in {None, task.sha256}:
            return
        found = images.find(self._store, [target.kept], str(target.kept_sha256))
        if found is None:  # moved away, or changed: then it is archived like anybody's
            return
        stem = aside_name(target.kept, choices.seed_at_place(self._ledger, target.id))
        suffix = PurePosixPath(target.kept).suffix.removeprefix(".")
        self._previous.put(stem, suffix, found[1], str(target.kept_sha256))
        self._store.delete(target.kept)
