"""From a request id to its result, on a clock of the test's own; and the client a script would use."""

import math

import anyio
import pytest

from batch.errors import JobFailed, JobRunning, NoAnswer, RunStopped
from batch.model import Result
from batch.remote import client as client_module
from batch.remote import gate as gates
from batch.remote import verdicts, watch
from batch.remote.client import Client, Look
from batch.remote.history import Entry
from batch.remote.pace import Pace
from batch.remote.polls import CAREFUL, PollLearner, Polls
from batch.remote.verdicts import Completed, Denied, Gone, Running, Stop, Throttled, Trouble
from batch.remote.watch import RECORD_S, Done, Failed, Lost, StillRunning, Watch, growing_gap

pytestmark = pytest.mark.anyio

T0 = 1_800_000_000.0
RESULT = Result("https://i/1", 30_000, 1.0, 20.0, 21.0)
LOST = (Gone("HTTP 404: no such request", 404), None)
RUNNING, DONE = (Running(), None), (Completed(), None)
"""Verdicts, with the service's own time for the job."""


class Job:
    """Stands for the client: a script of status and result answers; the last one repeats. Sleeping moves its clock."""

    def __init__(self, statuses, results=(RESULT,)):
        self.now = T0
        self.polls = Polls()
        self.pace = Pace(1)
        self.statuses, self.results = list(statuses), list(results)
        self.looks = []
        self.listed = NoAnswer("the history is not reachable")

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        assert seconds >= 0
        self.now += seconds
        await anyio.lowlevel.checkpoint()

    async def status(self, _request_id):
        self.looks.append(self.now - T0)
        verdict, total_s = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return Look(verdict, total_s, self.now)

    async def look_up(self, _client, _request_id):
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed

    async def result(self, _request_id):
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


@pytest.fixture
def watched(monkeypatch):
    """Watch a scripted job to its outcome."""

    async def run(job, *, submitted_at=T0, for_s=900.0, at_once=False, on_denied=lambda _reason: None):
        monkeypatch.setattr(watch.anyio, "sleep", job.sleep)
        monkeypatch.setattr(watch.anyio, "current_time", job.clock)
        monkeypatch.setattr(watch.history, "look_up", job.look_up)
        return await Watch(job, on_denied).until_done(
            "r1", submitted_at=submitted_at, until=job.now + for_s, at_once=at_once
        )

    return run


async def test_a_job_is_polled_at_the_learners_gaps_until_it_is_done(watched):
    job = Job([RUNNING, RUNNING, RUNNING, DONE])
    assert Done(RESULT) == await watched(job)
    assert job.looks == [1.5, 3.0, 4.5, 6.0]


async def test_jobs_that_began_at_other_moments_are_polled_at_the_same(watched):
    """At 1.55 s by their gaps: the nearest tick of the beat, an eighth of a second, is at 1.5."""
    job = Job([RUNNING, RUNNING, RUNNING, DONE])
    job.now += 0.05
    await watched(job, submitted_at=job.now)
    assert job.looks == [1.5, 3.0, 4.5, 6.0]


async def test_the_waiting_ends_at_the_deadline_and_not_the_job(watched):
    job = Job([RUNNING])
    assert StillRunning(None, None) == await watched(job, for_s=10.0)
    assert job.now == T0 + 10


@pytest.mark.parametrize("at", ["status", "result"])
async def test_a_failed_job_is_failed_wherever_it_is_said(watched, at):
    failed = verdicts.Failed("blocked", 422)
    job = Job([(failed, None)]) if at == "status" else Job([DONE], [failed])
    assert Failed("blocked", 422) == await watched(job)


@pytest.mark.parametrize(
    "answer",
    [
        Trouble("HTTP 502: x", 502),
        Trouble("cut", None),
        Gone("HTTP 404: x", 404),
        Throttled(None, None, None),
    ],
    ids=["502", "cut", "404", "429"],
)
async def test_an_answer_that_says_nothing_is_asked_again(watched, answer):
    assert Done(RESULT) == await watched(Job([(answer, None)] * 5 + [DONE], [answer] * 5 + [RESULT]))


