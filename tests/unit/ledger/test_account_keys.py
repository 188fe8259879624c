"""Whose a folder is: free until something was accepted, then one service's and account's, with the keys that are known."""

import sqlite3

import pytest

from batch.core.config import LOCAL_ACCOUNT, Account, Service
from batch.ledger import accounts
from batch.ledger.accounts import How, Standing
from batch.ledger.meta import Meta
from batch.ledger.states import Event, State

OURS, NEW, OTHER = Account("h", "k1"), Account("h", "k2"), Account("i", "k1")


@pytest.fixture
def bound(book, payload):
    """A folder of one planned row that was bound to a key when its run began."""
    book.adopt(payload("a"))
    take(book, OURS)
    return book


def take(book, account):
    with book.ledger.atomic():
        accounts.bind(book.ledger, account)


def said(book, account, how=How.SAID):
    with book.ledger.atomic():
        accounts.note(book.ledger, account, how)


FREE = [State.PLANNED, State.ABANDONED]
"""Nothing was accepted; of an abandoned row a person has said that nothing more is looked for."""


@pytest.mark.parametrize("state", State)
def test_a_folder_is_free_until_something_may_have_been_accepted(bound, state):
    bound.bring("a", state)
    free = state in FREE
    assert accounts.has_accepted_nothing(bound.ledger) is free
    for account, taken in ((OURS, Standing.OURS), (NEW, Standing.NEW_KEY), (OTHER, Standing.ELSEWHERE),
                           (LOCAL_ACCOUNT, Standing.ELSEWHERE)):  # fmt: skip
        assert accounts.standing(bound.ledger, account) is (Standing.FREE if free else taken)


@pytest.mark.parametrize("event", [Event.BOUNCE, Event.THROTTLE, Event.REFUSE])
def test_a_submit_that_was_certainly_not_accepted_claims_nothing(bound, event):
    bound.bring("a", State.SENDING)
    bound.move("a", event)
    assert accounts.standing(bound.ledger, OTHER) is Standing.FREE


def test_a_lost_submit_that_the_history_proved_absent_claims_nothing(bound):
    bound.bring("a", State.UNKNOWN)
    bound.move("a", Event.ABSENT)
    assert accounts.standing(bound.ledger, OTHER) is Standing.FREE


@pytest.mark.parametrize("event", [Event.FAIL, Event.EXPIRE])
def test_what_was_accepted_once_claims_the_folder_for_good(bound, event):
    """Also when its job has ended without a picture and is planned again."""
    bound.bring("a", State.ACCEPTED)
    bound.move("a", event)
    bound.move("a", Event.RETRY)
    assert accounts.standing(bound.ledger, NEW) is Standing.NEW_KEY


def test_a_key_that_was_noted_is_known_from_then_on(bound):
    bound.bring("a", State.ACCEPTED)
    said(bound, NEW)
    assert accounts.standing(bound.ledger, NEW) is Standing.OURS
    assert accounts.standing(bound.ledger, OURS) is Standing.OURS
    assert [(seen.fingerprint, seen.how) for seen in accounts.keys(bound.ledger)] == [
        ("k1", "bound"),
        ("k2", "said"),
    ]


def test_the_keys_of_the_account_before_are_not_ours(bound):
    """Bound to a mistyped key first: nothing was accepted, so another account took the folder."""
    take(bound, NEW)
    bound.bring("a", State.ACCEPTED)
    assert accounts.standing(bound.ledger, NEW) is Standing.OURS
    assert accounts.standing(bound.ledger, OURS) is Standing.NEW_KEY


def test_first_and_last_use_are_remembered_and_the_same_key_is_not_bound_again(bound, clock):
    first = clock.now
    clock.now += 86_400
    take(bound, OURS)
    bound.bring("a", State.ACCEPTED)
    clock.now += 86_400
    take(bound, OURS)
    (seen,) = accounts.keys(bound.ledger)
    assert (seen.how, seen.first, seen.last) == ("bound", first, first + 2 * 86_400)


def test_what_is_known_of_keys_cannot_be_rewritten(bound):
    for statement in ("UPDATE keys SET fingerprint='x'", "DELETE FROM keys"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            bound.ledger.connection.execute(statement)


def test_uploads_of_the_account_before_are_forgotten_when_the_folder_is_bound_again(bound):
    bound.ledger.connection.execute("INSERT INTO uploads VALUES ('aa', 'https://h/aa', 1)")
    take(bound, OURS)
    assert bound.ledger.connection.execute("SELECT count(*) FROM uploads").fetchone()[0] == 1
    take(bound, NEW)
    assert bound.ledger.connection.execute("SELECT count(*) FROM uploads").fetchone()[0] == 0


def test_a_binding_that_was_not_committed_leaves_the_folder_as_it_was(bound):
    def bind_and_die():
        with bound.ledger.atomic():
            accounts.bind(bound.ledger, OTHER)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        bind_and_die()
    assert bound.ledger.meta(Meta.SERVICE) == "h"
    assert [seen.fingerprint for seen in accounts.keys(bound.ledger)] == ["k1"]


def test_requests_to_ask_for_are_the_newest_then_the_oldest_each_once(book, payload):
    names = [f"row-{number}" for number in range(9)]
    book.adopt(*(payload(name, seed=number) for number, name in enumerate(names)))
    for name in names:
        book.bring(name, State.ACCEPTED, request_id=f"of-{name}")
    book.move(names[0], Event.COMPLETE)
    assert accounts.requests(book.ledger) == ["of-row-8", "of-row-7", "of-row-6", "of-row-0", "of-row-1"]
    assert accounts.first_and_last(book.ledger) == ("of-row-0", "of-row-8")


def test_a_request_that_a_person_attached_proves_nothing(book, payload):
    book.adopt(payload("a"), payload("b", seed=2))
    book.bring("a", State.UNKNOWN)
    book.move("a", Event.ATTACH, request_id="theirs")
    assert accounts.requests(book.ledger) == []
    book.bring("b", State.ACCEPTED, request_id="ours")
    assert accounts.requests(book.ledger) == ["ours"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.segmind.com", "api.segmind.com"),
        ("https://API.Segmind.com:443", "api.segmind.com"),
        ("http://api.segmind.com:80/", "api.segmind.com"),
        ("https://api.segmind.com./v9", "api.segmind.com"),
        ("http://127.0.0.1:8787", "127.0.0.1:8787"),
        ("https://[2001:DB8::1]:443", "[2001:db8::1]"),
        ("https://[2001:db8::1]:8443", "[2001:db8::1]:8443"),
    ],
)
def test_a_host_has_one_spelling(url, host):
    assert Service(url, url, url, api_key="k").account.host == host


def test_an_account_shows_no_key():
    account = Service(api_key="SG_secret").account
    assert "SG_secret" not in f"{account} {account!r}"
    assert account != Service(api_key="SG_other").account
    assert Service(api_key="SG_secret", local=True).account == LOCAL_ACCOUNT
