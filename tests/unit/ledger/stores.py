"""The stores that pass one behaviour suite. Another one, such as a shared database, is one more entry in STORES."""

from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType

from batch.core.models import Payload
from batch.core.parameters import PARAMETERS
from batch.ledger import candidates as members
from batch.ledger.async_ledger import open_async_ledger
from batch.ledger.ledger import Ledger
from batch.ledger.memory import MemoryLedger
from batch.ledger.staging import STAGED, Stage
from batch.ledger.states import Event, State
from batch.ledger.store import Position
from batch.manifest.naming import fold_name

DEFAULTS = {parameter.name: parameter.default for parameter in PARAMETERS} | {
    "image_1": "https://h/p.jpg",
    "image_2": "https://h/t.jpg",
}


def payload(row_id, *, output=None, files=None, **given):
    """A row of a manifest, expanded."""
    return Payload(
        number=1,
        id=row_id,
        derived_id=False,
        output=output or f"{row_id}.webp",
        parameters=DEFAULTS | given,
        files={content: Path(path) for content, path in (files or {}).items()},
        cells={"id": row_id},
    )


def save(store, task, sha256="aa", stamps=MappingProxyType({})):
    """Record that a job's image lies at its targets and the job is saved, as a run does."""
    store.place_image(task, stamps)
    if task.state != State.SAVED or task.sha256 != sha256:
        store.transition(task.job, Event.KEEP, sha256=sha256, width=6, height=4)


class Sqlite:
    """A ledger file, or one that SQLite deletes."""

    def __init__(self, clock, path=None):
        self._clock, self._path = clock, path
        self.store = (
            Ledger.temporary(clock=clock) if path is None else Ledger.create_or_open(path, clock=clock)
        )

    def adopt(self, payloads, only=None, candidates=1, draw=None):
        stage = Stage(self.store)
        stage.fill(payloads, fold_name)
        if only is not None:
            stage.select(only)
        members.plan(self.store, STAGED, candidates, named=False)
        with self.store.atomic():
            stage.adopt(["id"], merge=False, retry_failed=False)
            members.adopt(self.store, candidates, draw=draw)

    def belongs_to(self, service):
        with self.store.atomic():
            self.store.set_meta("service", service)

    def lists(self, *foreign):
        with self.store.atomic() as connection:
            connection.execute("CREATE TEMP TABLE foreign_files (name TEXT NOT NULL)")
            connection.executemany("INSERT INTO foreign_files VALUES (?)", [(name,) for name in foreign])

    def opened(self):
        """The store as the tasks of a run use it."""
        return open_async_ledger(self.store)

    def close(self):
        self.store.close()


class Memory:
    """A ledger in dictionaries."""

    def __init__(self, clock, _path=None):
        self.store = MemoryLedger(clock)

    def adopt(self, payloads, only=None, candidates=1, draw=None):
        with self.store.atomic():
            self.store.adopt(payloads, only)
            self.store.adopt_candidates(candidates, draw)

    def belongs_to(self, service):
        self.store.service = service

    def lists(self, *foreign):
        self.store.foreign_files = list(foreign)

    def opened(self):
        return nullcontext(self.store)

    def close(self):
        pass


STORES = {"memory": Memory, "sqlite": Sqlite}


def queued(store, position=Position()):  # noqa: B008  a position is a value
    """Every job that a queue yields from a position on, in its order."""
    tasks = []
    while True:
        page, position = store.next_jobs(position)
        if not page:
            return tasks
        tasks += page
