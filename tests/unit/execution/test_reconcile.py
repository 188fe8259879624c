"""The rule that decides about a lost submit, condition by condition, and two properties over any history at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.client.history import NEAR_S, Listing
from batch.client.history_page import Entry
from batch.core.config import Timeouts
from batch.core.parameters import MODEL
from batch.execution.reconcile_rules import (
    DELIVERED_LATE_S,
    DOUBT_WITHOUT_DATE_S,
    NODES_S,
    Absent,
    Found,
    Undecided,
    reconcile,
)
from batch.ledger.store import OwnRequest, UnconfirmedSubmit

DOUBT_S = Timeouts().clock_doubt_s
T = 1_800_000_000.0  # the reserve of the lost submit, our clock
SETTLE_S = 120.0
LATER = T + 1000.0  # long after every submit has had its time

BODY = {
    "prompt": "oak", "seed": 7, "image_1": "https://h/chair.png", "image_2": "https://h/oak.png",
    "quality": 95, "base64": False,
}  # fmt: skip


def lost(job=1, *, at=T, ended=None, **body):
    """A submit reserved at `at`, given up two seconds later."""
    return UnconfirmedSubmit(job, BODY | body, at, at + 2.0 if ended is None else ended)


def entry(request_id, *, created=T + 1.0, body=None, status="COMPLETED", **differing):
    shown = BODY | differing if body is None else body
    return Entry(request_id, status, shown, created, 30_000, "https://h/out.webp", None)


def own(request_id, *, accepted=T + 10.0, reserved=T, **differing):
    """A request of ours, by its own time a second after its reserve (see `entry`)."""
    return OwnRequest(request_id, accepted, BODY | differing, reserved)


def listing(*entries, complete=True, skew=0.0, zone_known=False):
    return Listing(entries, T - 86_400.0, complete, skew, zone_known=zone_known)


def settle(submits, held, history, now):
    """Reconcile as of `now`: a submit has had its time SETTLE_S after it was given up."""
    overdue = [submit.job for submit in submits if now >= submit.ended_at + SETTLE_S]
    return reconcile(submits, held, history, overdue, Timeouts())


def decide(*, submits=None, held=(), history=None, now=LATER):
    """Reconcile and return the findings by job."""
    submits = [lost()] if submits is None else submits
    found = settle(submits, held, listing() if history is None else history, now)
    assert sorted(finding.job for finding in found) == sorted(submit.job for submit in submits)
    return {finding.job: finding for finding in found}


def word(finding):
    """A finding in short: the request found, "absent", or what it waits for."""
    if isinstance(finding, Found):
        return finding.entry.request_id
    return "absent" if isinstance(finding, Absent) else ("later" if finding.waiting else "never")


# -- found ------------------------------------------------------------------------------------------------------------


def test_a_listed_request_with_the_body_we_sent_is_ours():
    assert decide(history=listing(entry("other", prompt="elm"), entry("r")))[1] == Found(1, entry("r"))


def test_a_request_is_found_at_once_without_waiting_for_the_settle_time():
    assert word(decide(history=listing(entry("r")), now=T + 3.0)[1]) == "r"


def test_a_request_is_found_in_a_listing_that_is_not_complete():
    assert word(decide(history=listing(entry("r"), complete=False))[1]) == "r"


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "PENDING", "", "A NEW WORD"])
def test_a_request_is_found_whatever_became_of_it(status):
    assert word(decide(history=listing(entry("r", status=status)))[1]) == "r"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param(1, "1", id="a number as text"),
        pytest.param(7, 7.0, id="a whole number with a point"),
        pytest.param(7.0, "7", id="a whole number with a point, as text"),
        pytest.param(True, "true", id="true as text"),
        pytest.param(False, "false", id="false as text"),
        pytest.param("", None, id="an empty text as null"),
        pytest.param("Eiche, geölt", "Eiche, geölt", id="a text beyond ASCII"),
    ],
)
def test_scalars_are_compared_by_what_they_say(sent, shown):
    assert word(decide(submits=[lost(x=sent)], history=listing(entry("r", x=shown)))[1]) == "r"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param(1, "1.0", id="another text"),
        pytest.param(1, True, id="one and true"),
        pytest.param(7.5, 7, id="half a number more"),
        pytest.param("oak", "Oak", id="another case"),
        pytest.param("oak", "oak ", id="a space more"),
        pytest.param("", 0, id="empty and nought"),
        pytest.param("true", ["true"], id="a list of it"),
    ],
)
def test_what_does_not_say_the_same_is_not_ours(sent, shown):
    assert not isinstance(decide(submits=[lost(x=sent)], history=listing(entry("r", x=shown)))[1], Found)


def test_only_the_keys_we_sent_are_compared():
    assert word(decide(history=listing(entry("r", model_version=3, upscale="no")))[1]) == "r"


def test_a_key_we_sent_that_is_not_shown_is_not_ours():
    shown = {name: value for name, value in BODY.items() if name != "quality"}
    assert word(decide(history=listing(entry("r", body=shown)))[1]) == "never"


@pytest.mark.parametrize(
    ("created", "skew", "expected"),
    [
        # it is ours from T - skew - DOUBT_S on, perhaps ours for an hour before, and another one before that
        pytest.param(T - DOUBT_S, 0.0, "r", id="just within the doubt"),
        pytest.param(T - DOUBT_S - 0.1, 0.0, "never", id="before the reserve"),
        pytest.param(T - NEAR_S - DOUBT_S, 0.0, "never", id="an hour before"),
        pytest.param(T - NEAR_S - DOUBT_S - 0.1, 0.0, "absent", id="more than an hour before"),
        pytest.param(T - 300.0, 300.0, "r", id="by a clock 300 s behind ours"),
        pytest.param(T - 300.0, 0.0, "never", id="300 s earlier by the same clock"),
        pytest.param(T + 200.0, -300.0, "never", id="before the reserve by a clock 300 s ahead"),
        pytest.param(T + 296.0, -300.0, "r", id="within the doubt of a clock 300 s ahead"),
        pytest.param(T + 2.0 + DOUBT_S + DELIVERED_LATE_S, 0.0, "r", id="delivered late"),
        pytest.param(T + 2.1 + DOUBT_S + DELIVERED_LATE_S, 0.0, "never", id="later than a POST is delivered"),
        # without a date the doubt is DOUBT_WITHOUT_DATE_S
        pytest.param(T - DOUBT_WITHOUT_DATE_S, None, "r", id="within the doubt without a date"),
        pytest.param(T - DOUBT_WITHOUT_DATE_S - 0.1, None, "never", id="before it without a date"),
    ],
)  # fmt: skip
def test_a_request_with_our_body_is_never_ignored_unless_it_is_older_beyond_every_doubt(
    created, skew, expected
):
    """Another request of ours vouches for the history's times, a second after its own reserve."""
    vouching = entry("s", seed=8, created=T + 1.0 - (skew or 0.0))
    history = listing(entry("r", created=created), vouching, skew=skew)
    held = [own("s", accepted=T + 1.0, seed=8, reserved=T + 1.0)]
    assert word(decide(held=held, history=history)[1]) == expected


