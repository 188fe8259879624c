"""From a request id to its result, on a clock of the test's own; and the client a script would use."""

import math
from dataclasses import replace

import anyio
import pytest

from batch.client import poller, responses
from batch.client.calls import Credits, StatusCheck
from batch.client.client import Client
from batch.client.history_page import Entry
from batch.client.poller import Done, Expired, Poller, StillRunning
from batch.client.responses import (
    AccountRefused,
    Completed,
    Doubtful,
    Inconclusive,
    NotFound,
    Running,
    Unauthorized,
)
from batch.core.config import CAREFUL, Timeouts
from batch.core.errors import JobExpired, JobFailed, JobRunning, NoResponse, RunStopped
from batch.core.models import Result
from batch.pacing.limiter import Limiter, Throttled
from batch.pacing.poll_schedule import PollSchedule, PollSchedules

pytestmark = pytest.mark.anyio

T0 = 1_800_000_000.0
RESULT = Result("https://i/1", 30_000, 1.0, 20.0, 21.0)
LOST = (NotFound("HTTP 404: no such request", 404), None)
RUNNING, DONE = (Running(), None), (Completed(), None)
"""Verdicts, with the service's own time for the job."""


class Job:
    """Stands for the client: a script of status and result answers; the last one repeats. Sleeping moves its clock."""

    def __init__(self, statuses, results=(RESULT,)):
        self.now = T0
        self.polls, self.timeouts = PollSchedules(), Timeouts()
        self.pace = Limiter(1)
        self.statuses, self.results = list(statuses), list(results)
        self.looks = []
        self.listed = NoResponse("the history is not reachable")
        self.answers = []  # of the history, before `listed`

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        assert seconds >= 0
        self.now += seconds
        await anyio.lowlevel.checkpoint()

    async def status(self, _request_id):
        self.looks.append(self.now - T0)
        verdict, total_s = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return StatusCheck(verdict, total_s, self.now)

    async def look_up(self, _client, _request_id):
        answer = self.answers.pop(0) if self.answers else self.listed
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def result(self, _request_id, *, seed):  # noqa: ARG002  as the client has it
        return self.results.pop(0) if len(self.results) > 1 else self.results[0]


@pytest.fixture
def watched(monkeypatch):
    """Watch a scripted job to its outcome."""

    async def run(job, *, submitted_at=T0, for_s=900.0, at_once=False, seed=None, **hears):
        monkeypatch.setattr(poller.anyio, "sleep", job.sleep)
        monkeypatch.setattr(poller.anyio, "current_time", job.clock)
        monkeypatch.setattr(poller.history, "look_up", job.look_up)
        return await Poller(job, **hears).until_done(
            "r1", submitted_at=submitted_at, until=job.now + for_s, at_once=at_once, seed=seed
        )

    return run


DOUBTED = (Doubtful("HTTP 200: FAILED, though not as 422", 200), None)


@pytest.mark.parametrize("status", ["", "PENDING", "PROCESSING", None])
async def test_a_failure_at_the_wrong_place_is_believed_only_from_the_history(watched, status):
    """One stray answer, then the job goes on as if nothing was."""
    job = Job([RUNNING, DOUBTED, RUNNING, DONE])
    if status is not None:
        job.listed = Entry("r1", status, None, None, None, None, None) if status else None
    assert Done(RESULT) == await watched(job)


async def test_a_failure_that_the_history_confirms_is_one(watched):
    job = Job([DOUBTED])
    job.listed = Entry("r1", "FAILED", None, None, None, None, "blocked")
    assert responses.Failed("blocked", 200) == await watched(job)


async def test_a_result_of_another_seed_is_taken_from_the_history(watched):
    job = Job([DONE], [Doubtful("the result is of seed 8, not 7", 200)])
    job.listed = Entry("r1", "COMPLETED", None, None, 30_000, "https://i/own", None)
    assert Done(Result("https://i/own", 30_000, None, None, None)) == await watched(job)


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED"])
async def test_a_request_that_the_history_shows_with_another_seed_is_not_ours(watched, status):
    """Two submits were answered with each other's request ids: neither row gets the other's image, or its failure."""
    job = Job([DONE], [Doubtful("the result is of seed 8, not 7", 200)])
    job.listed = Entry("r1", status, {"seed": 8}, None, 30_000, "https://i/other", "blocked")
    for since in (T0, T0 - Timeouts().record_s):
        assert isinstance(await watched(job, submitted_at=since, seed=7), StillRunning)
    job.listed = Entry("r1", "COMPLETED", {"seed": "7"}, None, 30_000, "https://i/own", None)
    assert Done(Result("https://i/own", 30_000, None, None, None)) == await watched(job, seed=7)


