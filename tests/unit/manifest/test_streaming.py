"""A long manifest costs time and no memory, and importing the package costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import pytest

from batch.core.models import Payload
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest


def long_manifest(shop, rows: int):
    path = shop / f"long{rows}.csv"
    with path.open("w") as file:
        file.write("id,image_1,image_2,prompt,seed,sku\n")
        file.writelines(
            f"r{n},products/chair.jpg,textures/oak.jpg,Wrap {n} in {{sku}},{n},S{n % 99}\n"
            for n in range(rows)
        )
    return path


def peak(path) -> tuple[int, int]:
    tracemalloc.start()
    try:
        count = sum(isinstance(item, Payload) for item in Expander(open_manifest(path), overrides={}))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_manifest(shop):
    """Five times the rows: tracing makes each row slow, so 20,000 rows stand for any number."""
    peak(long_manifest(shop, 100))  # imports and caches
    few, small = peak(long_manifest(shop, 4_000))
    many, large = peak(long_manifest(shop, 20_000))
    assert (few, many) == (4_000, 20_000)
    assert large < small * 1.25


@pytest.mark.slow
def test_memory_does_not_grow_with_200_000_rows(shop):
    peak(long_manifest(shop, 100))
    _, small = peak(long_manifest(shop, 20_000))
    count, large = peak(long_manifest(shop, 200_000))
    assert count == 200_000
    assert large < small * 1.25


@pytest.mark.parametrize(
    "module",
    ["batch.manifest.manifest", "batch.manifest.expand", "batch.manifest.columns", "batch.core.csv_format"],
)
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted({{'pandas', 'numpy', 'openpyxl', 'pyarrow', 'pydantic', 'PIL', 'yaml'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "\n"


def test_reading_a_csv_loads_no_pandas(shop):
    """It takes half a second of every start."""
    path = long_manifest(shop, 2)
    code = (
        "import sys, pathlib; from batch.manifest.expand import Expander; from batch.manifest.manifest import open_manifest; "
        f"list(Expander(open_manifest(pathlib.Path({str(path)!r})), overrides={{}})); "
        "print(*{'pandas', 'numpy', 'openpyxl', 'pyarrow', 'yaml'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "\n"
