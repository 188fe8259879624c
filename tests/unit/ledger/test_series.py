"""Which rows get candidates, how many jobs that is, and what later commands make of them."""

import itertools

import pytest
from stores import Sqlite, payload, queued, save

from batch.ledger import candidates, choices, runs, totals
from batch.ledger.mark import Loss
from batch.ledger.prices import LISTED
from batch.ledger.staging import ADOPTED, STAGED, Stage, compare
from batch.ledger.states import Event, State
from batch.ledger.store import Part, Position
from batch.manifest.naming import fold_name

T = 1_800_000_000.0
STEPS = (Event.RESERVE, Event.ACCEPT, Event.COMPLETE)


class Book:
    """A ledger with rows that asked for candidates."""

    def __init__(self, path):
        self.bench = Sqlite(lambda: T, path)
        self.ledger = self.bench.store
        self.ledger.run_id = "run-1"
        self._requests = itertools.count(1)
        self._seeds = itertools.count(1000)

    def adopt(self, *rows, number=1, only=None):
        self.bench.adopt(rows, only, number, lambda: next(self._seeds))

    def count(self, *rows, number, named=False, **again):
        """What a run of these rows would send for candidates."""
        Stage(self.ledger).fill(rows, fold_name)
        return candidates.plan(self.ledger, STAGED, number, named=named, **again)

    def extra(self):
        return [task.name for task in queued(self.ledger, Position(Part.CANDIDATES))]

    def job(self, row_id):
        (found,) = self.ledger.connection.execute("SELECT job FROM rows WHERE id=?", (row_id,)).fetchone()
        return found

    def move(self, job, *events):
        for event in events:
            fields = {"request_id": f"r{next(self._requests)}"} if event == Event.ACCEPT else {}
            with self.ledger.atomic():
                self.ledger.transition(job, event, **fields)

    def save(self, job):
        self.move(job, *STEPS)
        with self.ledger.atomic():
            save(self.ledger, *self.ledger.tasks([job]), sha256=f"image {job}")

    def jobs_of_candidates(self):
        return [task.job for task in queued(self.ledger, Position(Part.CANDIDATES))]


@pytest.fixture
def book(tmp_path):
    made = Book(tmp_path / "ledger.sqlite")
    yield made
    made.bench.close()


@pytest.mark.parametrize("number", [2, 5])
def test_a_plan_without_any_ledger_counts_the_seeds_besides_the_first(book, number):
    rows = [payload("a"), payload("b"), payload("c", prompt="other")]
    assert book.count(*rows, number=number) == 2 * (number - 1)  # a and b are the same work


def test_a_ledger_that_is_only_read_counts_the_same(book, tmp_path):
    book.adopt(payload("a"), number=3)
    stage = Stage(book.ledger, writable=False)
    stage.fill([payload("a"), payload("b", prompt="new")], fold_name)
    assert candidates.plan(book.ledger, STAGED, 4, named=False) == 3 + 3


def test_the_manifest_of_last_time_counts_like_one_that_was_read(book):
    book.adopt(payload("a"), payload("b", prompt="2"), number=2)
    assert candidates.plan(book.ledger, ADOPTED, 4, named=False) == 6
    assert compare(book.ledger, ADOPTED, retry_failed=False, price=LISTED).candidates == 0


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED, State.UNKNOWN, State.ABANDONED])
def test_a_row_whose_own_work_went_wrong_gets_none(book, state):
    ways = {
        State.FAILED: (Event.SPOIL,),
        State.EXPIRED: (Event.RESERVE, Event.ACCEPT, Event.EXPIRE),
        State.UNKNOWN: (Event.RESERVE, Event.LOSE),
        State.ABANDONED: (Event.RESERVE, Event.LOSE, Event.ABANDON),
    }
    book.adopt(payload("a"), payload("b", prompt="2"), number=2)
    assert book.extra() == ["a (seed 1000)", "b (seed 1001)"]
    book.move(book.job("a"), *ways[state])
    assert book.extra() == ["b (seed 1001)"]
    assert book.count(payload("a"), payload("b", prompt="2"), number=3) == 2
    assert candidates.end_counts(book.ledger) == {"pending": 1, "failed": 0}


