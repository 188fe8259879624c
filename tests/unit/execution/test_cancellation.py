"""A run cancelled at its n-th await, for every n: what was sent is recorded, and the same command ends it well.

The journey of a job and the settling of lost submits are driven step by step: at each point where they give the loop
back, and at no other can a cancellation reach them, one run is cancelled. Everything else is real: the run, the ledger,
the connection, the server.
"""

import itertools
import sqlite3
from contextlib import closing

import anyio
import pytest
import support

from batch import RunSettings, arun
from batch.core.config import Backoff
from batch.execution.pipeline import JobPipeline
from batch.execution.reconcile import Reconciler

CALM = {"planned", "accepted", "completed", "saved", "unknown"}
"""States that an orderly end may leave; `sending` is not among them: a POST is never parted from its record."""


class Steps:
    """Counts how often the coroutines it drives give the loop back; calls `strike` at the n-th time."""

    def __init__(self, strike_at, strike):
        self.taken = 0
        self._strike_at = strike_at
        self._strike = strike

    def drive(self, coroutine):
        return _Driven(coroutine, self)

    def step(self):
        self.taken += 1
        if self.taken == self._strike_at:
            self._strike()


class _Driven:
    def __init__(self, coroutine, steps):
        self._coroutine = coroutine
        self._steps = steps

    def __await__(self):
        go_on, given = self._coroutine.send, None
        while True:
            try:
                waited_for = go_on(given)
            except StopIteration as end:
                return end.value
            self._steps.step()
            try:
                given = yield waited_for
            except BaseException as exc:  # noqa: BLE001  handed to whom it is meant for
                go_on, given = self._coroutine.throw, exc
            else:
                go_on = self._coroutine.send


def stepwise(method, steps):
    """Return an async method that is driven by `steps`."""

    async def driven(self, *args):
        return await steps.drive(method(self, *args))

    return driven


async def cancelled_at(step, api, manifest, out, monkeypatch):
    """Run the manifest, cancelled at that step of its journeys; return whether it got there."""
    with anyio.CancelScope() as scope, monkeypatch.context() as patch:
        steps = Steps(step, scope.cancel)
        patch.setattr(JobPipeline, "process", stepwise(JobPipeline.process, steps))
        patch.setattr(Reconciler, "reconcile_some", stepwise(Reconciler.reconcile_some, steps))
        await arun(manifest, RunSettings(out, settle_s=0.1, job_timeout_s=20), support.service_of(api))
    return steps.taken >= step


def states(out):
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        return {state for (state,) in ledger.execute("SELECT state FROM jobs")}


LOST = [{"call": "submit", "action": "reset_after", "first": 1}]
NEVER = [{"call": "submit", "action": "reset_before", "first": 1}]
NOT_NOW = [
    {"call": "submit", "action": "status", "text": "rate_limit", "reset_in_s": 0.05, "first": 1},
    {"call": "submit", "action": "status", "text": "internal", "first": 2},
]
PROOF = pytest.mark.proof
SCENES = [  # faults of the first run, columns of its row, every how manieth await
    pytest.param(LOST, {}, 4, id="an answer is lost, the job found, every fourth await"),
    pytest.param(LOST, {}, 1, id="an answer is lost, the job found", marks=PROOF),
    pytest.param([], {}, 1, id="a job that goes well", marks=pytest.mark.slow),
    pytest.param(NEVER, {}, 1, id="a submit never arrives", marks=PROOF),
    pytest.param(NOT_NOW, {}, 1, id="a submit is refused for now", marks=PROOF),
    pytest.param([], {"image_1": "chair.png"}, 1, id="a picture is uploaded", marks=PROOF),
    pytest.param([], {"base64": "true"}, 1, id="the picture is in the result", marks=PROOF),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("faults", "columns", "every"), SCENES)
async def test_a_run_cancelled_at_any_await_pays_once_and_ends_well(
    api, tmp_path, monkeypatch, waits, faults, columns, every
):
    waits(not_accepted=Backoff(0.02, 20.0), reset_margin_s=0.01)
    support.picture(tmp_path / "chair.png")
    left_behind = set()
    for step in itertools.count(1, every):
        (row,) = support.rows(1, first=step, **columns)
        manifest, out = support.write_csv(tmp_path / f"{step}.csv", [row]), tmp_path / f"out-{step}"
        api.faults(faults)
        reached = await cancelled_at(step, api, manifest, out, monkeypatch)
        assert states(out) <= CALM, step
        left_behind |= states(out)
        support.assert_ledger_sound(out)
        assert support.report(out), step  # written at every end

        api.faults([])
        end = await arun(manifest, RunSettings(out, settle_s=0.1), support.service_of(api))
        ends = [(0, {"saved": 1})]
        if (
            faults is NEVER
        ):  # the account lists requests of others, and none of this folder vouches for what it shows
            ends.append((4, {"unknown": 1}))
        assert (end.exit_code, support.statuses(out)) in ends, step
        stats = api.stats()
        assert stats["accepted_by_prompt"].get(row["prompt"], 0) == (end.exit_code == 0), step
        support.assert_pictures_belong(out, stats)
        if not reached:
            break
    assert step > 10
    # planned and saved, and what lies between; what never arrived is planned or unknown
    assert len(left_behind) >= (2 if faults is NEVER else 4)
