"""A manifest on its way in: clashes, seeds, what a run would do, and what adopting changes."""

import itertools
import json

import pytest

from batch.execution.dispatcher import JobQueue
from batch.ledger import image_index, totals
from batch.ledger.ledger import Ledger
from batch.ledger.prices import LISTED, JobPrice, PriceSource
from batch.ledger.staging import STAGED, Stage, compare
from batch.ledger.states import Event, State


def clashes(book, *payloads):
    return [(problem.row, problem.reason) for problem in book.stage(payloads).problems("m.csv")]


def plan(book, *payloads, retry_failed=False, price=LISTED):
    book.stage(payloads)
    return compare(book.ledger, STAGED, retry_failed=retry_failed, price=price)


def jobs(book):
    return book.ledger.connection.execute("SELECT count(*) FROM jobs").fetchone()[0]


# -- clashes -----------------------------------------------------------------------------------------------------------


def test_rows_that_differ_in_id_and_output_do_not_clash(book, payload):
    assert clashes(book, payload("a"), payload("b")) == []


def test_a_repeated_id_is_told_with_the_row_that_had_it_first(book, payload):
    assert clashes(book, payload("a"), payload("b"), payload("a")) == [(4, "'a' is already the id of row 2.")]


def test_identical_rows_without_ids_are_told_as_such_and_once(book, payload):
    found = clashes(book, payload("a-1", derived=True), payload("a-1", derived=True))
    assert found == [(3, "is the same as row 2.")]


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        pytest.param("x.webp", "x.webp", "is the same as row 2's", id="same name"),
        pytest.param("x.webp", "X.webp", "but for upper and lower case the same ('x.webp')", id="case"),
        pytest.param("é.webp", "É.webp", "but for upper and lower case", id="case beyond ASCII"),
        pytest.param("straße.webp", "STRASSE.webp", "but for upper and lower case", id="folded"),
    ],
)
def test_output_names_that_one_file_system_takes_for_one_clash(book, payload, first, second, told):
    ((row, reason),) = clashes(book, payload("a", output=first), payload("b", output=second))
    assert row == 3
    assert told in reason


# -- choosing ----------------------------------------------------------------------------------------------------------


def test_only_the_asked_ids_are_selected_and_misspelt_ones_are_named(book, payload):
    stage = book.stage([payload("a"), payload("b")])
    assert stage.select(["b", "c"]) == ["c"]
    assert compare(book.ledger, STAGED, retry_failed=False, price=LISTED).rows == 1


def test_strangers_are_rows_that_the_manifest_does_not_have(book, payload):
    book.adopt(payload("a"), payload("gone", prompt="2"))
    book.adopt(payload("a"))
    stage = book.stage([payload("a"), payload("gone", prompt="2"), payload("b", prompt="3")])
    assert [row_id for _, row_id in stage.unknown_ids()] == ["gone", "b"]


# -- seeds -------------------------------------------------------------------------------------------------------------


def test_a_seed_of_minus_one_is_drawn_once_and_found_again(book, payload):
    book.adopt(payload("a", seed=-1))
    drawn = json.loads(book.row("a")["parameters"])["seed"]
    assert 0 <= drawn <= 2_147_483_647
    book.adopt(payload("a", seed=-1))
    assert drawn == json.loads(book.row("a")["parameters"])["seed"]
    assert jobs(book) == 1


def test_each_row_with_a_seed_of_minus_one_gets_its_own(book, payload):
    book.adopt(*(payload(f"r{n}", seed=-1) for n in range(20)))
    assert jobs(book) == 20


def test_a_row_that_changed_gets_a_new_seed(book, payload):
    book.adopt(payload("a", seed=-1))
    before = book.job("a")
    book.adopt(payload("a", seed=-1, prompt="other"))
    assert before != book.job("a")


def test_a_row_retried_with_its_drawn_seed_is_still_the_row_that_asked_for_any(book, payload):
    """failures.csv names the drawn seed; the manifest still says -1 and must not be paid for again."""
    book.adopt(payload("a", seed=-1))
    job = book.bring("a", State.FAILED)
    drawn = json.loads(book.row("a")["parameters"])["seed"]
    book.adopt(payload("a", seed=drawn), merge=True, retry_failed=True)
    book.bring("a", State.SAVED)
    again = plan(book, payload("a", seed=-1))
    assert (again.done, again.to_send, again.changed) == (1, 0, ())
    book.adopt(payload("a", seed=-1))
    assert job == book.job("a")


# -- what a run would do -----------------------------------------------------------------------------------------------


