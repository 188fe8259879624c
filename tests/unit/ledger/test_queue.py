"""Which job is carried next, and what a dead run left behind."""

import sqlite3
from dataclasses import replace

import pytest

from batch.core.error_classes import NO_IMAGE
from batch.execution.dispatcher import JobQueue
from batch.ledger import image_index
from batch.ledger.states import Event, State
from batch.ledger.store import JOBS_A_PAGE


def names(book, pages=None):
    pages, found = pages or JobQueue(), []
    while page := pages.page(book.ledger):
        assert len(page) <= JOBS_A_PAGE
        found += [carried.name for carried in page]
    return found


def earlier(book):
    """Let what was done so far belong to an earlier run."""
    book.ledger.run_id = "run-2"


def saved(book, row_id, sha256="aa"):
    book.bring(row_id, State.SAVED, sha256=sha256)
    book.keep(row_id)


# -- order -------------------------------------------------------------------------------------------------------------


def test_what_is_paid_goes_first_by_age_then_what_is_wanted_then_what_is_planned(book, payload):
    book.adopt(
        payload("planned-1", prompt="1"),
        payload("young", prompt="2"),
        payload("old", prompt="3"),
        payload("first", prompt="4"),
        payload("planned-2", prompt="5"),
    )
    book.bring("young", State.ACCEPTED)
    book.bring("old", State.COMPLETED)
    saved(book, "first")
    with book.ledger.atomic() as connection:
        connection.execute("UPDATE jobs SET submitted_at=500 WHERE job=?", (book.job("old"),))
    book.adopt(
        payload("planned-1", prompt="1"),
        payload("young", prompt="2"),
        payload("old", prompt="3"),
        payload("first", prompt="4"),
        payload("second", prompt="4"),
        payload("planned-2", prompt="5"),
    )
    earlier(book)
    assert book.ledger.open_jobs() == 5
    assert names(book) == ["old", "young", "second", "planned-1", "planned-2"]


def test_paid_work_that_no_row_wants_any_more_is_carried_all_the_same(book, payload):
    book.adopt(payload("a"))
    job = book.bring("a", State.ACCEPTED)
    book.adopt(payload("a", prompt="other"))
    earlier(book)
    first, second = JobQueue().page(book.ledger), book.job("a")
    assert [job] == [carried.job for carried in first]
    assert first[0].targets == ()
    assert first[0].name == "a (seed 87568756)"
    assert second != job


def test_paid_work_of_rows_that_are_not_selected_is_carried(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    book.bring("a", State.ACCEPTED)
    book.adopt(payload("a"), payload("b", prompt="2"), only=["b"])
    earlier(book)
    assert names(book) == ["a", "b"]


def test_planned_work_comes_in_the_manifests_order_not_in_that_of_its_jobs(book, payload):
    book.adopt(payload("a", prompt="1"), payload("b", prompt="2"))
    book.adopt(payload("c", prompt="3"), payload("b", prompt="2"), payload("a", prompt="1"))
    assert names(book) == ["c", "b", "a"]


@pytest.mark.parametrize("count", [JOBS_A_PAGE - 1, JOBS_A_PAGE, JOBS_A_PAGE + 1, 2 * JOBS_A_PAGE + 3])
def test_each_job_comes_once_whatever_the_page(book, payload, count):
    book.adopt(*(payload(f"r{n:03}", prompt=str(n)) for n in range(count)))
    assert [f"r{n:03}" for n in range(count)] == names(book)


def test_many_jobs_in_flight_of_one_second_come_once_each(book, payload):
    count = JOBS_A_PAGE * 2 + 1
    book.adopt(*(payload(f"r{n:03}", prompt=str(n)) for n in range(count)))
    for n in range(count):
        book.bring(f"r{n:03}", State.ACCEPTED)
    earlier(book)
    assert [f"r{n:03}" for n in range(count)] == names(book)


def test_a_job_of_two_rows_comes_once_with_both_targets(book, payload):
    book.adopt(payload("a"), payload("x", prompt="2"), payload("b"))
    first, second = JobQueue().page(book.ledger)
    assert [target.id for target in first.targets] == ["a", "b"]
    assert [target.id for target in second.targets] == ["x"]
    assert book.ledger.open_jobs() == 2


def test_what_moves_while_the_feed_is_read_is_not_fed_again(book, payload):
    book.adopt(*(payload(f"r{n:03}", prompt=str(n)) for n in range(JOBS_A_PAGE + 1)))
    pages = JobQueue()
    pages.page(book.ledger)
    book.bring("r000", State.ACCEPTED)
    assert names(book, pages) == [f"r{JOBS_A_PAGE:03}"]


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED, State.UNKNOWN, State.ABANDONED, State.SAVED])
def test_what_has_ended_is_not_fed(book, payload, state):
    book.adopt(payload("a"))
    book.bring("a", state)
    book.keep("a")
    earlier(book)
    assert (names(book), book.ledger.open_jobs()) == ([], 0)