def test_an_accepted_row_gets_some_only_when_it_is_named(book):
    book.adopt(payload("a"))
    book.save(book.job("a"))
    with book.ledger.atomic() as connection:
        connection.execute(
            "INSERT INTO decisions (row, decision, by, at, sha256) VALUES (1, 'accepted', 'anna', 0, 'image 1')"
        )
    assert book.count(payload("a"), number=3) == 0
    assert book.count(payload("a"), number=3, named=True) == 2
    assert book.count(payload("a", prompt="edited"), number=3) == 2


def test_what_was_left_over_is_sent_only_when_it_is_asked_for_again(book):
    book.adopt(payload("a"), number=3)
    book.adopt(payload("a"))
    assert (book.extra(), book.ledger.open_jobs()) == ([], 1)
    assert book.count(payload("a"), number=2) == 1
    book.adopt(payload("a"), number=2)
    assert book.extra() == ["a (seed 1000)"]


def test_seeds_that_are_known_are_not_drawn_again(book):
    book.adopt(payload("a"), payload("b", seed=1000), number=2)
    assert book.extra() == ["a (seed 1001)", "b (seed 1002)"]


def test_failed_candidates_are_sent_again_as_a_retry_says_and_billed_ones_only_with_a_yes(book):
    book.adopt(payload("a"), number=3)
    book.save(book.job("a"))
    unpaid, paid = book.jobs_of_candidates()
    book.move(unpaid, Event.SPOIL)
    book.move(paid, Event.RESERVE, Event.ACCEPT, Event.EXPIRE)
    again = {"retry_failed": True, "pay_again": False}
    assert book.count(payload("a"), number=3) == 0
    assert book.count(payload("a"), number=3, **again) == 1
    with book.ledger.atomic():
        candidates.adopt(book.ledger, 3, **again)
    assert book.jobs_of_candidates() == [unpaid]
    assert candidates.end_counts(book.ledger) == {"pending": 1, "failed": 1}
    assert book.count(payload("a"), number=3, retry_failed=True, pay_again=True) == 2


def test_a_candidate_is_no_stray_and_is_called_after_its_row_where_it_is_unknown(book):
    book.adopt(payload("a"), number=2)
    (job,) = book.jobs_of_candidates()
    book.move(job, Event.RESERVE, Event.LOSE)
    assert totals.strays(book.ledger) == ()
    assert [lost.ids for lost in totals.unknown_jobs(book.ledger)] == [("a (seed 1000)",)]
    book.adopt(payload("a", prompt="edited"))
    assert [stray.unknown for stray in totals.strays(book.ledger)] == [True]


def test_planned_candidates_may_have_been_sent_where_the_ledger_lost_its_end(book):
    book.adopt(payload("a"), number=3)
    book.ledger.loss = Loss(since=T, rows=False, ends=0, ended=1)
    with book.ledger.atomic():
        assert runs.suspect(book.ledger, 30_000) == 3
    assert book.count(payload("a"), payload("b", prompt="2"), number=4) == 0


def test_a_row_remembers_its_earlier_work_as_far_as_that_was_sent(book):
    book.adopt(payload("a"))
    book.adopt(payload("a", seed=2))
    book.save(book.job("a"))
    book.adopt(payload("a", seed=3))
    row = choices.choosable(book.ledger, "a")
    assert [(image.seed, image.present) for image in row.images] == [(2, False), (3, True)]
    assert row.saved(2).job == 2
    assert row.saved(3) is None


def test_the_present_series_comes_before_earlier_work_of_the_same_seed(book):
    book.adopt(payload("a"), number=2)
    book.save(book.job("a"))
    (first,) = book.jobs_of_candidates()
    book.save(first)
    book._seeds = itertools.count(1000)
    book.adopt(payload("a", prompt="edited"), number=2)
    (second,) = book.jobs_of_candidates()
    assert choices.choosable(book.ledger, "a").saved(1000).job == first
    book.save(second)
    assert choices.choosable(book.ledger, "a").saved(1000).job == second
