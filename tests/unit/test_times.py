"""Times as people write them and as files hold them."""

import pytest

from batch.errors import UsageError
from batch.times import duration, iso


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
    assert seconds == duration(text)


@pytest.mark.parametrize(
    "text", ["", "90", "s", "-5s", "5 s", "1d", "1h-30m", "1e3s", "90sec", "h1", ".5s", "1,5h"]
)
def test_what_is_no_time_is_told_with_an_example(text):
    with pytest.raises(UsageError, match="Write it like 90s, 15m or 2h"):
        duration(text)


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