@pytest.mark.parametrize(
    ("hours", "expected"),
    [pytest.param(25.9, "never", id="a day before"), pytest.param(26.1, "absent", id="longer before")],
)
@pytest.mark.parametrize("differing", [{}, {"quality": 80}], ids=["our body", "but for the quality"])
def test_where_nothing_vouches_for_the_times_a_request_of_the_day_before_may_be_ours(
    hours, expected, differing
):
    history = listing(entry("r", created=T - hours * 3600.0, **differing))
    assert word(decide(history=history)[1]) == expected


def test_a_newest_request_dated_now_vouches_for_the_times():
    history = listing(entry("r", created=T - 8 * 3600.0), zone_known=True)
    assert word(decide(history=history)[1]) == "absent"


@pytest.mark.parametrize("coarse_s", [60.0, 3600.0, 86_400.0], ids=["minutes", "hours", "dates"])
def test_a_time_that_was_cut_is_ours_as_far_as_it_may_have_been_cut(coarse_s):
    """The history says :00 for the seconds, or for the minutes too, or gives the day alone."""
    cut = replace(entry("r", created=T - coarse_s), coarse_s=coarse_s)
    assert word(decide(history=listing(cut, entry("s", seed=8)), held=[own("s", seed=8)])[1]) == "r"