def test_a_first_plan_is_all_new(book, payload):
    found = plan(book, payload("a"), payload("b", prompt="2"), price=LISTED)
    assert (found.rows, found.new, found.to_send, found.changed) == (2, 2, 2, ())
    assert found.cost == 60_000  # 2 jobs at 30,000


def test_two_ids_with_one_payload_are_sent_and_paid_once(book, payload):
    found = plan(book, payload("a"), payload("b"), price=LISTED)
    assert (found.new, found.to_send, found.cost) == (2, 1, 30_000)
    book.adopt(payload("a"), payload("b"))
    assert book.job("a") == book.job("b")


def test_a_plan_says_where_its_price_is_known_from(book, payload):
    found = plan(book, payload("a"), payload("b", prompt="2"), price=JobPrice(40_000, PriceSource.GIVEN))
    assert (found.price, found.price_source, found.cost) == (40_000, "as given", 80_000)


@pytest.mark.parametrize(
    ("state", "column"),
    [
        (State.SAVED, "done"),
        (State.SENDING, "in_flight"),
        (State.ACCEPTED, "in_flight"),
        (State.COMPLETED, "in_flight"),
        (State.UNKNOWN, "unknown"),
        (State.FAILED, "failed"),
        (State.EXPIRED, "failed"),
        (State.ABANDONED, "failed"),
    ],
)
def test_known_work_is_counted_where_it_stands_and_not_sent(book, payload, state, column):
    book.adopt(payload("a"))
    book.bring("a", state)
    found = plan(book, payload("a"))
    counts = {name: getattr(found, name) for name in ("new", "done", "in_flight", "unknown", "failed")}
    assert {column: 1} == {name: count for name, count in counts.items() if count}
    assert found.to_send == 0


@pytest.mark.parametrize("yes", [False, True], ids=["", "yes"])
@pytest.mark.parametrize(
    ("state", "sent", "paid"),
    [(State.FAILED, 1, 0), (State.EXPIRED, 0, 1), (State.ABANDONED, 0, 0), (State.UNKNOWN, 0, 0)],
)
def test_a_retry_sends_what_was_not_paid_and_with_a_yes_what_was(book, payload, state, sent, paid, yes):
    book.adopt(payload("a"))
    book.bring("a", state)
    book.stage([payload("a")])
    found = compare(book.ledger, STAGED, retry_failed=True, price=LISTED, pay_again=yes)
    assert (found.to_send, found.again_jobs) == (sent + paid * yes, paid)
    book.adopt(payload("a"), retry_failed=True, pay_again=yes)
    assert ("planned" if found.to_send else str(state)) == book.states()["a"]


@pytest.mark.parametrize(
    ("state", "paid"),
    [
        (State.PLANNED, False),
        (State.FAILED, False),  # failed in the service: not billed
        (State.SENDING, True),
        (State.ACCEPTED, True),
        (State.COMPLETED, True),
        (State.SAVED, True),
        (State.EXPIRED, True),
        (State.UNKNOWN, True),
    ],
)
def test_a_row_is_changed_when_its_id_was_paid_for_with_other_work(book, payload, state, paid):
    book.adopt(payload("a"))
    book.bring("a", state)
    changed = payload("a", prompt="other")
    found = plan(book, changed)
    assert ((changed.number, "a"),) * paid == found.changed
    assert (int(not paid), 1) == (found.new, found.to_send)


def test_work_that_was_paid_and_came_unusable_counts_as_paid(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED, cost=30_000)
    book.move("a", Event.UNUSABLE, error="no picture", error_class="unusable_picture")
    assert len(plan(book, payload("a", prompt="other")).changed) == 1


def test_a_row_that_changed_back_finds_its_first_picture_paid(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED)
    book.adopt(payload("a", prompt="other"))
    found = plan(book, payload("a"))
    assert (found.done, found.to_send, found.changed) == (1, 0, ())


def test_comparing_changes_nothing(book, payload):
    book.adopt(payload("a"))
    book.stage([payload("a", prompt="2"), payload("b")])
    before = list(book.ledger.connection.iterdump())
    compare(book.ledger, STAGED, retry_failed=True, price=LISTED)
    assert before == list(book.ledger.connection.iterdump())


def test_staging_adds_work_that_nobody_wants_yet_and_nothing_else(book, payload):
    book.adopt(payload("a"))
    before = list(book.ledger.connection.iterdump())
    plan(book, payload("a", prompt="2"), payload("b"), retry_failed=True)
    added = set(book.ledger.connection.iterdump()) - set(before)
    assert [line.split("(")[0] for line in added] == ['INSERT INTO "jobs" VALUES']
    assert (book.ledger.open_jobs(), totals.status_counts(book.ledger)) == (1, {"pending": 1})
    assert [task.name for task in JobQueue().page(book.ledger)] == ["a"]