async def test_a_result_of_another_seed_never_ends_the_job(watched):
    job = Job([DONE], [Doubtful("the result is of seed 8, not 7", 200)])
    job.listed = None
    assert isinstance(await watched(job, submitted_at=T0 - Timeouts().record_s), StillRunning)


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
    assert StillRunning() == await watched(job, for_s=10.0)
    assert job.now == T0 + 10


@pytest.mark.parametrize("at", ["status", "result"])
async def test_a_failed_job_is_failed_wherever_it_is_said(watched, at):
    failed = responses.Failed("blocked", 422)
    job = Job([(failed, None)]) if at == "status" else Job([DONE], [failed])
    assert responses.Failed("blocked", 422) == await watched(job)


@pytest.mark.parametrize(
    "answer",
    [
        Inconclusive("HTTP 502: x", 502),
        Inconclusive("cut", None),
        NotFound("HTTP 404: x", 404),
        Throttled(None, None, None),
    ],
    ids=["502", "cut", "404", "429"],
)
async def test_an_answer_that_says_nothing_is_asked_again(watched, answer):
    assert Done(RESULT) == await watched(Job([(answer, None)] * 5 + [DONE], [answer] * 5 + [RESULT]))


async def test_a_404_is_the_end_only_when_the_records_hour_is_over(watched):
    assert isinstance(await watched(unlisted(), for_s=Timeouts().record_s - 60), StillRunning)
    assert isinstance(await watched(unlisted(), for_s=Timeouts().record_s + 60), Expired)
    assert isinstance(await watched(unlisted(), submitted_at=T0 - Timeouts().record_s, at_once=True), Expired)


@pytest.mark.parametrize("silent_looks", [1, 3, 20])
async def test_a_history_out_of_reach_settles_nothing_and_is_asked_until_it_answers(watched, silent_looks):
    """After the record's hour as before: the job is lost, or found, only when the history has said so."""
    for entry, expected in ((None, Expired), (listed("COMPLETED", "https://i/2"), Done)):
        job = Job([LOST])
        job.answers = [NoResponse("HTTP 503")] * silent_looks + [entry]
        outcome = await watched(job, submitted_at=T0 - Timeouts().record_s - 60, at_once=True)
        assert (type(outcome), len(job.looks)) == (expected, silent_looks + 1)


def unlisted():
    """Return a job that neither its record nor the history knows."""
    job = Job([LOST])
    job.listed = None
    return job


def listed(status, url=None, error=None):
    return Entry("r1", status, None, None, 30_000, url, error)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(listed("COMPLETED", "https://i/2"), Done, id="finished: its output"),
        pytest.param(listed("FAILED", error="blocked"), responses.Failed, id="finished: its failure"),
        pytest.param(listed("PENDING"), StillRunning, id="in progress"),
        pytest.param(listed("COMPLETED"), Expired, id="finished, its output unknown"),
        pytest.param(None, Expired, id="not listed"),
        pytest.param(NoResponse("x"), StillRunning, id="not reachable"),
    ],
)
async def test_a_record_that_is_gone_is_asked_for_in_the_history(watched, entry, expected):
    job = Job([LOST])
    job.listed = entry
    outcome = await watched(job, submitted_at=T0 - Timeouts().record_s, at_once=True)
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
    job = Job([(Unauthorized("bad key", 401), None), RUNNING, DONE])
    assert Done(RESULT) == await watched(job, on_denied=lambda reason: told.append((reason, len(job.looks))))
    assert told == [("bad key", 1)]


async def test_a_key_that_stays_refused_leaves_the_job_running(watched):
    job = Job([(Unauthorized("bad key", 401), None)])
    assert StillRunning("bad key") == await watched(job, for_s=60.0)


async def test_a_refused_verb_is_our_fault(watched):
    with pytest.raises(RunStopped, match=r"please report"):
        await watched(Job([(AccountRefused("please report", 405), None)]))


async def test_a_job_of_an_earlier_run_is_looked_at_at_once(watched):
    job = Job([DONE])
    assert Done(RESULT) == await watched(job, submitted_at=T0 - 2000, at_once=True)
    assert job.looks == [0.0]