def test_clocks_of_nodes_that_differ_show_in_our_own_requests():
    """One of ours is listed three minutes before it was sent: so may the lost one be."""
    held = [own("s", seed=8, accepted=T + 1.0), own("u", seed=9, accepted=T + 1.0)]
    shown = [entry("s", seed=8, created=T - 180.0), entry("u", seed=9)]
    history = listing(entry("r", created=T - 178.0), *shown)
    assert word(decide(held=held, history=history)[1]) == "r"


def test_a_request_that_another_row_holds_is_not_claimed():
    findings = decide(held=[own("r")], history=listing(entry("r")))
    assert word(findings[1]) == "absent"


def test_a_request_that_a_row_held_before_is_not_claimed():
    """A job sent again keeps the ids of its earlier submits in its events; their bodies are no longer known."""
    earlier = OwnRequest("r", T + 1.0, None, None)
    assert word(
        decide(held=[earlier, own("s", seed=8)], history=listing(entry("r"), entry("s", seed=8)))[1]
    ) == ("absent")


def test_each_listed_request_is_claimed_once():
    findings = decide(submits=[lost(1), lost(2, at=T + 5.0)], history=listing(entry("r", created=T + 6.0)))
    assert Counter(map(word, findings.values())) == {"r": 1, "absent": 1}


def test_two_rows_that_look_alike_find_their_own_requests_in_the_order_they_were_sent():
    findings = decide(
        submits=[lost(2, at=T + 100.0), lost(1)],
        history=listing(entry("second", created=T + 101.0), entry("first")),
    )
    assert {job: word(finding) for job, finding in findings.items()} == {1: "first", 2: "second"}


def test_of_two_rows_that_look_alike_the_one_that_was_sent_too_late_gets_nothing():
    """One request, created between both reserves: only the first can have made it, and it vouches for the times."""
    findings = decide(submits=[lost(1), lost(2, at=T + 100.0)], history=listing(entry("r")))
    assert {job: word(finding) for job, finding in findings.items()} == {1: "r", 2: "absent"}


def test_a_request_without_a_readable_time_is_not_claimed_and_proves_nothing():
    assert word(decide(history=listing(entry("r", created=None)))[1]) == "never"


def test_a_request_without_a_readable_body_is_not_claimed_and_proves_nothing():
    unreadable = replace(entry("r"), body=None)
    assert word(decide(history=listing(unreadable))[1]) == "never"


def test_an_old_request_without_a_readable_body_is_of_no_concern():
    unreadable = replace(entry("r", created=T - NEAR_S - 100.0), body=None)
    assert word(decide(history=listing(unreadable, zone_known=True))[1]) == "absent"


# -- absent: every condition by itself --------------------------------------------------------------------------------


def test_a_submit_that_an_empty_history_does_not_list_never_arrived():
    assert decide()[1] == Absent(1)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # given up at T + 2, settled 120 s later
        pytest.param(T + 121.9, "later", id="a moment before"),
        pytest.param(T + 122.0, "absent", id="exactly then"),
    ],
)
def test_settled_a_late_row_is_given_its_time_from_the_end_of_the_post(now, expected):
    assert word(decide(now=now)[1]) == expected


def test_complete_a_history_that_does_not_reach_back_proves_nothing():
    assert word(decide(history=listing(complete=False))[1]) == "never"


def test_current_a_history_that_lacks_a_later_request_of_ours_lags():
    assert word(decide(held=[own("s", seed=8)])[1]) == "later"
    assert word(decide(held=[own("s", seed=8)], history=listing(entry("s", seed=8)))[1]) == "absent"


