"""What the report and the summary read: rows, counts, money."""

from batch.core.config import LIST_PRICE
from batch.ledger import totals
from batch.ledger.states import AT_RISK, Event, State
from batch.ledger.store import RECENT


def every_state(book, payload):
    book.adopt(*(payload(str(state), prompt=str(state)) for state in State))
    for state in State:
        book.bring(str(state), state)
    book.keep("saved")


def test_every_state_has_its_word_in_the_report(book, payload):
    every_state(book, payload)
    expected = {"pending": 4, "saved": 1, "failed": 1, "expired": 1, "unknown": 1, "abandoned": 1}
    assert expected == totals.status_counts(book.ledger)
    assert {row.id: row.status for row in totals.report_rows(book.ledger)} == {
        str(state): {"planned": "pending", "sending": "pending", "accepted": "pending", "completed": "pending"}.get(
            state, str(state)
        )
        for state in State
    }  # fmt: skip


def test_a_row_whose_picture_is_not_there_yet_is_not_reported_as_saved(book, payload):
    """Its job is saved for another row; its own picture is still to be placed."""
    book.adopt(payload("a"))
    book.bring("a", State.SAVED)
    book.keep("a")
    book.adopt(payload("a"), payload("b"))
    assert totals.status_counts(book.ledger) == {"saved": 1, "pending": 1}
    rows = {row.id: (row.status, row.output) for row in totals.report_rows(book.ledger)}
    assert rows == {"a": ("saved", "a.webp"), "b": ("pending", None)}


def test_what_was_paid_stays_on_the_bill_whatever_became_of_it(book, payload):
    """30,000 for a picture since replaced, 20,000 for one that came unusable, 10,000 for the new one = 60,000."""
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("a", State.COMPLETED, cost=30_000)
    book.move("a", Event.KEEP)
    book.bring("b", State.COMPLETED, cost=20_000)
    book.move("b", Event.UNUSABLE, error="x", error_class="unusable_picture")
    book.adopt(payload("a", prompt="3"))
    book.bring("a", State.COMPLETED, cost=10_000)
    assert totals.folder_totals(book.ledger).spent == 60_000


def billed(book, payload, *costs):
    book.adopt(*(payload(f"{n}", prompt=f"{n}") for n, _ in enumerate(costs)))
    for n, cost in enumerate(costs):
        book.bring(f"{n}", State.COMPLETED, cost=cost)


def begun(book):
    """Begin a run; return what the saved images of the selected rows have cost."""
    book.ledger.run_id = f"run-{book.clock()}"
    book.clock.now += 1
    with book.ledger.atomic():
        return book.ledger.start_run(max_cost=None, price=None)[1]


def test_the_next_job_is_expected_to_cost_as_much_as_the_dearest_of_the_last_ones(book, payload):
    """One that was free, or cheap, says nothing of the next."""
    billed(book, payload, 50_000, *(RECENT - 3) * [20_000], 30_000, 10_000, 0)
    assert book.ledger.price() == 30_000


def test_that_jobs_were_free_is_no_price(book, payload):
    billed(book, payload, 0, 0)
    assert book.ledger.price() is None


def test_a_retry_adds_to_the_bill(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.COMPLETED, cost=30_000)
    book.move("a", Event.UNUSABLE, error="x", error_class="unusable_picture")
    book.adopt(payload("a"), retry_failed=True, pay_again=True)
    book.bring("a", State.COMPLETED, cost=30_000, request_id="again")
    assert totals.folder_totals(book.ledger).spent == 60_000


def test_at_risk_is_what_has_no_picture_and_may_be_paid(book, payload):
    """sending, unknown, accepted, completed: 4 jobs at 30,000."""
    every_state(book, payload)
    assert len(AT_RISK) == 4
    assert totals.folder_totals(book.ledger).at_risk == 120_000


def test_without_a_bill_the_risk_is_what_was_set_aside_or_the_list_price_and_without_risk_it_is_nothing(
    book, payload
):
    book.adopt(payload("a"), payload("b", prompt="2"))
    assert totals.folder_totals(book.ledger).at_risk == 0
    book.bring("a", State.SENDING, estimate=None)
    book.bring("b", State.SENDING, estimate=50_000)
    assert totals.folder_totals(book.ledger).at_risk == LIST_PRICE + 50_000


def test_what_the_last_run_spent_is_told_apart(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    assert totals.folder_totals(book.ledger).run_spent == 0
    begun(book)
    book.bring("a", State.COMPLETED, cost=30_000)
    begun(book)
    book.bring("b", State.COMPLETED, cost=20_000)
    total = totals.folder_totals(book.ledger)
    assert (total.run_spent, total.spent) == (20_000, 50_000)


def test_what_a_resume_saves_is_each_selected_job_once(book, payload):
    book.adopt(payload("a"), payload("b"), payload("c", prompt="2"))
    book.bring("a", State.SAVED)
    book.bring("c", State.SAVED)
    assert begun(book) == 60_000  # a and b share a job: 2 jobs at 30,000
    book.adopt(payload("a"), payload("b"), payload("c", prompt="2"), only=["a"])
    assert begun(book) == 30_000


def test_the_commonest_errors_come_first_with_an_example(book, payload):
    book.adopt(*(payload(f"r{n}", prompt=str(n)) for n in range(4)))
    book.bring("r0", State.EXPIRED)
    for n in (1, 2, 3):
        book.bring(f"r{n}", State.FAILED, error=f"reason {n}", error_class="job_failed")
    assert totals.folder_totals(book.ledger).errors == (("job_failed", 3, "reason 1"), ("expired", 1, "gone"))


def test_rows_that_left_the_manifest_count_in_money_only(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("a", State.SAVED)
    book.adopt(payload("b", prompt="2"))
    total = totals.folder_totals(book.ledger)
    assert (total.rows, total.spent) == (1, 30_000)
