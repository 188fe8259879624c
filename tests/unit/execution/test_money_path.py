"""From planned to saved, and every way in which that goes wrong: nothing is paid twice, and no lost answer is a failure."""

import random
from collections import Counter

import anyio
import pytest
from simulated import IMAGE, PRICE, NoSheet, Simulation, run

from batch.core.errors import BudgetExceeded
from batch.ledger.memory import MemoryLedger
from batch.ledger.states import State
from tests.unit.ledger.stores import payload

THROTTLED = (429, {"error": "Rate limit exceeded. Please try again later"}, {"retry_after": "30"})
INTERNAL = (500, {"error": "Internal server error"}, {})
REFUSED = (422, {"error": "Parameter out of range: quality"}, {})
NO_KEY = (401, {"error": "unauthorized", "error_description": "Invalid API key"}, {})
GATEWAY = (502, None, {})


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Let a backoff wait what it may at most, and a blocking step run where it is: nothing is left to chance or threads."""

    async def inline(step, *args, **_):
        return step(*args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", inline)
    monkeypatch.setattr("batch.execution.dispatcher.SheetRefresher", NoSheet)
    for module in ("batch.execution.reconcile", "batch.ledger.memory"):  # the time that no wall clock moves
        monkeypatch.setattr(f"{module}.counter", anyio.current_time)
        monkeypatch.setattr(f"{module}.boot", lambda: "a start of this machine")
    random.seed(7)


@pytest.fixture
def store():
    return MemoryLedger(lambda: 0.0)


@pytest.fixture
def adopt(store):
    def adopt(count=1, **given):
        rows = [payload(f"r{number:03}", prompt=f"number {number}", **given) for number in range(count)]
        with store.atomic():
            store.adopt(rows)

    return adopt


def states(store):
    return Counter(str(task.state) for task in store.tasks(list(store._jobs)))


def task_of(store, job=1):
    (task,) = store.tasks([job])
    return task


def test_each_step_is_on_record_before_the_next_one_begins(store, adopt, tmp_path):
    adopt()
    seen = {}
    service = Simulation(seen=lambda what: seen.setdefault(what, task_of(store)))
    ended = run(store, service, tmp_path)
    assert {what: task.state for what, task in seen.items()} == {
        "POST": State.SENDING, "status": State.ACCEPTED, "result": State.ACCEPTED, "image": State.COMPLETED,
    }  # fmt: skip
    assert (seen["POST"].estimate, seen["status"].request_id) == (PRICE, "q-0")
    assert seen["image"].output_url == "https://files.example/q-0"
    assert (states(store), len(service.posts)) == ({"saved": 1}, 1)
    assert (tmp_path / "r000.webp").read_bytes() == IMAGE
    assert (ended.stopped, ended.committed) == (None, PRICE)


def test_what_is_sent_is_what_was_planned(store, adopt, tmp_path):
    adopt()
    service = Simulation()
    run(store, service, tmp_path)
    assert service.posts == [dict(task_of(store).parameters)]


def test_a_throttled_submit_waits_and_is_sent_once_more(store, adopt, tmp_path):
    adopt()
    service = Simulation([THROTTLED])
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts), ended.committed) == ({"saved": 1}, 2, PRICE)
    assert ended.seconds > 30


@pytest.mark.parametrize(
    ("answer", "posts", "state"),
    [(INTERNAL, 4, "failed"), (REFUSED, 1, "failed"), ("unconnected", 9, "planned")],
)
def test_a_submit_that_was_certainly_not_accepted_costs_nothing(store, adopt, tmp_path, answer, posts, state):
    """The service's own 500 is tried --retries times, a refusal once; without a connection no row is at fault."""
    adopt()
    service = Simulation([answer] * 20)
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts), ended.committed) == ({state: 1}, posts, 0)
    assert bool(ended.stopped) == (state == "planned")


def test_a_lost_submit_that_arrived_is_found_and_not_sent_again(store, adopt, tmp_path):
    adopt(3)
    service = Simulation(["accepted", "lost"])
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts), ended.unresolved) == ({"saved": 3}, 3, None)
    assert len(list(tmp_path.glob("*.webp"))) == 3
    assert ended.committed == 3 * PRICE


@pytest.mark.parametrize("answer", ["dropped", GATEWAY])
def test_a_lost_submit_that_never_arrived_is_sent_again_when_the_history_has_had_its_time(
    store, adopt, tmp_path, answer
):
    adopt(2)
    service = Simulation(["accepted", answer])
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts), ended.committed) == ({"saved": 2}, 3, 2 * PRICE)
    assert ended.seconds > 120


def test_a_gateway_that_loses_every_submit_does_not_keep_a_run_going_for_ever(store, adopt, tmp_path):
    adopt()
    service = Simulation(["dropped"] * 50)
    ended = run(store, service, tmp_path, retries=2)
    assert (states(store), len(service.posts), ended.committed) == ({"failed": 1}, 3, 0)