def test_current_a_request_accepted_while_the_post_was_under_way_must_be_listed_too():
    """It was accepted before the POST was given up, and the history has not even that one."""
    assert word(decide(held=[own("s", accepted=T + 1.0, seed=8)])[1]) == "later"


def test_current_a_request_accepted_shortly_before_must_be_listed_too():
    """Nothing need have been accepted since: that a history lags shows in those of before."""
    assert word(decide(held=[own("s", accepted=T - 599.0, seed=8)])[1]) == "later"


def test_current_a_request_of_long_before_need_not_be_listed():
    assert word(decide(held=[own("s", accepted=T - 3600.0, seed=8)])[1]) == "absent"


def test_trusted_a_service_that_rewrites_what_it_was_sent_proves_nothing():
    rewritten = entry("s", body=BODY | {"seed": 8, "prompt": "OAK"})
    assert word(decide(held=[own("s", seed=8)], history=listing(rewritten))[1]) == "never"


@pytest.mark.parametrize(
    ("zone_s", "expected"), [(-8 * 3600.0, "never"), (0.0, "absent")], ids=["8 h behind", "UTC"]
)
def test_trusted_a_service_that_tells_times_of_another_zone_proves_nothing(zone_s, expected):
    """Its times bear no zone, so what arrived seems to be of before the reserve; a request of ours shows it."""
    history = listing(entry("s", seed=8, created=T + 1.0 + zone_s))
    assert word(decide(held=[own("s", seed=8)], history=history)[1]) == expected


def test_trusted_one_request_shown_as_it_was_sent_is_enough():
    history = listing(entry("s", body={"prompt": "?"}), entry("u", seed=9))
    assert word(decide(held=[own("s", seed=8), own("u", seed=9)], history=history)[1]) == "absent"


def test_trusted_a_request_whose_body_is_no_longer_known_vouches_for_nothing():
    earlier = OwnRequest("s", T + 10.0, None, None)
    assert word(decide(held=[earlier], history=listing(entry("s", seed=8)))[1]) == "never"


def test_trusted_a_lost_submit_that_was_found_vouches_as_well():
    """Its body was shown as it was sent, so another one's difference is a real one."""
    history = listing(entry("r"), entry("stranger", seed=99))
    findings = decide(submits=[lost(1), lost(2, seed=8)], history=history)
    assert {job: word(finding) for job, finding in findings.items()} == {1: "r", 2: "absent"}


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"prompt": "elm"}, id="prompt"),
        pytest.param({"seed": 8}, id="seed"),
    ],
)
def test_alone_a_strangers_request_that_differs_in_what_tells_rows_apart_is_another_one(difference):
    """One request of ours is shown as it was sent, so the comparison can be trusted."""
    history = listing(entry("stranger", **difference), entry("s", seed=99))
    assert word(decide(held=[own("s", seed=99)], history=history)[1]) == "absent"


@pytest.mark.parametrize(
    "difference",
    [
        pytest.param({"quality": 80}, id="quality"),
        pytest.param({"image_1": "https://h/table.png"}, id="product"),
        pytest.param({"image_2": "https://h/elm.png"}, id="texture"),
        pytest.param({"image_1": "https://h/a", "image_2": "https://h/b"}, id="both pictures"),
        pytest.param({"prompt": ""}, id="a hidden prompt"),
        pytest.param({"prompt": "***"}, id="a masked prompt"),
        pytest.param({"seed": None}, id="a seed left out"),
    ],
)
def test_alone_a_strangers_request_that_differs_otherwise_may_be_this_one(difference):
    history = listing(entry("stranger", **difference), entry("s", seed=99))
    assert word(decide(held=[own("s", seed=99)], history=history)[1]) == "never"