async def test_whoever_waits_for_a_job_hears_that_it_is_still_at_work(watched):
    heard = []
    assert Done(RESULT) == await watched(
        Job([(Inconclusive("cut", None), None), RUNNING, RUNNING, DONE]), on_running=lambda: heard.append(1)
    )
    assert len(heard) == 2
    job = Job([LOST])
    job.listed = listed("PENDING")
    await watched(job, for_s=60.0, on_running=lambda: heard.append(1))
    assert len(heard) == 2 + len(job.looks)


async def test_jobs_that_were_done_while_nobody_looked_teach_nothing(watched):
    """Sixteen found done after 2000 s must not make the next job wait 1700 s for its first look."""
    polls = PollSchedules()
    for _ in range(16):
        job = Job([DONE])
        job.polls = polls
        await watched(job, submitted_at=T0 - 2000, at_once=True)
    assert polls.by_size[""].gap(0, 0) == CAREFUL.first
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
    gaps = [Timeouts().no_answer.wait_s(tries) for _ in range(50)]
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
    assert not isinstance(failed.value, JobExpired)


async def test_waiting_for_a_job_whose_result_is_gone_says_that_it_is_billed(server):
    """Within the hour it may still come; that is made short here."""
    server.handle = lambda call: call.answer(404, {"error": "no such request"})
    async with Client(replace(server.service, timeouts=Timeouts(record_s=0.0))) as client:
        with pytest.raises(JobFailed, match=r"job r1 failed: the service no longer has") as gone:
            await client.wait("r1", deadline_s=5)
    assert type(gone.value) is JobExpired
    assert gone.value.request_id == "r1"


async def test_waiting_too_short_keeps_the_request_id(server):
    answers(server, status={"status": "PROCESSING"})
    async with Client(server.service) as client:
        with pytest.raises(JobRunning, match=r"wait for it again") as running:
            await client.wait("r1", deadline_s=0.3)
    assert running.value.request_id == "r1"


async def test_a_client_alone_waits_out_a_429_on_a_get(server, waits):
    """No run stands behind it to open the gate."""
    waits(probe_s=0.05)

    async def handle(call):
        if len(server.calls) == 1:
            await call.answer(429, {"error": "slow down"})
        else:
            await call.answer(200, {"status": "COMPLETED"} if "/status " in call.line else DONE_BODY)

    server.handle = handle
    async with Client(server.service) as client:
        with anyio.fail_after(60):
            assert (await client.wait("r1", deadline_s=5)).cost == 30_000
        assert client.pace.gate.counts_gets


@pytest.mark.parametrize("deadline_s", [0.2, 0.0001], ids=["while it looks", "before it looks"])
async def test_waiting_for_a_job_ends_in_time_although_the_gate_is_closed(server, deadline_s):
    async with Client(server.service) as client:
        client.pace.throttled(Throttled(None, None, 7200.0), T0, on_get=True)
        client.polls.by_size[""].gap = lambda *_, **__: 0.01
        with anyio.fail_after(poller.LAST_POLL_S / 2), pytest.raises(JobRunning, match=r"wait for it again"):
            await client.wait("r1", deadline_s=deadline_s)
    assert server.calls == []


async def test_a_result_that_a_closed_gate_holds_is_waited_for_until_the_deadline(server):
    """The job is done and paid, and so said: it stays running for whoever waits, and keeps its request id."""

    async def handle(call):
        await call.answer(200, {"status": "COMPLETED"})
        client.pace.throttled(Throttled(None, None, 7200.0), T0, on_get=True)

    server.handle = handle
    async with Client(server.service) as client:
        client.polls.by_size[""].gap = lambda *_, **__: 0.01
        with anyio.fail_after(60), pytest.raises(JobRunning):
            await client.wait("r1", deadline_s=0.5)
    assert len(server.calls) == 1


async def test_trouble_with_a_result_is_slept_over_until_the_deadline_only(watched):
    job = Job([DONE], [Inconclusive("cut", None)])
    assert StillRunning() == await watched(job, for_s=20.0)
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
        assert Credits(paid, free) == await client.credits()
    assert server.calls[0].line == "GET /v1/get-user-credits HTTP/1.1"


def test_no_time_learned_is_infinite():
    learner = PollSchedule()
    learner.learn(math.inf, None, math.inf, None)
    assert repr(learner) == "<PollSchedule learning>"
