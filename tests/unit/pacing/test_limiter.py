"""The waiting before the gate and for places in flight, without a real second."""

from contextlib import asynccontextmanager

import anyio
import pytest
import support
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from batch.core.config import Rate, Timeouts
from batch.pacing.limiter import AHEAD, WIDEST, Limiter, Priority, RateGate, Throttled
from tests.virtual_time import VirtualTimeLoop

T0 = 1_800_000_000.0


# -- who waits ---------------------------------------------------------------------------------------------------------


class Queue:
    """Tasks before one gate: who is inside, in which order, and a way to let them out."""

    def __init__(self, tasks, width=WIDEST, *, counts_gets=True):
        self.pace = Limiter(100, RateGate(timeouts=support.TIMEOUTS))
        self.pace.gate.counts_gets = counts_gets
        self.pace.gate.max_parallel = lambda _now: width
        self.tasks, self.inside, self._outs, self.scopes = tasks, [], {}, {}

    async def come(self, name, kind=Priority.SUBMIT):
        self._outs[name], self.scopes[name] = anyio.Event(), anyio.CancelScope()

        async def visit():
            with self.scopes[name]:
                async with self.pace.acquire(kind):
                    self.inside.append(name)
                    await self._outs[name].wait()

        self.tasks.start_soon(visit)
        await wait_all_tasks_blocked()

    async def leave(self, name):
        self._outs[name].set()
        await wait_all_tasks_blocked()

    def close(self, wait_s=None, *, on_get=False):
        self.pace.throttled(Throttled(None, None, wait_s), T0, on_get=on_get)


@asynccontextmanager
async def queueing(**settings):
    """A queue before a gate; who is still in it at the end is sent away."""
    async with anyio.create_task_group() as tasks:
        yield Queue(tasks, **settings)
        tasks.cancel_scope.cancel()


@pytest.fixture
def quick(waits):
    """Make closures so short that a test can wait for their end."""
    waits(reset_margin_s=0.02, probe_s=0.05)


pytestmark = pytest.mark.anyio


async def test_no_more_pass_at_once_than_the_gate_is_wide():
    async with queueing(width=2) as queue:
        for name in "abc":
            await queue.come(name)
        assert queue.inside == ["a", "b"]
        await queue.leave("a")
        assert queue.inside == ["a", "b", "c"]


async def test_a_result_goes_before_a_status_and_a_status_before_a_submit():
    async with queueing(width=1) as queue:
        await queue.come("first")
        for name, kind in [
            ("submit-1", Priority.SUBMIT),
            ("status-1", Priority.STATUS),
            ("submit-2", Priority.SUBMIT),
            ("result", Priority.RESULT),
            ("status-2", Priority.STATUS),
        ]:
            await queue.come(name, kind)
        order = ["first", "result", "status-1", "status-2", "submit-1", "submit-2"]
        for name in order[:-1]:
            await queue.leave(name)
        assert order == queue.inside


async def test_gets_pass_freely_until_one_was_throttled(quick):
    async with queueing(width=1, counts_gets=False) as queue:
        await queue.come("submit")
        await queue.come("status", Priority.STATUS)
        assert queue.inside == ["submit", "status"]
        queue.close(on_get=True)
        await queue.come("later", Priority.STATUS)
        assert "later" not in queue.inside


async def test_one_429_makes_everybody_wait_and_then_go_together(quick):
    async with queueing() as queue:
        queue.close(0.05)
        for name in "abc":
            await queue.come(name)
        assert queue.inside == []
        opens = queue.pace.gate.opens_at
        await anyio.sleep_until(opens + 0.02)
        await wait_all_tasks_blocked()
        assert sorted(queue.inside) == ["a", "b", "c"]


async def test_those_who_wait_for_a_place_wait_for_a_closure_that_comes_meanwhile(quick):
    """The 429 arrives while one request is under way and another stands behind it; nobody else ever moves."""
    async with queueing(width=1) as queue:
        await queue.come("a")
        await queue.come("b")
        queue.close(0.3)
        await queue.leave("a")
        assert queue.inside == ["a"]
        await anyio.sleep_until(queue.pace.gate.opens_at + 0.03)
        await wait_all_tasks_blocked()
        assert queue.inside == ["a", "b"]


async def test_a_closure_that_is_extended_is_waited_out(quick):
    async with queueing() as queue:
        queue.close(0.02)
        await queue.come("a")
        first = queue.pace.gate.opens_at
        queue.close(0.15)
        await anyio.sleep_until(first + 0.03)
        await wait_all_tasks_blocked()
        assert queue.inside == []
        await anyio.sleep_until(queue.pace.gate.opens_at + 0.03)
        await wait_all_tasks_blocked()
        assert queue.inside == ["a"]


async def test_one_that_is_cancelled_while_it_waits_frees_its_place():
    async with queueing(width=1) as queue:
        for name in "abc":
            await queue.come(name)
        queue.scopes["b"].cancel()
        await wait_all_tasks_blocked()
        await queue.leave("a")
        assert queue.inside == ["a", "c"]


async def test_one_that_is_cancelled_just_when_it_is_called_frees_its_place():
    async with queueing(width=1) as queue:
        for name in "abc":
            await queue.come(name)
        queue._outs["a"].set()
        await checkpoint()
        queue.scopes["b"].cancel()
        await wait_all_tasks_blocked()
        assert queue.inside[-1] == "c"
        await queue.leave("c")
        await queue.come("d")
        assert queue.inside[-1] == "d"


async def test_one_that_fails_inside_frees_its_place():
    gate = Limiter(1)
    for _ in range(WIDEST + 1):
        with pytest.raises(ZeroDivisionError):
            async with gate.acquire(Priority.SUBMIT):
                raise ZeroDivisionError
    assert gate._requests_in_gate == 0