FORMS = [
    pytest.param("Eiche, geölt", "Eiche, ge%C3%B6lt", id="percent-encoded"),
    pytest.param("Eiche, geölt", "Eiche, geoelt", id="transliterated"),
    pytest.param("Eiche, geölt", "Eiche, ge?lt", id="replaced"),
    pytest.param("Eiche, geölt", "Eiche, geÃ¶lt", id="in the wrong encoding"),
    pytest.param("橡木 oak", "\\u6a61\\u6728 oak", id="escaped"),
    pytest.param("橡木 oak", " oak", id="dropped"),
    pytest.param("oak\non a chair", "oak\\non a chair", id="a line end written out"),
    pytest.param("oak <b>matte</b>", "oak matte", id="tags taken out"),
    pytest.param("oak & elm", "oak and elm", id="an ampersand written out"),
    pytest.param("oak 100%25", "oak 100%", id="percent-decoded"),
    pytest.param("like https://h/oak", "like [link]", id="a link taken out"),
    pytest.param("an oak of " + "a hundred years, " * 8, "an oak [...] years", id="a middle taken out"),
]


@pytest.mark.parametrize(("sent", "shown"), FORMS)
def test_alone_a_form_that_no_row_of_ours_vouches_for_may_have_been_tidied(sent, shown):
    """Plain rows are shown as they were sent; this one is not plain, and its seed is that of the stranger."""
    history = listing(entry("r", prompt=shown), entry("s", seed=99), entry("u", prompt="elm"))
    held = [own("s", seed=99), own("u", prompt="elm")]
    assert word(decide(submits=[lost(prompt=sent)], held=held, history=history)[1]) == "never"


@pytest.mark.parametrize(("sent", "shown"), FORMS)
def test_alone_a_form_that_a_row_of_ours_vouches_for_tells_requests_apart(sent, shown):
    stranger = entry("r", prompt="a red car")
    vouching = entry("s", prompt=sent, seed=99)
    held = [own("s", prompt=sent, seed=99)]
    findings = decide(submits=[lost(prompt=sent)], held=held, history=listing(stranger, vouching))
    assert word(findings[1]) == "absent"


def test_alone_a_seed_tells_requests_apart_whatever_the_form_of_the_prompt():
    history = listing(entry("r", prompt="Eiche, ge%C3%B6lt", seed=8), entry("s", seed=99))
    assert (
        word(decide(submits=[lost(prompt="Eiche, geölt")], held=[own("s", seed=99)], history=history)[1])
        == "absent"
    )


def test_alone_a_seed_of_nought_is_vouched_for_by_one_of_nought_only():
    """A service may take it for none, and show the one that it drew."""
    history = listing(entry("r", seed=123), entry("s", seed=99))
    assert word(decide(submits=[lost(seed=0)], held=[own("s", seed=99)], history=history)[1]) == "never"


def test_alone_a_request_of_another_model_is_another_one():
    stranger = replace(entry("r", quality=80), model="flux-pro")
    ours = replace(entry("s", seed=99), model=MODEL)
    assert word(decide(held=[own("s", seed=99)], history=listing(stranger, ours))[1]) == "absent"
    unnamed = listing(stranger, entry("s", seed=99))
    assert word(decide(held=[own("s", seed=99)], history=unnamed)[1]) == "never"


def test_a_request_of_another_model_is_not_found():
    stranger = replace(entry("r"), model="flux-pro")
    assert not isinstance(decide(history=listing(stranger))[1], Found)


# -- whose is it? -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"prompt": "oak"}, {"prompt": "oak "}, id="a space"),
        pytest.param({"prompt": "oak"}, {"prompt": "Oak"}, id="case"),
        pytest.param({"prompt": "oak & elm"}, {"prompt": "oak &amp; elm"}, id="an escape"),
        pytest.param({"image_1": "https://h/o"}, {"image_1": "https://H/o"}, id="a host's case"),
        pytest.param({"image_1": "https://h/%C3%B6"}, {"image_1": "https://h/ö"}, id="percent-encoding"),
        pytest.param({"image_1": "https://h/o"}, {"image_1": "https://h/o?v=2"}, id="a query"),
    ],
)
def test_a_request_that_may_be_either_of_two_submits_is_neithers(one, other):
    """The first's own form, which the second has after tidying: to find it for one sends the other again."""
    findings = decide(submits=[lost(1, **one), lost(2, **other)], history=listing(entry("r", **one)))
    assert set(map(word, findings.values())) == {"never"}
    both = listing(entry("r", **one), entry("s", **other))
    findings = decide(submits=[lost(1, **one), lost(2, **other)], history=both)
    assert {job: word(finding) for job, finding in findings.items()} == {1: "r", 2: "s"}


