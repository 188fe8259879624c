"""Fetching the images of jobs: what must not wait for what."""

import anyio
from simulated import IMAGE

from batch.client.client import Client
from batch.core.config import Service
from batch.core.models import Target, Task
from batch.execution.fetch import THREADS, ImageFetcher
from batch.execution.progress import ProgressTracker
from batch.ledger.memory import MemoryLedger
from batch.ledger.states import State
from batch.output.files import LocalImageStore
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions


def task(number, state, sha256=None):
    name = f"row-{number}"
    return Task(
        job=number, key=name, state=state, targets=(Target(name, f"{name}.webp", None, None),), sources=(),
        parameters={"image_format": "webp"}, files={}, request_id=None, output_url=None, submitted_at=None,
        estimate=None, sha256=sha256, attempts=1, name=name,
    )  # fmt: skip


def test_a_paid_image_is_written_while_images_that_were_moved_are_searched_for(tmp_path):
    image_store = LocalImageStore(tmp_path)
    previous = PreviousVersions(image_store)

    async def story():
        fetcher = ImageFetcher(
            Client(Service()),
            MemoryLedger(lambda: 0.0),
            previous,
            OtherFormats(image_store),
            ProgressTracker(lambda _: None),
        )
        async with anyio.create_task_group() as tasks:
            for number in range(THREADS + 1):
                tasks.start_soon(fetcher.reuse_existing, task(number, State.SAVED, f"{number:064x}"))
            await anyio.wait_all_tasks_blocked()
            try:
                with anyio.fail_after(60):
                    await fetcher._fetch_from(task(99, State.COMPLETED), IMAGE)
            finally:
                tasks.cancel_scope.cancel()
                previous.indexing.release()

    previous.indexing.acquire()  # as a search through a large folder holds it
    anyio.run(story)
    assert image_store.read("row-99.webp") == IMAGE
