"""How a run is stopped: what is cancelled at once, what has its grace, and what nothing cancels."""

import asyncio
import os
import signal

import anyio
import pytest

from batch.core.errors import FolderError, Interrupted
from batch.execution.shutdown import FORCED_POST_TIMEOUT_S, StopController, handle_signals, isolated
from tests.virtual_time import VirtualTimeLoop


def in_virtual_time(story):
    return anyio.run(story, backend_options={"loop_factory": VirtualTimeLoop})


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_a_stop_ends_at_once_what_was_not_sent_and_nothing_else():
    async def story():
        stop, ended = StopController(), {}

        async def waits(name, scope):
            with scope:
                await anyio.sleep(60)
            ended[name] = anyio.current_time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waits, "not sent", stop.cancel_on_stop())
            tasks.start_soon(waits, "posting", stop.shield_post())
            await anyio.sleep(1)
            stop.request_stop("no credits")
            tasks.start_soon(waits, "later", stop.cancel_on_stop())
        return ended

    assert in_virtual_time(story) == {"not sent": 1, "later": 1, "posting": 60}


@pytest.mark.parametrize(("answered_s", "ends_s"), [(3, 3), (60, 1 + FORCED_POST_TIMEOUT_S)])
def test_a_forced_stop_leaves_a_post_five_seconds_and_the_rest_none(answered_s, ends_s):
    async def story():
        stop, ended = StopController(), {}

        async def post():
            with stop.shield_post():
                await anyio.sleep(answered_s)
            ended["post"] = anyio.current_time()

        with anyio.CancelScope(deadline=stop.ends_at) as stop.work:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(post)
                await anyio.sleep(1)
                stop.force_stop()
                ended["work"] = anyio.current_time()
                await anyio.sleep(60)
        return ended

    assert in_virtual_time(story) == {"work": 1, "post": ends_s}


def test_a_grace_is_never_made_longer():
    async def story():
        stop = StopController()
        stop.drain_within(5)
        stop.drain_within(60)
        with anyio.CancelScope(deadline=stop.ends_at) as stop.work:
            await anyio.sleep(30)
        return anyio.current_time()

    assert in_virtual_time(story) == 5


# -- signals ----------------------------------------------------------------------------------------------------------


async def signalled(stop, *numbers):
    """Send these signals to this process, one after the other; return what was reported, and after each whether time is left."""
    reported, left = [], []
    with handle_signals(stop, 60.0, reported.append, enabled=True):
        for number in numbers:
            os.kill(os.getpid(), number)
            await anyio.sleep(0.01)
            left.append(stop.ends_at > anyio.current_time())
    return reported, left


@pytest.mark.anyio
async def test_the_first_signal_gives_a_grace_and_the_second_none():
    stop = StopController()
    reported, left = await signalled(stop, signal.SIGTERM, signal.SIGINT)
    assert (len(reported), left) == (1, [True, False])
    assert reported[0].startswith(
        "SIGTERM: submitting nothing more; jobs in flight are awaited for up to 60 s."
    )
    assert (type(stop.reason), stop.reason.exit_code) == (Interrupted, 143)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.anyio
async def test_a_terminal_that_hangs_up_twice_takes_no_grace_away():
    assert (await signalled(StopController(), signal.SIGHUP, signal.SIGHUP))[1] == [True, True]


# -- cancellation from outside ----------------------------------------------------------------------------------------


async def cancelled(function):
    """Start a coroutine, cancel it with asyncio's own `cancel` once it waits, and wait for its end."""
    task = asyncio.ensure_future(function())
    await asyncio.sleep(0.01)
    task.cancel()
    await task


@pytest.mark.anyio
async def test_a_cancelled_caller_waits_until_what_is_shielded_has_ended():
    done = []

    @isolated
    async def story():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.05)
            done.append("shielded")
        await anyio.sleep(60)
        done.append("the rest")

    with pytest.raises(asyncio.CancelledError):
        await cancelled(story)
    assert done == ["shielded"]


@pytest.mark.anyio
async def test_an_error_outranks_the_cancellation_and_comes_in_no_group():
    @isolated
    async def story():
        try:
            await anyio.sleep(60)
        finally:
            raise FolderError("the service accepted row-1")

    with pytest.raises(FolderError, match="accepted row-1"):
        await cancelled(story)