def test_rows_that_differ_in_a_picture_alone_are_no_rivals():
    findings = decide(submits=[lost(1), lost(2, image_1="https://h/table.png")], history=listing(entry("r")))
    assert {job: word(finding) for job, finding in findings.items()} == {1: "r", 2: "absent"}


def test_of_two_requests_with_our_body_the_nearest_in_time_is_ours():
    """The other one is from another folder that runs the same manifest."""
    theirs, ours = entry("theirs", created=T - 4.0), entry("ours", created=T + 0.5)
    assert word(decide(history=listing(ours, theirs))[1]) == "ours"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param({"prompt": " Oak\r\non a chair "}, {"prompt": "Oak on a chair"}, id="spaces"),
        pytest.param({"prompt": "Oak & elm"}, {"prompt": "oak &amp; elm"}, id="case and escapes"),
        pytest.param({"prompt": "e\u0301le\u0301gant"}, {"prompt": "\u00e9l\u00e9gant"}, id="accents"),
        pytest.param({"prompt": "oak and elm " * 20}, {"prompt": "oak and elm " * 5 + "…"}, id="a cut end"),
        pytest.param({"seed": 7}, {"seed": "7.0"}, id="a seed as another number's text"),
    ],
)
def test_alone_a_request_that_differs_by_no_more_than_tidying_may_be_this_one(sent, shown):
    """Rows that need no tidying vouch for the comparison, so the row that does must not count as absent."""
    history = listing(entry("r", **shown), entry("s", seed=99))
    assert word(decide(submits=[lost(**sent)], held=[own("s", seed=99)], history=history)[1]) == "never"


def test_alone_a_short_prompt_that_is_the_start_of_ours_is_another_one():
    history = listing(entry("r", prompt="oak"), entry("s", seed=99))
    findings = decide(submits=[lost(prompt="oak 12")], held=[own("s", seed=99)], history=history)
    assert word(findings[1]) == "absent"


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        pytest.param(
            {"image_1": "https://copies/1.png", "image_2": "https://copies/2.png"}, "never", id="its own copies"
        ),
        pytest.param({"prompt": "a lush oak, studio light"}, "never", id="an improved prompt"),
        pytest.param({"seed": 8}, "never", id="a seed of its own"),
        pytest.param({"prompt": "elm", "seed": 8}, "never", id="prompt and seed"),
        pytest.param({"prompt": "elm", "image_1": "https://h/table.png"}, "never", id="prompt and product"),
    ],
)  # fmt: skip
def test_alone_where_nothing_vouches_for_the_comparison_any_difference_may_be_the_services_doing(
    difference, expected
):
    """A first run whose submits were all lost: nobody knows how this service shows what it was sent."""
    assert word(decide(history=listing(entry("r", **difference)))[1]) == expected


def test_alone_a_request_of_before_the_window_is_of_no_concern():
    old = entry("r", created=T - NEAR_S - 60.0, quality=80)
    assert word(decide(history=listing(old, zone_known=True))[1]) == "absent"


def test_alone_a_request_that_another_lost_submit_claimed_is_of_no_concern():
    findings = decide(submits=[lost(1), lost(2, quality=80)], history=listing(entry("r")))
    assert {job: word(finding) for job, finding in findings.items()} == {1: "r", 2: "absent"}


def test_alone_a_request_that_another_row_holds_may_be_this_one_where_that_row_sent_something_else():
    """The answer to the lost submit came late, and went to the next one."""
    held = [own("a", prompt="elm", seed=1), own("ours", prompt="ash", seed=2)]
    shown = [entry("a", prompt="elm", seed=1), entry("ours"), entry("ash", prompt="ash", seed=2)]
    assert word(decide(held=held, history=listing(*shown))[1]) == "never"
    shown[1] = entry("ours", prompt="birch", seed=3)
    assert word(decide(held=held, history=listing(*shown))[1]) == "absent"