def test_what_the_history_does_not_prove_stays_unknown(store, adopt, tmp_path):
    """A history that lists nothing of ours lags: it proves nothing about the lost one."""
    adopt(2)
    service = Simulation(["accepted", "dropped"], listed=False)
    ended = run(store, service, tmp_path)
    assert states(store) == {"saved": 1, "unknown": 1}
    assert (len(service.posts), ended.committed) == (2, 2 * PRICE)
    assert "the history lags" in ended.unresolved


def test_the_next_run_finds_what_the_last_one_lost(store, adopt, tmp_path):
    adopt(2)
    service = Simulation(["accepted", "lost"], listed=False)
    run(store, service, tmp_path)
    service.listed = True
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts), ended.committed) == ({"saved": 2}, 2, PRICE)


def test_the_cap_is_kept_to_the_cent(store, adopt, tmp_path):
    adopt(5)
    service = Simulation()
    ended = run(store, service, tmp_path, cap=2 * PRICE + 1)
    assert isinstance(ended.stopped, BudgetExceeded)
    assert (states(store), len(service.posts)) == ({"saved": 2, "planned": 3}, 2)


def test_an_unknown_submit_stays_on_the_budget(store, adopt, tmp_path):
    adopt(3)
    service = Simulation(["dropped"], listed=False)
    ended = run(store, service, tmp_path, cap=2 * PRICE, concurrency=1)
    assert (states(store), len(service.posts)) == ({"unknown": 1, "saved": 1, "planned": 1}, 2)
    assert ended.committed == 2 * PRICE


def test_a_refused_key_stops_the_submitting_and_lets_the_paid_jobs_end(store, adopt, tmp_path):
    adopt(4)
    service = Simulation(["accepted", NO_KEY])
    ended = run(store, service, tmp_path, concurrency=2)
    assert states(store) == {"saved": 1, "planned": 3}
    assert "The key was not accepted" in str(ended.stopped)


def test_a_job_that_fails_at_the_service_gives_its_price_back(store, adopt, tmp_path):
    adopt()
    ended = run(store, Simulation(fails="unsafe prompt"), tmp_path)
    assert (states(store), ended.committed) == ({"failed": 1}, 0)


def test_a_job_whose_record_is_gone_is_expired_and_was_paid_for(store, adopt, tmp_path):
    adopt()
    service = Simulation(runs_s=9000.0, listed=False)
    ended = run(store, service, tmp_path, job_timeout_s=8000.0)
    assert (states(store), len(service.posts), ended.committed) == ({"expired": 1}, 1, PRICE)
    assert store.billed(1, 1) == (PRICE, False)


def test_a_job_that_runs_longer_than_its_timeout_is_polled_by_the_next_run(store, adopt, tmp_path):
    adopt()
    service = Simulation(runs_s=1000.0)
    run(store, service, tmp_path, job_timeout_s=300.0)
    assert states(store) == {"accepted": 1}
    run(store, service, tmp_path, job_timeout_s=1200.0)
    assert (states(store), len(service.posts)) == ({"saved": 1}, 1)


def test_an_image_that_does_not_come_is_fetched_until_it_does(store, adopt, tmp_path):
    adopt()
    service = Simulation(downloads_lost=5)
    ended = run(store, service, tmp_path)
    assert (states(store), len(service.posts)) == ({"saved": 1}, 1)
    assert ended.seconds > 20


def test_a_request_id_that_comes_twice_is_one_jobs_only(store, adopt, tmp_path):
    """The second answer belongs to the first submit; what became of the second nobody knows."""
    adopt(2)
    copy = (200, {"request_id": "q-0", "status": "QUEUED"}, {})
    service = Simulation(["accepted", copy])
    run(store, service, tmp_path, concurrency=1)
    assert (states(store), len(service.posts)) == ({"saved": 2}, 3)
    assert store.holds("q-0")
    assert {task.request_id for task in store.tasks([1, 2])} == {"q-0", "q-1"}


@pytest.mark.parametrize("at_s", [0.06, 0.12, 1.0, 19.0, 25.0])
def test_a_run_that_is_cut_anywhere_is_continued_and_pays_once(store, adopt, tmp_path, at_s):
    adopt(3)
    service = Simulation(["accepted", "lost"])
    run(store, service, tmp_path, stop_after_s=at_s)
    run(store, service, tmp_path)
    assert (states(store), len(service.posts)) == ({"saved": 3}, 3)


def test_two_rows_that_want_the_same_work_pay_once(store, tmp_path):
    with store.atomic():
        store.adopt([payload("a"), payload("b")])
    service = Simulation()
    run(store, service, tmp_path)
    assert (states(store), len(service.posts)) == ({"saved": 1}, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "b.webp"]


def test_many_jobs_are_each_paid_once_whatever_becomes_of_their_answers(store, adopt, tmp_path):
    adopt(60)
    kinds = ["accepted", "lost", "dropped", THROTTLED, INTERNAL, GATEWAY]
    service = Simulation(random.choices(kinds, weights=[8, 1, 1, 1, 1, 1], k=80))
    run(store, service, tmp_path, retries=9)
    assert states(store) == {"saved": 60}
    assert len(service.requests) == 60
