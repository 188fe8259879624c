"""Which files below images/ the ledger wrote."""

from batch.intake import fold_name
from batch.ledger import owned
from batch.ledger.states import State


def test_listed_names_are_counted_when_kept_and_set_aside_when_not(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3", output="deep/c.webp"))
    for name in "abc":
        book.bring(name, State.SAVED)
        book.keep(name)
    pages = [(["a.webp", "mine.txt"], ["deep", "b.webp"]), (["deep/c.webp"], [])]  # b.webp is a folder now
    assert owned.set_aside(book.ledger.connection, pages) == 2
    assert owned.kept_pictures(book.ledger) == 3
    assert sorted(next(owned.strangers(book.ledger.connection))) == ["b.webp", "deep", "mine.txt"]


def test_strangers_come_a_page_at_a_time(book):
    names = [f"{number}.txt" for number in range(owned.PAGE * 2 + 1)]
    owned.set_aside(book.ledger.connection, [(names, [])])
    assert [len(page) for page in owned.strangers(book.ledger.connection)] == [owned.PAGE, owned.PAGE, 1]


def test_a_stranger_is_in_the_way_of_a_row_whatever_its_case(book, payload):
    book.adopt(payload("gone"), payload("a", prompt="2"))
    book.adopt(payload("a", prompt="2"))

    def taken(name):
        return owned.wanted_elsewhere(book.ledger.connection, [fold_name(name)], fold_name)

    assert [taken(name) for name in ("a.webp", "A.WEBP", "gone.webp", "b.webp")] == [True, True, False, False]