def test_a_ledger_that_is_only_read_is_compared_with_just_as_well(book, payload, tmp_path):
    book.adopt(*(payload(name, prompt=name) for name in "abc"), payload("any", seed=-1))
    book.bring("a", State.SAVED)
    book.bring("b", State.FAILED)
    asked = [
        payload("a", prompt="a"), payload("b", prompt="b"), payload("c", prompt="new"), payload("d", prompt="new"),
        payload("e", prompt="e"), payload("any", seed=-1), payload("other", seed=-1), payload("others", seed=-1),
    ]  # fmt: skip
    with Ledger.read(tmp_path / "ledger.sqlite") as reading:
        stage = Stage(reading, writable=False)
        stage.fill(asked, str)
        assert compare(reading, STAGED, retry_failed=True, price=LISTED) == plan(
            book, *asked, retry_failed=True, price=LISTED
        )


# -- adopting ----------------------------------------------------------------------------------------------------------


def test_adopting_twice_keeps_the_history(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("a", State.SAVED)
    book.keep("a")
    book.adopt(payload("b", prompt="2"), payload("a"))
    assert book.states() == {"a": "saved", "b": "planned"}
    assert [row.id for row in totals.report_rows(book.ledger)] == ["b", "a"]
    assert book.row("a")["kept_output"] == "a.webp"


def test_rows_that_left_the_manifest_leave_the_report_and_keep_their_history(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    job = book.bring("a", State.SAVED)
    book.adopt(payload("b", prompt="2"))
    assert [row.id for row in totals.report_rows(book.ledger)] == ["b"]
    assert book.states()["a"] == "saved"
    book.adopt(payload("a"), payload("b", prompt="2"))
    assert job == book.job("a")
    assert [row.id for row in totals.report_rows(book.ledger)] == ["a", "b"]


def test_a_merge_replaces_rows_of_the_same_id_and_leaves_the_others(book, payload):
    book.adopt(
        payload("a", cells={"sku": "1", "note": "x"}), payload("b", prompt="2"), columns=("id", "sku", "note")
    )
    book.bring("a", State.FAILED)
    book.adopt(payload("a", prompt="mended", cells={"sku": "9"}), merge=True, columns=("id", "sku"))
    rows = {row.id: row for row in totals.report_rows(book.ledger)}
    assert list(rows) == ["a", "b"]
    assert rows["a"].parameters["prompt"] == "mended"
    assert rows["a"].cells == {"id": "a", "sku": "9", "note": "x"}
    assert totals.columns(book.ledger) == ["id", "sku", "note"]
    assert [row["selected"] for row in map(book.row, "ab")] == [1, 0]


def test_rows_that_were_not_asked_for_are_adopted_and_not_sent(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"), only=["b"])
    assert [task.name for task in JobQueue().page(book.ledger)] == ["b"]
    assert totals.status_counts(book.ledger) == {"pending": 2}
    assert totals.status_counts(book.ledger, selected_only=True) == {"pending": 1}


# -- files that nobody wrote -------------------------------------------------------------------------------------------


def unowned(book, *payloads):
    """Return what is not ours where a file lies at the output of each row."""
    stage = book.stage(payloads)
    return [
        output
        for page in image_index.wanted_places(stage.ledger)
        for _, output in image_index.conflicts(stage.ledger, page)
    ]


def test_a_picture_the_ledger_wrote_is_its_own(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("a", State.SAVED)
    book.keep("a")
    assert unowned(book, payload("a"), payload("b", prompt="2")) == ["b.webp"]


@pytest.mark.parametrize("restarted", [False, True], ids=["paid", "local, started anew"])
def test_a_picture_written_just_before_a_kill_is_texbatchs_own(book, payload, restarted):
    """Renamed into place, but not yet recorded: the run that follows must not refuse it as a stranger's."""
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED)
    if restarted:
        book.move("a", Event.RESTART)
    assert unowned(book, payload("a")) == []


@pytest.mark.parametrize("state", [State.PLANNED, State.ACCEPTED, State.FAILED, State.UNKNOWN])
def test_before_a_job_completed_no_picture_can_be_ours(book, payload, state):
    book.adopt(payload("a"))
    book.bring("a", state)
    assert unowned(book, payload("a")) == ["a.webp"]


def test_a_second_stage_replaces_the_first(book, payload):
    book.stage([payload("a")])
    book.stage(itertools.islice((payload(f"r{n}") for n in range(5)), 3))
    assert compare(book.ledger, STAGED, retry_failed=False, price=LISTED).rows == 3
