"""Times and money as people write and read them, and as files hold them."""

import pytest

from batch.core.errors import UsageError
from batch.core.units import format_span, format_usd, iso, parse_duration, parse_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),  # 3600 + 30 x 60
        ("1.5h", 5400),
        ("0.5s", 0.5),
        ("1h1m1s", 3661),
        (" 90s ", 90),
        ("0s", 0),
    ],
)
def test_a_time_in_seconds(text, seconds):
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text", ["", "90", "s", "-5s", "5 s", "1d", "1h-30m", "1e3s", "90sec", "h1", ".5s", "1,5h"]
)
def test_an_invalid_time_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match="Write it like 90s, 15m or 2h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "number", "per_s"), [("50/1m", 50, 60), (" 600 / 60s ", 600, 60), ("1/1h", 1, 3600)]
)
def test_a_rate(text, number, per_s):
    assert (number, per_s) == parse_rate(text)


@pytest.mark.parametrize("text", ["", "50", "a/1m", "-1/1m", "50/", "50/1x"])
def test_an_invalid_rate_is_refused(text):
    with pytest.raises(UsageError, match="Write it like"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (4.26, "4 s"),
        (59.4, "59 s"),
        (59.5, "1 min 0 s"),
        (303, "5 min 3 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_span_as_a_person_says_it(seconds, text):
    assert text == format_span(seconds)


@pytest.mark.parametrize(("seconds", "text"), [(4.26, "4.3 s"), (12.3, "12 s"), (61, "1 min 1 s")])
def test_a_short_span_with_tenths(seconds, text):
    assert text == format_span(seconds, tenths=True)


@pytest.mark.parametrize(
    ("micro_dollars", "decimals", "text"),
    [(30_000, 2, "$0.03"), (31_250, 4, "$0.0312"), (12_500_000, 2, "$12.50")],
)
def test_money_in_dollars(micro_dollars, decimals, text):
    assert text == format_usd(micro_dollars, decimals)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, ""),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000, "2027-01-15T08:00:00.000Z"),
        (1_800_000_000.0006, "2027-01-15T08:00:00.000Z"),  # cut, not rounded, to the millisecond
        (1_800_000_000.25, "2027-01-15T08:00:00.250Z"),
    ],
)
def test_a_moment_in_utc_to_the_millisecond_whatever_the_zone_here(monkeypatch, moment, text):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert text == iso(moment)
