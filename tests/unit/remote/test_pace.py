"""The gate on times handed in, and the waiting before it, without a real second."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from batch.remote import pace
from batch.remote.pace import LONGEST_S, MARGIN_S, NO_HEADER_S, WIDEST, Gate, Pace, Turn, cool_down
from batch.remote.verdicts import Throttled

T0 = 1_800_000_000.0
NOW = Throttled(None, None, 0.0)  # a 429 whose closure is over in MARGIN_S


# -- how long ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "local", "expected"),
    [
        pytest.param(Throttled(T0 + 30, T0, None), T0, 30.0, id="clocks agree"),
        pytest.param(Throttled(T0 + 30, T0, None), T0 - 3600, 30.0, id="our clock an hour behind"),
        pytest.param(Throttled(T0 + 30, T0, None), T0 + 3600, 30.0, id="our clock an hour ahead"),
        pytest.param(Throttled(T0 - 5, T0, None), T0, 0.0, id="a reset that is over"),
        pytest.param(Throttled(T0 + 30, None, None), T0, 30.0, id="no Date"),
        pytest.param(Throttled(T0 + 30, None, None), T0 - 600, LONGEST_S, id="no Date, our clock behind: clamped"),
        pytest.param(Throttled(T0 + 30, None, None), T0 + 600, 0.0, id="no Date, our clock ahead"),
        pytest.param(Throttled(None, T0, 12.0), T0, 12.0, id="Retry-After"),
        pytest.param(Throttled(T0 + 30, T0, 12.0), T0, 30.0, id="the vendor's header goes before Retry-After"),
        pytest.param(Throttled(None, T0, None), T0, None, id="nothing said"),
    ],
)  # fmt: skip
def test_the_time_until_the_announced_reset(reply, local, expected):
    assert expected == cool_down(reply, local)


def test_a_429_closes_the_gate_and_later_ones_only_extend_it():
    gate = Gate()
    gate.throttled(100.0, 30.0, on_get=False)
    assert gate.opens_at == 130.0 + MARGIN_S
    gate.throttled(101.0, 5.0, on_get=False)
    assert gate.opens_at == 130.0 + MARGIN_S
    gate.throttled(102.0, 40.0, on_get=False)
    assert gate.opens_at == 142.0 + MARGIN_S
    gate.throttled(200.0, None, on_get=False)
    assert gate.opens_at == 200.0 + NO_HEADER_S
    assert gate.throttles == 4


@pytest.mark.parametrize(
    ("accepted", "width"),
    [(0, 1), (5, 1), (29, 1), (30, 2), (50, 3), (119, 7), (120, 8), (600, 8)],  # accepted // 15, 1 … 8
)
def test_after_a_429_the_width_is_a_share_of_the_last_window(accepted, width):
    gate = Gate()
    for _ in range(accepted):
        gate.accepted(100.0)
    assert gate.width(100.0) == WIDEST
    gate.throttled(100.0, 0.0, on_get=False)
    assert width == gate.width(159.9)
    assert gate.width(160.1) == 1  # older than the window


def test_gets_count_from_the_first_429_on_a_get():
    gate = Gate()
    gate.throttled(0.0, 1.0, on_get=False)
    assert not gate.counts_gets
    gate.throttled(0.0, 1.0, on_get=True)
    gate.throttled(0.0, 1.0, on_get=False)
    assert gate.counts_gets


# -- who waits ---------------------------------------------------------------------------------------------------------


class Queue:
    """Tasks before one gate: who is inside, in which order, and a way to let them out."""

    def __init__(self, tasks, width=WIDEST, *, counts_gets=True):
        self.pace = Pace(100)
        self.pace.gate.counts_gets = counts_gets
        self.pace.gate.width = lambda _now: width
        self.tasks, self.inside, self._outs, self.scopes = tasks, [], {}, {}

    async def come(self, name, kind=Turn.SUBMIT):
        self._outs[name], self.scopes[name] = anyio.Event(), anyio.CancelScope()

        async def visit():
            with self.scopes[name]:
                async with self.pace.turn(kind):
                    self.inside.append(name)
                    await self._outs[name].wait()

        self.tasks.start_soon(visit)
        await wait_all_tasks_blocked()

    async def leave(self, name):
        self._outs[name].set()
        await wait_all_tasks_blocked()

    def close(self, wait_s=None, *, on_get=False):
        self.pace.throttled(Throttled(None, None, wait_s), T0, on_get=on_get)


@pytest.fixture
def quick(monkeypatch):
    """Make closures so short that a test can wait for their end."""
    monkeypatch.setattr(pace, "MARGIN_S", 0.02)
    monkeypatch.setattr(pace, "NO_HEADER_S", 0.05)


pytestmark = pytest.mark.anyio


async def test_no_more_pass_at_once_than_the_gate_is_wide():
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=2)
        for name in "abc":
            await queue.come(name)
        assert queue.inside == ["a", "b"]
        await queue.leave("a")
        assert queue.inside == ["a", "b", "c"]
        tasks.cancel_scope.cancel()


async def test_a_result_goes_before_a_status_and_a_status_before_a_submit():
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=1)
        await queue.come("first")
        for name, kind in [
            ("submit-1", Turn.SUBMIT),
            ("status-1", Turn.STATUS),
            ("submit-2", Turn.SUBMIT),
            ("result", Turn.RESULT),
            ("status-2", Turn.STATUS),
        ]:
            await queue.come(name, kind)
        order = ["first", "result", "status-1", "status-2", "submit-1", "submit-2"]
        for name in order[:-1]:
            await queue.leave(name)
        assert order == queue.inside
        tasks.cancel_scope.cancel()


async def test_gets_pass_freely_until_one_was_throttled(quick):
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=1, counts_gets=False)
        await queue.come("submit")
        await queue.come("status", Turn.STATUS)
        assert queue.inside == ["submit", "status"]
        queue.close(on_get=True)
        await queue.come("later", Turn.STATUS)
        assert "later" not in queue.inside
        tasks.cancel_scope.cancel()


async def test_one_429_makes_everybody_wait_and_then_go_together(quick):
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks)
        queue.close()
        for name in "abc":
            await queue.come(name)
        assert queue.inside == []
        opens = queue.pace.gate.opens_at
        await anyio.sleep_until(opens + 0.02)
        assert sorted(queue.inside) == ["a", "b", "c"]
        tasks.cancel_scope.cancel()


async def test_those_who_wait_for_a_place_wait_for_a_closure_that_comes_meanwhile(quick):
    """The 429 arrives while one request is under way and another stands behind it; nobody else ever moves."""
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=1)
        await queue.come("a")
        await queue.come("b")
        queue.close()
        await queue.leave("a")
        assert queue.inside == ["a"]
        await anyio.sleep_until(queue.pace.gate.opens_at + 0.03)
        assert queue.inside == ["a", "b"]
        tasks.cancel_scope.cancel()


async def test_a_closure_that_is_extended_is_waited_out(quick):
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks)
        queue.close(0.02)
        await queue.come("a")
        first = queue.pace.gate.opens_at
        queue.close(0.15)
        await anyio.sleep_until(first + 0.03)
        assert queue.inside == []
        await anyio.sleep_until(queue.pace.gate.opens_at + 0.03)
        assert queue.inside == ["a"]
        tasks.cancel_scope.cancel()


async def test_one_that_is_cancelled_while_it_waits_frees_its_place():
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=1)
        for name in "abc":
            await queue.come(name)
        queue.scopes["b"].cancel()
        await wait_all_tasks_blocked()
        await queue.leave("a")
        assert queue.inside == ["a", "c"]
        tasks.cancel_scope.cancel()


async def test_one_that_is_cancelled_just_when_it_is_called_frees_its_place():
    async with anyio.create_task_group() as tasks:
        queue = Queue(tasks, width=1)
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
        tasks.cancel_scope.cancel()


async def test_one_that_fails_inside_frees_its_place():
    gate = Pace(1)
    for _ in range(WIDEST + 1):
        with pytest.raises(ZeroDivisionError):
            async with gate.turn(Turn.SUBMIT):
                raise ZeroDivisionError
    assert gate._busy == 0


async def test_no_more_jobs_are_in_flight_than_asked():
    limited, inside = Pace(2), []

    async def job(number):
        async with limited.slot():
            inside.append(number)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(job, number)
        await wait_all_tasks_blocked()
        assert inside == [0, 1]
        assert repr(limited) == "<Pace 2/2 in flight>"
        limited.throttled(Throttled(None, None, 60.0), T0)
        assert repr(limited) == "<Pace 2/2 in flight, cooling 60.3s>"
        tasks.cancel_scope.cancel()
