"""Which files below images/ the ledger wrote."""

from batch.ledger import image_index
from batch.ledger.states import State
from batch.manifest.naming import fold_name


def test_listed_names_that_are_no_kept_picture_are_set_aside(book, payload):
    book.adopt(payload("a"), payload("b", prompt="2"), payload("c", prompt="3", output="deep/c.webp"))
    for name in "abc":
        book.bring(name, State.SAVED)
        book.keep(name)
    pages = [(["a.webp", "mine.txt"], ["deep", "b.webp"]), (["deep/c.webp"], [])]  # b.webp is a folder now
    image_index.load_listing(book.ledger, pages)
    assert sorted(next(image_index.foreign_files(book.ledger))) == ["b.webp", "deep", "mine.txt"]


def test_strangers_come_a_page_at_a_time(book):
    names = [f"{number}.txt" for number in range(image_index.NAMES_A_PAGE * 2 + 1)]
    image_index.load_listing(book.ledger, [(names, [])])
    assert [len(page) for page in image_index.foreign_files(book.ledger)] == [
        image_index.NAMES_A_PAGE,
        image_index.NAMES_A_PAGE,
        1,
    ]


def test_a_stranger_is_in_the_way_of_a_row_whatever_its_case(book, payload):
    book.adopt(payload("gone"), payload("a", prompt="2"))
    book.adopt(payload("a", prompt="2"))

    def taken(name):
        return image_index.wanted_elsewhere(book.ledger, [fold_name(name)], fold_name)

    assert [taken(name) for name in ("a.webp", "A.WEBP", "gone.webp", "b.webp")] == [True, True, False, False]


def test_a_name_is_free_when_no_other_row_wants_it_or_has_it(book, payload):
    book.adopt(payload("gone", output="gone.jpg"))
    book.keep("gone", "gone.webp")
    book.adopt(payload("a", output="a.jpg"), payload("b", output="B.webp"), payload("c", output="c.jpg"))
    book.keep("c", "c.webp")
    book.ledger.note_places(fold_name)
    asked = {name: book.ledger.is_name_free(name, "a") for name in
             ("a.webp", "b.webp", "B.webp", "c.webp", "c.jpg", "a.jpg", "gone.webp", "gone.jpg")}  # fmt: skip
    assert asked == {"a.webp": True, "b.webp": False, "B.webp": False, "c.webp": False, "c.jpg": False,
                     "a.jpg": True, "gone.webp": False, "gone.jpg": True}  # fmt: skip
