"""What was paid for before goes first, and keeps nobody waiting for ever."""

import anyio

from batch.execution.pipeline import PaidFirst
from tests.virtual_time import VirtualTimeLoop

HEAD_START_S = 60.0


def in_virtual_time(story):
    return anyio.run(story, backend_options={"loop_factory": VirtualTimeLoop})


def test_a_submit_waits_until_the_last_of_the_paid_jobs_has_passed():
    async def story():
        first, went = PaidFirst({0, 1}), []

        async def submit():
            await first.wait(HEAD_START_S)
            went.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(submit)
            await anyio.sleep(5)
            first.passed(0)
            await anyio.sleep(5)
            first.passed(1)
        return went, first.ahead, anyio.current_time()

    assert in_virtual_time(story) == ([10, 10], set(), 10)


def test_all_submits_together_wait_once_for_a_job_that_does_not_pass():
    """A thousand rows behind one image that does not come: they are late by the head start, not by it each."""

    async def story():
        first = PaidFirst({0})
        for _ in range(1000):
            await first.wait(HEAD_START_S)
        return anyio.current_time()

    assert in_virtual_time(story) == HEAD_START_S


def test_jobs_that_are_found_paid_later_get_a_head_start_of_their_own():
    async def story():
        first = PaidFirst({0})
        await first.wait(HEAD_START_S)
        first.passed(0)
        first.ahead.add(7)
        await first.wait(HEAD_START_S)
        return anyio.current_time()

    assert in_virtual_time(story) == 2 * HEAD_START_S