async def test_a_404_is_the_end_only_when_the_records_hour_is_over(watched):
    assert isinstance(await watched(Job([LOST]), for_s=RECORD_S - 60), StillRunning)
    assert isinstance(await watched(Job([LOST]), for_s=RECORD_S + 60), Lost)
    assert isinstance(await watched(Job([LOST]), submitted_at=T0 - RECORD_S, at_once=True), Lost)


def listed(status, url=None, error=None):
    return Entry("r1", status, None, None, 30_000, url, error)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(listed("COMPLETED", "https://i/2"), Done, id="finished: its output"),
        pytest.param(listed("FAILED", error="blocked"), Failed, id="finished: its failure"),
        pytest.param(listed("PENDING"), StillRunning, id="in progress"),
        pytest.param(listed("COMPLETED"), Lost, id="finished, its output unknown"),
        pytest.param(None, Lost, id="not listed"),
        pytest.param(NoAnswer("x"), Lost, id="not reachable"),
    ],
)
async def test_a_record_that_is_gone_is_asked_for_in_the_history(watched, entry, expected):
    job = Job([LOST])
    job.listed = entry
    outcome = await watched(job, submitted_at=T0 - RECORD_S, at_once=True)
    assert expected is type(outcome)
    if expected is Done:
        assert (outcome.result.output, outcome.result.cost) == ("https://i/2", 30_000)


async def test_a_404_does_not_hammer(watched):
    """At most 0.5, 1, 2, 4, 8, 16 and then 15 s at least between looks: 900 / 15 = 60, and 6 on the way there."""
    job = Job([LOST])
    await watched(job)
    assert len(job.looks) <= 66


async def test_a_refused_key_is_told_at_once_and_the_job_still_watched(watched):
    told = []
    job = Job([(Denied("bad key", 401), None), RUNNING, DONE])
    assert Done(RESULT) == await watched(job, on_denied=lambda reason: told.append((reason, len(job.looks))))
    assert told == [("bad key", 1)]


async def test_a_key_that_stays_refused_leaves_the_job_running(watched):
    job = Job([(Denied("bad key", 401), None)])
    assert StillRunning("bad key", "bad key") == await watched(job, for_s=60.0)


async def test_a_refused_verb_is_our_fault(watched):
    with pytest.raises(RunStopped, match=r"please report"):
        await watched(Job([(Stop("please report", 405), None)]))


async def test_a_job_of_an_earlier_run_is_looked_at_at_once(watched):
    job = Job([DONE])
    assert Done(RESULT) == await watched(job, submitted_at=T0 - 2000, at_once=True)
    assert job.looks == [0.0]


async def test_jobs_that_were_done_while_nobody_looked_teach_nothing(watched):
    """Sixteen found done after 2000 s must not make the next job wait 1700 s for its first look."""
    polls = Polls()
    for _ in range(16):
        job = Job([DONE])
        job.polls = polls
        await watched(job, submitted_at=T0 - 2000, at_once=True)
    assert polls.of("").gap(0, 0) == CAREFUL.first
    assert polls.times == {}


async def test_a_result_that_is_paid_is_asked_for_once_more_after_the_deadline(watched):
    job = Job([DONE], [RESULT])
    job.statuses = [DONE]
    assert Done(RESULT) == await watched(job, for_s=0.5)


async def test_a_watch_may_be_cancelled_and_begun_again(watched):
    job = Job([RUNNING])
    with anyio.CancelScope() as scope:
        scope.cancel()
        await watched(job)
    assert scope.cancelled_caught
    job.statuses = [DONE]
    assert Done(RESULT) == await watched(job)


@pytest.mark.parametrize(("tries", "most"), [(1, 1.0), (2, 2.0), (5, 16.0), (6, 30.0), (2000, 30.0)])
def test_gaps_after_trouble_grow_to_a_bound(tries, most):
    gaps = [growing_gap(tries) for _ in range(50)]
    assert min(gaps) >= most / 2
    assert max(gaps) <= most


# -- the public client, on a socket -----------------------------------------------------------------------------------


def answers(server, **by_end):
    """Answer by the end of the path: status, result."""

    async def handle(call):
        await call.answer(200, by_end["status" if "/status " in call.line else "result"])

    server.handle = handle


DONE_BODY = {"status": "COMPLETED", "output": "https://i/1", "metrics": {"cost": 0.03, "total_time": 0.2}}