def test_what_is_not_decided_says_why():
    finding = decide(history=listing(complete=False))[1]
    assert isinstance(finding, Undecided)
    assert finding.why == "the history does not reach back to it"


# -- over any history -------------------------------------------------------------------------------------------------

moments = st.sampled_from(
    [T - 3600.0, T - 66.0, T - 64.0, T - 6.0, T - 1.0, T, T + 1.0, T + 3.0, T + 50.0, T + 500.0]
)
bodies = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["oak", "elm"]),
        "seed": st.sampled_from([7, "7", 7.0, 8]),
        "image_1": st.sampled_from(["https://h/a", "https://h/b"]),
        "quality": st.sampled_from([95, "95", 80]),
    }
)
names = st.sampled_from("abcdefgh")


@st.composite
def histories(draw):
    """Any listing, each request once."""
    entries = [
        Entry(name, draw(st.sampled_from(["COMPLETED", "FAILED", "PENDING"])), draw(st.none() | bodies),
              draw(st.none() | moments), 30_000, None, None)
        for name in draw(st.lists(names, unique=True, max_size=6))
    ]  # fmt: skip
    skew = draw(st.none() | st.sampled_from([0.0, -300.0, 60.0]))
    return Listing(tuple(entries), T - 86_400.0, draw(st.booleans()), skew)


submits = st.lists(
    st.builds(
        lambda body, at, took: (body, at, at + took), bodies, moments, st.sampled_from([0.0, 2.0, 30.0])
    ),
    max_size=4,
).map(lambda found: [UnconfirmedSubmit(job, *facts) for job, facts in enumerate(found)])
owned = st.lists(
    st.builds(OwnRequest, names, moments, st.none() | bodies, st.none() | moments),
    max_size=4,
    unique_by=lambda request: request.request_id,
)


def plain(body):
    """The body as texts, written without the code under test: nothing but small numbers and texts occurs here."""
    return {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in body.items()}


def opens(submit, history):
    doubt = DOUBT_WITHOUT_DATE_S if history.skew is None else history.skew + DOUBT_S
    return submit.reserved_at - doubt


@given(submits, owned, histories(), moments)
def test_whatever_the_history_says_no_request_is_claimed_twice_or_taken_from_a_row(sent, held, history, now):
    findings = settle(sent, held, history, now)
    assert sorted(finding.job for finding in findings) == list(range(len(sent)))
    claimed = [finding.entry.request_id for finding in findings if isinstance(finding, Found)]
    assert len(claimed) == len(set(claimed))
    assert not set(claimed) & {request.request_id for request in held}
    for finding in findings:
        if isinstance(finding, Found):
            submit = sent[finding.job]
            assert plain(submit.body) == plain(finding.entry.body)
            assert finding.entry.created >= opens(submit, history) - NODES_S - 30.0


@given(submits, owned, histories(), moments)
def test_whatever_the_history_says_nothing_is_sent_again_while_an_equal_request_is_free(
    sent, held, history, now
):
    """Neither a request with this body, nor one whose body or time cannot be read, is left of the hour before or later."""
    findings = settle(sent, held, history, now)
    taken = {finding.entry.request_id for finding in findings if isinstance(finding, Found)}
    taken |= {request.request_id for request in held}
    free = [entry for entry in history.entries if entry.request_id not in taken]
    for finding in findings:
        if isinstance(finding, Absent):
            submit = sent[finding.job]
            near = [
                entry
                for entry in free
                if entry.created is None
                or opens(submit, history) - NEAR_S <= entry.created <= submit.ended_at
            ]
            assert [
                entry for entry in near if entry.body is None or plain(entry.body) == plain(submit.body)
            ] == []
            assert now >= submit.ended_at + SETTLE_S
            assert history.complete
