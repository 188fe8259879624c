"""What a row of a manifest costs, beside the least that could be done by hand in the same run."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from tiers import size

from batch.core.models import Payload, payload_key
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = size(50_000)
ROUNDS = 3
RATIO = 6.0  # measured 3.8 to 4.9 on a busy machine; the key alone is 1.3 to 1.7 of it


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for name in ("chair", "mug", "oak", "linen"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    path = tmp_path / "pairs.csv"
    with path.open("w") as file:
        file.write("id,image_1,image_2,prompt,seed,product,texture\n")
        for n in range(ROWS):
            product, texture = ("chair", "mug")[n % 2], ("oak", "linen")[n % 3 % 2]
            file.write(
                f"row-{n},{product}.png,{texture}.png,The {{texture}} {{product}},{n},{product},{texture}\n"
            )
    return path


def by_hand(path: Path) -> int:
    with path.open(newline="") as file:
        return len(
            {
                hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
                for row in csv.DictReader(file)
            }
        )


def by_intake(path: Path) -> int:
    payloads = (item for item in Expander(open_manifest(path), overrides={}) if isinstance(item, Payload))
    return len({payload_key(payload.parameters) for payload in payloads})


def cpu_us(work: Callable[[Path], int], path: Path) -> float:
    """Return the best of a few rounds, in microseconds of CPU a row."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        assert work(path) == ROWS
        best = min(best, time.process_time() - started)
    return best / ROWS * 1e6


@pytest.mark.benchmark
def test_a_row_costs_a_few_times_the_least(manifest, goals):
    hand, intake = cpu_us(by_hand, manifest), cpu_us(by_intake, manifest)
    more = f"{intake:.1f} µs, by hand {hand:.1f} µs"
    goals.at_most(
        "intake: CPU a row ÷ csv, json and sha256 by hand", intake / hand, RATIO, more=more, slack=0.5
    )
    assert goals.missed == []