# -- pictures that another row has already ----------------------------------------------------------------------------


def test_a_second_row_finds_the_picture_of_the_first(book, payload):
    book.adopt(payload("a"))
    saved(book, "a")
    book.adopt(payload("a"), payload("b"))
    (carried,) = JobQueue().page(book.ledger)
    assert carried.sources == ("a.webp",)
    assert [target.id for target in carried.targets] == ["b"]


def test_a_picture_is_found_at_a_row_that_wants_other_work_by_now(book, payload):
    """Row a changed, row b asks for what a had: it lies in the folder and need not be fetched or paid again."""
    book.adopt(payload("a"))
    saved(book, "a")
    book.adopt(payload("a", prompt="other"), payload("b"))
    carried = book.ledger.tasks([book.job("b")])[0]
    assert carried.sources == ("a.webp",)


def test_a_renamed_output_is_wanted_and_knows_what_lies_there_for_it(book, payload):
    book.adopt(payload("a"))
    saved(book, "a", sha256="cc")
    book.adopt(payload("a", output="new.webp"))
    (carried,) = JobQueue().page(book.ledger)
    (target,) = carried.targets
    assert (target.output, target.kept, target.kept_sha256) == ("new.webp", "a.webp", "cc")
    with book.ledger.atomic():
        book.ledger.place_image(carried, {})
    assert (names(book), book.row("a")["kept_output"]) == ([], "new.webp")


def test_a_name_that_moves_to_another_row_is_taken_from_the_first(book, payload):
    """--name "{sku}.{ext}" and a new id for the same sku: the old row's claim to the file must not stop the new one."""
    book.adopt(payload("old", output="chair.webp"))
    saved(book, "old")
    book.adopt(payload("new", output="chair.webp", prompt="2"))
    book.bring("new", State.COMPLETED)
    with book.ledger.atomic():
        book.ledger.place_image(book.ledger.tasks([book.job("new")])[0], {})
    assert (book.row("old")["kept_output"], book.row("new")["kept_output"]) == (None, "chair.webp")


def test_two_rows_can_swap_their_names(book, payload):
    book.adopt(payload("a", output="1.webp"), payload("b", output="2.webp", prompt="2"))
    saved(book, "a")
    saved(book, "b")
    book.adopt(payload("a", output="2.webp"), payload("b", output="1.webp", prompt="2"))
    for carried in JobQueue().page(book.ledger):
        with book.ledger.atomic():
            book.ledger.place_image(carried, {})
    assert [book.row(name)["kept_output"] for name in "ab"] == ["2.webp", "1.webp"]


