"""Words about money in a refusal of a submit stop the run, unless they are the row's own."""

from __future__ import annotations

import pytest

from batch.client.responses import (
    NO_CREDITS,
    SPEND_LIMIT_REACHED,
    AccountRefused,
    NotAccepted,
    Refused,
    Reply,
    Unknown,
    classify_submit,
    micro_dollars,
)
from batch.pacing.limiter import Throttled

ROW = {
    "prompt": 'A credit card and a 6" balance bike in front of a payment terminal, all credits to the quota of walnut',
    "image_1": "https://shop.example/balance-bikes/credit%20card.png?quota=1",
    "image_2": "https://shop.example/oak.png",
    "seed": 7,
}


def reply(status, body):
    return Reply(status, {}, None, body) if isinstance(body, str) else Reply(status, {}, body, "")


def error(text):
    return {"error": text}


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 406, 410, 422])
@pytest.mark.parametrize(
    "body",
    [
        error("Not enough balance"),
        error("Insufficient credits. Please add credits to your account to continue"),
        error("Payment required"),
        error("QUOTA_EXCEEDED"),
        error("monthlyQuotaReached"),
        error("Your credit-balance is -0.02"),
        {"error": {"code": "insufficient_quota", "message": "You exceeded your current plan"}},
        {"message": "insufficient balance"},
        {"error": "forbidden", "error_description": "no funds left", "status_code": 403},
        {"errors": [{"detail": "Billing hard limit"}]},
        "<html><h1>Payment Required</h1></html>",
        "Insufficient%20balance",
    ],
    ids=str,
)
def test_what_speaks_of_money_stops_the_run(status, body):
    verdict = classify_submit(reply(status, body), ROW)
    assert isinstance(verdict, AccountRefused)
    assert NO_CREDITS in verdict.reason


@pytest.mark.parametrize("body", [error("no"), {}, "", "<html></html>", {"message": "Required"}], ids=str)
def test_402_stops_the_run_whatever_it_says(body):
    assert isinstance(classify_submit(reply(402, body), ROW), AccountRefused)


def test_a_spend_limit_is_told_as_one_under_any_code():
    for status in (402, 403, 406, 422):
        assert (
            SPEND_LIMIT_REACHED
            in classify_submit(reply(status, error("Team spend limit reached")), ROW).reason
        )


@pytest.mark.parametrize(
    "text",
    [
        f"prompt was blocked: {ROW['prompt']}",
        f"prompt '{ROW['prompt']}' was blocked",
        f"prompt {ROW['prompt']!r} was blocked",
        f"prompt {ROW['prompt'].upper()} was blocked",
        "prompt 'A credit card and a 6\" balance b…' was blocked",
        "blocked: A credit card and a 6 balance",
        'the word "balance" is not allowed',
        "the words “credit card” are not allowed",
        "not allowed: `payment terminal`",
        f"image_1: {ROW['image_1']} cannot be read",
        "image_1: https://shop.example/balance-bikes/credit card.png cannot be read",
        "credit card.png is not an image",
        'credit%20card.png: "quota=1" is not an image',
        "prompt: a credit card and a 6&quot; balance bike is too long",
    ],
)
@pytest.mark.parametrize("status", [400, 406, 422])
def test_words_of_the_row_are_not_the_services(status, text):
    assert isinstance(classify_submit(reply(status, error(text)), ROW), Refused)
    assert isinstance(
        classify_submit(reply(status, error(text)), {"prompt": "walnut"}), AccountRefused
    )  # without them in the row


@pytest.mark.parametrize(
    "text",
    [
        "Insufficient credits for this model",
        "prompt 'A credit card and a 6\" balance bike' was blocked: not enough balance",
        "Your balance: 0",
        "Add credits to go on",
        "payment failed: credit card declined",
        "the quota of this account is used up",
    ],
)
def test_a_row_that_speaks_of_money_hides_nothing(text):
    assert isinstance(classify_submit(reply(406, error(text)), ROW), AccountRefused)


@pytest.mark.parametrize("prompt", ["credits", "balance"])
def test_a_prompt_of_one_word_hides_nothing_but_itself(prompt):
    row = {"prompt": prompt}
    assert isinstance(
        classify_submit(reply(406, error("Not enough balance, add credits")), row), AccountRefused
    )
    assert isinstance(classify_submit(reply(422, error(f"Invalid prompt: {prompt}")), row), Refused)
    assert isinstance(classify_submit(reply(422, error(f'"{prompt}" is too short')), row), Refused)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(429, error("Quota exceeded: 50 requests a minute")), Throttled),
        (reply(429, error("You have run out of credits")), AccountRefused),
        (reply(500, error("Insufficient credits")), AccountRefused),
        (reply(500, {"error": "Insufficient credits", "status": 500}), Unknown),
        (reply(502, error("Insufficient credits")), Unknown),
        (reply(409, error("Insufficient credits")), Unknown),
        (reply(408, "Payment Required"), Unknown),
        (reply(500, error("Internal server error")), NotAccepted),
        (reply(422, error("image_1: accredited sources only")), Refused),
        (reply(422, {"error": "quality is too low", "remaining_credits": 12.5, "balance": None}), Refused),
    ],
)
def test_where_words_about_money_decide_and_where_they_do_not(answer, expected):
    assert isinstance(classify_submit(answer, ROW), expected)


@pytest.mark.parametrize("text", ["a " * 3000, '"' * 4000, "balance " * 1000, "x" * 200_000])
def test_a_long_refusal_is_judged_quickly(text):
    classify_submit(reply(422, error(text)), {"prompt": text, "image_1": text})
    classify_submit(reply(422, [{"error": text[:40]}] * 20_000), {"prompt": text, "image_1": text})


@pytest.mark.parametrize(
    ("given", "micro"),
    [(-0.02, -20_000), ("-1.5", -1_500_000), (0, 0), (3, 3_000_000), ("--1", None), (-1e12, None), ("-", None), (None, None),
     ("nan", None), ("-inf", None), (True, None)],
)  # fmt: skip
def test_a_balance_may_be_negative(given, micro):
    assert micro_dollars(given, may_be_negative=True) == micro