async def test_one_that_is_answered_lets_the_next_one_in_and_keeps_no_second_place():
    """What follows an answer, a commit, happens outside the gate; its end frees nothing once more."""
    async with queueing(width=1) as queue:
        async with queue.pace.acquire(Priority.SUBMIT) as answered:
            await queue.come("a")
            assert queue.inside == []
            answered()
            await wait_all_tasks_blocked()
            assert queue.inside == ["a"]
        await queue.come("b")
        assert queue.inside == ["a"]


async def test_no_more_jobs_are_in_flight_than_asked():
    limited, inside = Limiter(2), []

    async def job(number):
        async with limited.slot():
            inside.append(number)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(job, number)
        await wait_all_tasks_blocked()
        assert inside == [0, 1]
        assert repr(limited) == "<Limiter 2/2 in flight>"
        limited.throttled(Throttled(None, None, 60.0), T0)
        assert repr(limited) == "<Limiter 2/2 in flight, cooling 60.3s>"
        tasks.cancel_scope.cancel()


async def test_as_many_are_prepared_as_may_be_in_flight_and_some_more():
    limited, begun = Limiter(2), []

    async def line_up(number):
        await limited.admitted.acquire_on_behalf_of(number)
        begun.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(2 + AHEAD + 1):
            tasks.start_soon(line_up, number)
        await wait_all_tasks_blocked()
        assert begun == list(range(2 + AHEAD))
        limited.admitted.release_on_behalf_of(0)
        await wait_all_tasks_blocked()
        assert begun[-1] == 2 + AHEAD
        tasks.cancel_scope.cancel()


async def test_after_a_429_without_a_header_one_probes_and_when_it_is_taken_the_others_go(quick):
    async with queueing() as queue:
        queue.pace.on_success(Priority.SUBMIT)
        del queue.pace.gate.max_parallel  # its own
        with queue.pace.track_job():
            queue.close()
            for name in "abc":
                await queue.come(name)
            await anyio.sleep_until(queue.pace.gate.opens_at + 0.03)
            await wait_all_tasks_blocked()
            assert queue.inside == ["a"]
        queue.pace.on_success(Priority.SUBMIT)
        await queue.leave("a")
        assert queue.inside == ["a", "b"]


async def test_a_job_that_ends_under_the_ceiling_lets_the_next_one_go(quick):
    async with queueing() as queue:
        queue.pace.gate.ceiling = 1.0
        with queue.pace.track_job():
            await queue.come("a")
            assert queue.inside == []
        await wait_all_tasks_blocked()
        assert queue.inside == ["a"]


async def test_a_rate_that_a_person_gave_is_kept_without_any_429():
    """By the moments at which the gate lets them go; who went hears of it a little later, on a busy machine."""
    went = []

    class Noting(RateGate):
        def on_send(self, turn, now):
            super().on_send(turn, now)
            went.append(now)

    limited = Limiter(100, Noting(Rate(2, 0.1)))

    async def submit():
        async with limited.acquire(Priority.SUBMIT):
            pass

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(submit)
    assert len(went) == 5
    for earlier, later in zip(went, went[2:], strict=False):
        assert later >= earlier + 0.1


def test_a_slow_answer_delays_nobody_where_a_rate_was_given():
    """One submit a second; the second one's answer takes six, and the others go when it is their turn."""

    async def submits():
        limited, went = Limiter(50, RateGate(Rate(1, 1.0))), []

        async def submit(answer_s):
            async with limited.acquire(Priority.SUBMIT):
                went.append(anyio.current_time())
                await anyio.sleep(answer_s)

        async with anyio.create_task_group() as tasks:
            for answer_s in (0.1, 6.0, 0.1, 0.1):
                tasks.start_soon(submit, answer_s)
        return went

    assert anyio.run(submits, backend_options={"loop_factory": VirtualTimeLoop}) == [0.0, 1.0, 2.0, 3.0]


def test_what_is_let_through_has_the_next_in_line_look_at_the_clock():
    """The gate opens wider by what is accepted; who stands in front then waits for the rate, and for nobody's answer."""

    async def submits():
        limited, went = Limiter(50, RateGate(Rate(2, 1.0))), []
        limited.gate.max_parallel = lambda _now: 1 + len(limited.gate._successes)

        async def submit():
            async with limited.acquire(Priority.SUBMIT):
                went.append(anyio.current_time())
                await anyio.sleep(0.1)
                limited.on_success(Priority.SUBMIT)
                await anyio.sleep(60)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(submit)
        return went

    assert anyio.run(submits, backend_options={"loop_factory": VirtualTimeLoop}) == pytest.approx([0, 0.1, 1])


def test_who_waits_without_a_turn_waits_for_a_closure_that_is_extended():
    async def wait():
        closed = Limiter(1, RateGate(Rate(1, 1000.0)))
        closed.throttled(Throttled(None, None, 10.0), T0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(closed.wait_until_open)
            await anyio.sleep(5)
            closed.throttled(Throttled(None, None, 10.0), T0)
        return anyio.current_time()

    assert (
        anyio.run(wait, backend_options={"loop_factory": VirtualTimeLoop}) == 15 + Timeouts().reset_margin_s
    )


async def test_places_in_flight_follow_what_the_gate_learns():
    limited = Limiter(500)
    assert limited.allowed == 500
    for _ in range(5):
        limited.on_success(Priority.SUBMIT)
    limited.throttled(Throttled(None, None, 30.0), T0)
    assert limited.allowed == 75  # 15 x 5 a minute