def test_one_file_is_never_two_rows_picture(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"))
    saved(book, "a")
    with pytest.raises(sqlite3.IntegrityError):
        book.keep("b", "a.webp")


def test_local_images_are_known_by_their_content(book, payload):
    book.adopt(payload("a", image_1="sha256:11", files={"sha256:11": "/in/chair.jpg"}))
    (carried,) = JobQueue().page(book.ledger)
    assert {name: str(path) for name, path in carried.files.items()} == {"sha256:11": "/in/chair.jpg"}


# -- after a kill ------------------------------------------------------------------------------------------------------


def recovered(book):
    with book.ledger.atomic():
        return book.ledger.recover()


def test_an_interrupted_submit_becomes_unknown_and_paid_work_stays_paid(book, payload):
    for number, state in enumerate(State):
        book.adopt(*(payload(str(s), prompt=str(n)) for n, s in enumerate(State) if n <= number))
        book.bring(str(state), state)
    assert recovered(book) == 1
    states = {str(state): str(state) for state in State} | {"sending": "unknown"}
    assert states == book.states()
    row = book.row("sending")
    assert row["error_class"] == "interrupted"
    assert "may have been accepted and billed" in row["error"]
    assert recovered(book) == 0


def test_a_local_service_has_forgotten_what_was_under_way(book, payload):
    book.ledger.set_meta("service", "local")
    under_way = [State.SENDING, State.ACCEPTED, State.COMPLETED, State.UNKNOWN]
    book.adopt(*(payload(str(s), prompt=str(s)) for s in [*under_way, State.SAVED, State.FAILED]))
    for state in [*under_way, State.SAVED, State.FAILED]:
        book.bring(str(state), state)
    book.ledger.connection.execute("INSERT INTO uploads VALUES ('x', 'http://127.0.0.1/x', 0)")
    assert recovered(book) == 0
    expected = dict.fromkeys(map(str, under_way), "planned") | {"saved": "saved", "failed": "failed"}
    assert expected == book.states()
    assert book.ledger.connection.execute("SELECT count(*) FROM uploads").fetchone()[0] == 0


# -- pictures that are in no file -------------------------------------------------------------------------------------


def nowhere(book, row_id):
    with book.ledger.atomic():
        book.ledger.mark_nowhere(book.ledger.tasks([book.job(row_id)])[0])


def test_a_picture_that_is_in_no_file_is_wanted_no_more_and_its_place_stays_its_rows(book, payload):
    book.adopt(payload("a"))
    saved(book, "a")
    book.adopt(payload("a", output="new.webp"))
    assert names(book) == ["a"]
    nowhere(book, "a")
    assert (names(book), book.row("a")["kept_output"], book.row("a")["state"]) == ([], "new.webp", "saved")
    assert book.ledger.tasks([book.job("a")])[0].sources == ()


def test_a_picture_that_is_in_no_file_is_looked_for_again_when_other_files_lie_there(book, payload):
    book.adopt(payload("a"))
    saved(book, "a")
    book.adopt(payload("a", output="new.webp"))
    nowhere(book, "a")

    def next_night(*files):
        image_index.load_listing(book.ledger, [(files, [])])
        with book.ledger.atomic():
            image_index.search_again_if_new(book.ledger)
        wanted = names(book)
        if wanted:
            with book.ledger.atomic():
                book.ledger.files_to_search()
            nowhere(book, "a")
        return wanted

    nights = [next_night(*files) for files in ((), (), ("x",), ("x",), ("y", "x"), ("x", "y"), ("new.webp",))]
    assert nights == [["a"], [], ["a"], [], ["a"], [], ["a"]]


def test_a_saved_job_that_is_made_again_is_wanted_by_the_selected_rows(book, payload):
    book.adopt(payload("a"), payload("b"), payload("c", prompt="2"), only=["a"])
    saved(book, "a")
    book.keep("b")
    job = book.job("a")
    assert book.ledger.tasks([job])[0].targets == ()
    (carried,) = JobQueue(remake=[job]).page(book.ledger)
    assert ([target.id for target in carried.targets], carried.state) == (["a"], State.SAVED)


# -- images that lie under another name than asked, and images that do not come ----------------------------------------


def kept_as(book, row_id, output):
    """Let a row's image lie under another name, since it came in another format."""
    found = book.ledger.tasks([book.job(row_id)])[0]
    (target,) = found.targets
    targets = (replace(target, output=output, asked=target.output),)
    with book.ledger.atomic():
        book.ledger.place_image(replace(found, targets=targets), {})


def test_an_image_that_lies_under_its_own_suffix_is_not_wanted_again(book, payload):
    row = payload("a", image_format="jpeg")
    book.adopt(row)
    book.bring("a", State.SAVED, sha256="aa")
    kept_as(book, "a", "a.webp")
    earlier(book)
    book.adopt(row)
    assert (names(book), book.ledger.open_jobs(), book.ledger.tasks([book.job("a")])[0].targets) == (
        [],
        0,
        (),
    )
    assert book.ledger.tasks([book.job("a")])[0].sources == ("a.webp",)


@pytest.mark.parametrize("output", ["b.jpg", "a.webp"], ids=["another name", "the name it has"])
def test_a_row_that_asks_for_another_output_wants_it_there(book, payload, output):
    book.adopt(payload("a", image_format="jpeg"))
    book.bring("a", State.SAVED, sha256="aa")
    kept_as(book, "a", "a.webp")
    earlier(book)
    book.adopt(payload("a", image_format="jpeg", output=output))
    (target,) = book.ledger.tasks([book.job("a")])[0].targets
    assert (names(book), target.output, target.kept) == (["a"], output, "a.webp")


def test_a_row_that_lost_its_name_to_another_wants_a_new_one(book, payload):
    book.adopt(payload("a", image_format="jpeg"), payload("b", prompt="b"))
    for row_id in "ab":
        book.bring(row_id, State.SAVED, sha256=row_id)
    kept_as(book, "a", "a.webp")
    with book.ledger.atomic():
        found = book.ledger.tasks([book.job("b")])[0]
        book.ledger.place_image(replace(found, targets=(replace(found.targets[0], output="a.webp"),)), {})
    row = book.row("a")
    assert (row["kept_job"], row["kept_output"], row["kept_for"]) == (None, None, None)


def test_denied_images_are_counted_with_the_rows_that_wait_for_them(book, payload):
    book.adopt(payload("a"), payload("b", prompt="b"), payload("c", prompt="c"), payload("twin"))
    for row_id in "abc":
        book.bring(row_id, State.COMPLETED)
    with book.ledger.atomic():
        book.ledger.note_not_fetched(book.job("a"), NO_IMAGE, "HTTP 404")
        book.ledger.note_not_fetched(book.job("b"), "not_fetched", "HTTP 503")
    assert book.ledger.outstanding()[2:] == (1, 2)
    book.move("a", Event.KEEP, error_class=None, error=None)
    assert book.ledger.outstanding()[2:] == (0, 0)


def test_what_is_said_of_an_image_that_did_not_come_is_said_of_a_completed_job_alone(book, payload):
    book.adopt(payload("a"))
    book.bring("a", State.SAVED)
    with book.ledger.atomic():
        book.ledger.note_not_fetched(book.job("a"), NO_IMAGE, "HTTP 404")
    assert book.row("a")["error_class"] is None
