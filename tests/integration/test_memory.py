"""Nothing in memory grows with the manifest beyond the jobs in flight."""

import subprocess
import sys
from pathlib import Path

import pytest
import support
from support import service_of, write_csv

MEBIBYTE = 1 << 20

RUN = """
import resource, sys
from pathlib import Path
from batch import RunSettings, Service, run
manifest, out, url, key = sys.argv[1:]
end = run(Path(manifest), RunSettings(Path(out), concurrency=32), Service(url, url, url, api_key=key))
assert end.exit_code == 0, end
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""

PLAN = """
import resource, sys
from pathlib import Path
from batch import RunSettings
from batch.plan import preview
plan, *_ = preview(Path(sys.argv[1]), RunSettings(Path(sys.argv[2])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(code, *args):
    """Return the most resident memory, in bytes, that a process of its own had (Linux counts KiB, macOS bytes)."""
    told = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=True
    )
    return int(told.stdout) * (1 if sys.platform == "darwin" else 1024)


def manifest(path: Path, count: int) -> Path:
    return write_csv(path, support.rows(count))


def test_a_plan_of_many_rows_takes_no_more_memory_than_of_few(tmp_path):
    few = peak(PLAN, manifest(tmp_path / "few.csv", 2_000), tmp_path / "out")
    many = peak(PLAN, manifest(tmp_path / "many.csv", 15_000), tmp_path / "out")
    assert many - few < 15 * MEBIBYTE


@pytest.mark.slow
def test_a_plan_of_200_000_rows_takes_no_more_memory_than_of_few(tmp_path):
    few = peak(PLAN, manifest(tmp_path / "few.csv", 5_000), tmp_path / "out")
    many = peak(PLAN, manifest(tmp_path / "many.csv", 200_000), tmp_path / "out")
    assert many - few < 40 * MEBIBYTE


@pytest.mark.slow
def test_a_run_of_many_rows_takes_no_more_memory_than_of_few(tmp_path):
    from batch.local import LocalProcess  # noqa: PLC0415

    with LocalProcess(**(support.QUICK | {"latency_s": 0.0})) as server:
        service = service_of(server)
        few, many = (
            peak(RUN, manifest(tmp_path / f"{count}.csv", count), tmp_path / f"out-{count}", service.inference_url,
                 service.api_key)
            for count in (1_000, 8_000)
        )  # fmt: skip
    assert many - few < 40 * MEBIBYTE
