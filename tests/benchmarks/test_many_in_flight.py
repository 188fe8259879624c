"""Five thousand rows, all allowed in flight, against a service that is done at once: rows a second, and memory.

Rows a second depend on the machine; what is judged is their ratio to bare aiohttp on the same jobs in the same
session.
"""

from __future__ import annotations

import driving
import pytest
from counting import Counting
from counting.options import NEAR, Options
from tiers import size

pytestmark = pytest.mark.benchmark

ROWS = size(5000)
SPEED = 0.3
ROWS_A_SECOND = 120
MEMORY_MB = 250.0


def test_five_thousand_in_flight_are_quick_and_small(tmp_path, goals):
    with Counting(Options(host=NEAR)) as service:
        ran = driving.command(service, driving.manifest(tmp_path / "ours", ROWS), "--concurrency", ROWS)
    assert ran.cost.code == 0, ran.cost.told
    with Counting(Options(host=NEAR)) as service:
        bare = driving.floor(service, driving.manifest(tmp_path / "bare", ROWS), ROWS)
    speed, floor = ROWS / ran.cost.wall_s, ROWS / bare.wall_s
    goals.tell(f"{ROWS} in flight, instant service: rows a second", f"{speed:.0f}", f"≥ {ROWS_A_SECOND}")
    goals.at_least(
        "    ÷ bare aiohttp", speed / floor, SPEED, more=f"bare aiohttp {floor:.0f} rows/s", slack=3.0
    )
    more = f"{ran.counts['most_in_flight']} accepted and not fetched at the most"
    goals.at_most("    most memory, MB", ran.cost.rss_mb, MEMORY_MB, "{:.0f}", more, slack=0.3)
    assert goals.missed == []
