"""What a person had made for rows, beside a manifest that is staged again: kept, taken over, or at its end."""

import json

import pytest

from batch.core.models import payload_key
from batch.ledger.prices import LISTED
from batch.ledger.redone import any_made_nothing
from batch.ledger.staging import STAGED, Stage, compare
from batch.ledger.states import State


@pytest.fixture
def redo(book):
    """Merge payloads as `retry` does."""

    def merge(*payloads):
        stage = Stage(book.ledger, merge=True)
        stage.fill(payloads, str)
        with book.ledger.atomic():
            stage.adopt((), merge=True, retry_failed=False)

    return merge


def jobs(book):
    return [row["job"] for row in book.ledger.connection.execute("SELECT job FROM jobs ORDER BY job")]


def saved(book, *ids):
    for row_id in ids:
        book.bring(row_id, State.SAVED)
        book.keep(row_id)


def test_a_merge_leaves_what_the_manifest_asks_for_and_a_run_leaves_the_work(book, payload, redo):
    book.adopt(payload("a", seed=1))
    saved(book, "a")
    asked = book.row("a")["asked_key"]
    redo(payload("a", seed=2))
    for _ in range(2):
        row = book.row("a")
        assert (
            row["asked_key"],
            json.loads(row["parameters"])["seed"],
            row["redone"],
            row["manifest_seed"],
        ) == (asked, 2, 1, 1)
        stage = book.stage([payload("a", seed=1)])
        plan = compare(book.ledger, STAGED, retry_failed=False, price=LISTED)
        assert (plan.kept, plan.changed, plan.new, plan.to_send) == (("a",), (), 1, 1)  # it was not sent yet
        with book.ledger.atomic():
            stage.adopt((), merge=False, retry_failed=False)
    redo(payload("a", seed=1))
    assert (book.row("a")["redone"], book.row("a")["asked_key"]) == (0, asked)


def test_the_parameters_of_redone_work_that_failed_stay_its_own(book, payload, redo):
    """The row asks for any seed: its manifest's prompt does not go to the redo's job."""
    book.adopt(payload("a", seed=-1))
    redo(payload("a", seed=5, prompt="longer"))
    book.bring("a", State.FAILED)
    before = jobs(book)
    book.adopt(payload("a", seed=-1))
    row = book.row("a")
    assert (json.loads(row["parameters"])["prompt"], row["redone"]) == ("longer", 1)
    assert row["payload_key"] == payload_key(json.loads(row["parameters"]))
    assert jobs(book) == before  # and no work is left over that nobody wants


def test_another_seed_of_a_row_that_asks_for_any_is_no_redo(book, payload, redo):
    book.adopt(payload("a", seed=-1))
    redo(payload("a", seed=5))
    assert (book.row("a")["redone"], json.loads(book.row("a")["parameters"])["seed"]) == (0, 5)


def test_renamed_rows_that_ask_for_one_work_take_over_in_their_order(book, payload, redo):
    book.adopt(*(payload(name, seed=1) for name in "abc"))
    saved(book, "a")
    redo(payload("b", seed=2), payload("c", seed=3))
    book.adopt(*(payload(name, seed=1) for name in "xyz"))
    seeds = {name: json.loads(book.row(name)["parameters"])["seed"] for name in "xyz"}
    assert (seeds, [book.row(name)["redone"] for name in "xyz"]) == ({"x": 1, "y": 2, "z": 3}, [0, 1, 1])


def test_a_new_row_does_not_take_over_from_one_that_is_still_there(book, payload, redo):
    book.adopt(payload("a", seed=1))
    redo(payload("a", seed=2))
    book.adopt(payload("a", seed=1), payload("b", seed=1))
    assert [json.loads(book.row(name)["parameters"])["seed"] for name in "ab"] == [2, 1]


def test_a_redo_in_another_format_does_not_take_the_name_of_another_row(book, payload, redo):
    book.adopt(payload("a", seed=1, output="chair.webp"))
    redo(payload("a", seed=2, image_format="png", output="chair.png"))
    book.adopt(payload("a", seed=1, output="chair.webp"))
    assert book.row("a")["output"] == "chair.png"
    other = payload("b", prompt="2", image_format="png", output="chair.png")
    book.adopt(payload("a", seed=1, output="chair.webp"), other)
    assert [book.row(name)["output"] for name in "ab"] == ["chair.webp", "chair.png"]


def test_the_files_of_both_are_known(book, payload, redo):
    """The manifest's file may go, and so may the redo's."""
    book.adopt(payload("a", image_1="sha256:aa", files={"sha256:aa": "/p/chair.png"}))
    redo(payload("a", image_1="sha256:bb", files={"sha256:bb": "/p/chair.png"}))
    book.adopt(payload("a", image_1="sha256:aa", files={"sha256:aa": "/p/chair.png"}))
    assert json.loads(book.row("a")["files"]) == {"sha256:aa": "/p/chair.png", "sha256:bb": "/p/chair.png"}
    assert sorted(Stage(book.ledger).contents_of("/p/chair.png")) == ["sha256:aa", "sha256:bb"]


def test_a_redo_that_made_nothing_is_noticed_only_where_an_image_is_left(book, payload, redo):
    book.adopt(payload("a", seed=1), payload("b", seed=1, prompt="2"))
    saved(book, "a")
    redo(payload("b", seed=2, prompt="2"))
    book.bring("b", State.FAILED)
    assert not any_made_nothing(book.ledger)
    redo(payload("a", seed=2))
    book.bring("a", State.FAILED)
    assert any_made_nothing(book.ledger)
    book.adopt(payload("a", seed=1), payload("b", seed=1, prompt="2"))
    assert book.states() == {"a": "saved", "b": "failed"}
    assert not any_made_nothing(book.ledger)