async def test_waiting_for_a_job_gives_its_result(server):
    answers(server, status={"status": "COMPLETED"}, result=DONE_BODY)
    async with Client(server.service) as client:
        result = await client.wait("r1", deadline_s=5)
    assert (result.output, result.cost) == ("https://i/1", 30_000)
    assert client.status_calls == 1


async def test_waiting_for_a_failed_job_raises_with_its_request_id(server):
    server.handle = lambda call: call.answer(422, {"status": "FAILED", "error": "blocked"})
    async with Client(server.service) as client:
        with pytest.raises(JobFailed, match=r"job r1 failed: blocked") as failed:
            await client.wait("r1", deadline_s=5)
    assert failed.value.request_id == "r1"


async def test_waiting_too_short_keeps_the_request_id(server):
    answers(server, status={"status": "PROCESSING"})
    async with Client(server.service) as client:
        with pytest.raises(JobRunning, match=r"wait for it again") as running:
            await client.wait("r1", deadline_s=0.3)
    assert running.value.request_id == "r1"


async def test_a_client_alone_waits_out_a_429_on_a_get(server, monkeypatch):
    """No run stands behind it to open the gate."""
    monkeypatch.setattr(gates, "NO_HEADER_S", 0.05)

    async def handle(call):
        if len(server.calls) == 1:
            await call.answer(429, {"error": "slow down"})
        else:
            await call.answer(200, {"status": "COMPLETED"} if "/status " in call.line else DONE_BODY)

    server.handle = handle
    async with Client(server.service) as client:
        with anyio.fail_after(5):
            assert (await client.wait("r1", deadline_s=5)).cost == 30_000
        assert client.pace.gate.counts_gets


@pytest.mark.parametrize("deadline_s", [0.2, 0.0001], ids=["while it looks", "before it looks"])
async def test_waiting_for_a_job_ends_in_time_although_the_gate_is_closed(server, monkeypatch, deadline_s):
    monkeypatch.setattr(watch, "LONGEST_S", 0.0)  # however far the deadline is
    async with Client(server.service) as client:
        client.pace.throttled(Throttled(None, None, 7200.0), T0, on_get=True)
        client.polls.of("").gap = lambda *_, **__: 0.01
        with anyio.fail_after(watch.LAST_LOOK_S / 2), pytest.raises(JobRunning, match=r"wait for it again"):
            await client.wait("r1", deadline_s=deadline_s)
    assert server.calls == []


async def test_a_result_that_a_closed_gate_holds_is_waited_for_until_the_deadline(server, monkeypatch):
    """The job is done and paid, and so said: it stays running for whoever waits, and keeps its request id."""
    monkeypatch.setattr(watch, "LONGEST_S", 0.0)  # however far the deadline is

    async def handle(call):
        await call.answer(200, {"status": "COMPLETED"})
        client.pace.throttled(Throttled(None, None, 7200.0), T0, on_get=True)

    server.handle = handle
    async with Client(server.service) as client:
        client.polls.of("").gap = lambda *_, **__: 0.01
        with anyio.fail_after(5), pytest.raises(JobRunning):
            await client.wait("r1", deadline_s=0.5)
    assert len(server.calls) == 1


async def test_trouble_with_a_result_is_slept_over_until_the_deadline_only(watched):
    job = Job([DONE], [Trouble("cut", None)])
    assert StillRunning("cut", None) == await watched(job, for_s=20.0)
    assert job.now == T0 + 20


@pytest.mark.parametrize(
    ("body", "paid", "free"),
    [
        ({"credits": 12.5, "free-credits": 1}, 12_500_000, 1_000_000),
        ({"credits": 0}, 0, 0),
        ({"credits": 0.1, "free-credits": "none"}, 100_000, 0),
    ],
)
async def test_the_balance_in_micro_dollars(server, body, paid, free):
    server.handle = lambda call: call.answer(200, body)
    async with Client(server.service) as client:
        assert client_module.Credits(paid, free) == await client.credits()
    assert server.calls[0].line == "GET /v1/get-user-credits HTTP/1.1"


def test_no_time_learned_is_infinite():
    learner = PollLearner()
    learner.learn(math.inf, None, math.inf, None)
    assert repr(learner) == "<PollLearner learning>"
