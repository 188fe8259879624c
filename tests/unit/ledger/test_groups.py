"""Rows and money by the values of a column."""

import pytest

from batch.ledger import groups
from batch.ledger.groups import Group, PlannedGroup, folder_groups
from batch.ledger.planned_groups import planned_groups
from batch.ledger.staging import Stage
from batch.ledger.states import State
from batch.manifest.naming import fold_name

NAME = 'a "brand".$[0]'


@pytest.fixture
def branded(payload):
    def make(row_id, brand, **parameters):
        return payload(row_id, **parameters)._replace(cells={NAME: brand})

    return make


def test_a_job_that_two_groups_share_is_paid_for_by_the_first(book, branded):
    book.adopt(branded("a", "x"), branded("b", "y"), branded("c", "y", prompt="2"))
    book.bring("a", State.COMPLETED, cost=30_000)
    book.bring("c", State.COMPLETED, cost=20_000)
    found, other = folder_groups(book.ledger, NAME)
    spent = {group.value: (group.rows, group.spent) for group in found}
    assert (spent, other) == ({"y": (2, 20_000), "x": (1, 30_000)}, None)


def test_beyond_the_most_groups_the_others_are_one(book, branded, monkeypatch):
    monkeypatch.setattr(groups, "MOST_GROUPS", 1)
    book.adopt(*(branded(name, name, prompt=name) for name in "abc"))
    book.bring("b", State.COMPLETED, cost=20_000)
    assert folder_groups(book.ledger, NAME) == ([Group("a", 1, 0, 0, 0)], Group("", 2, 0, 0, 20_000))


def test_a_row_without_the_column_and_one_with_a_file_have_their_values(book, payload):
    book.adopt(payload("a"))
    assert [group.value for group in folder_groups(book.ledger, NAME)[0]] == [""]
    assert [group.value for group in folder_groups(book.ledger, "base64")[0]] == ["false"]


def test_a_plan_has_what_is_to_be_sent_for_each_value(book, branded):
    book.adopt(branded("a", "x"))
    book.bring("a", State.SAVED)
    stage = Stage(book.ledger, writable=False, group_by=NAME)
    stage.fill(
        [
            branded("a", "x"),
            branded("b", "x", prompt="2"),
            branded("c", "y", prompt="2"),
            branded("d", "y", prompt="3"),
        ],
        fold_name,
    )
    found = planned_groups(book.ledger, NAME, 1, retry_failed=False, pay_again=False)
    assert found.largest == (PlannedGroup("x", 2, 1), PlannedGroup("y", 2, 1))
