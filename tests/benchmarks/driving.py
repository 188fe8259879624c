"""Runs a manifest against the counting service: with the real command, with the official SDK, with bare aiohttp.

Each in a process of its own, start-up and end included: wall, CPU (also of its children), most memory, exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import rows, write_csv

if TYPE_CHECKING:
    from counting import Counting

HERE = Path(__file__).parent
KEY = "SG_0123456789abcdef"
LONGEST_S = 900


@dataclass(frozen=True)
class Cost:
    """What a process took; it began at `began_at`, epoch seconds. `told` is what it printed, stdout and stderr."""

    began_at: float
    wall_s: float
    cpu_s: float
    rss_mb: float
    code: int
    told: str


@dataclass(frozen=True)
class Ran:
    """What the command took, the summary it left, and what the service counted."""

    cost: Cost
    summary: dict[str, Any]
    counts: dict[str, Any]

    @property
    def spent(self) -> str:
        """The wall in words: how much of it passed before the first submit, and after the last result.

        A job whose result expired was never fetched.
        """
        first_at, wall_s = self.counts["first_at"], self.cost.wall_s
        before_s = first_at - self.cost.began_at
        fetched = [job["fetched_s"] for job in self.counts["jobs"] if job["fetched_s"] is not None]
        after_s = wall_s - before_s - max(fetched, default=0.0)
        return f"{wall_s:.1f} s: {before_s:.1f} to start, {after_s:.1f} to end"

    @property
    def throttled(self) -> int:
        """How many 429s there were."""
        return sum(self.counts["throttled"].values())

    def throttled_per_window(self, window_s: float) -> float:
        """429s a window, over all windows in which something was submitted."""
        last = max(float(job["accepted_s"]) for job in self.counts["jobs"])
        return self.throttled / (int(last // window_s) + 1)

    @property
    def lag_share(self) -> float:
        """The mean of (poll that found it done - done) / job time, over the jobs that a poll found done."""
        jobs = [job for job in self.counts["jobs"] if job["seen_s"] is not None]
        lags = ((job["seen_s"] - job["done_s"]) / (job["done_s"] - job["accepted_s"]) for job in jobs)
        return float(sum(lags) / len(jobs))


def manifest(folder: Path, count: int) -> Path:
    """Write a manifest of URLs; its prompts end with the jobs' indices, 0 …"""
    folder.mkdir(parents=True, exist_ok=True)
    return write_csv(folder / "manifest.csv", rows(count))


def command(service: Counting, path: Path, *options: object) -> Ran:
    """Run `texbatch run`; the output folder lies beside the manifest."""
    out = path.parent / "out"
    cost = _launched(
        service, "-m", "batch", "run", path, "--out", out, "--yes", "--progress", "none", *options
    )
    summary = out / "summary.json"
    left = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    return Ran(cost, left, service.counts())


def rival(script: str, service: Counting, path: Path, at_once: int, *more: str) -> Cost:
    """Run one of the scripts in rivals/ on the manifest; every row has its file when this returns."""
    out = path.parent / script
    out.mkdir()
    cost = _launched(service, HERE / "rivals" / f"{script}.py", service.base_url, path, out, at_once, *more)
    wanted = path.read_text(encoding="utf-8").count("\n") - 1
    assert (cost.code, sum(1 for _ in out.iterdir())) == (0, wanted), cost.told
    return cost


def sdk(service: Counting, path: Path, at_once: int) -> Cost:
    """Run the official SDK in `at_once` threads."""
    return rival("sdk_threads", service, path, at_once)


def floor(service: Counting, path: Path, at_once: int) -> Cost:
    """Run bare aiohttp with perfect knowledge of the job times."""
    return rival("bare_aiohttp", service, path, at_once, service.options.to_json())


def _launched(service: Counting, *arguments: object) -> Cost:
    done = subprocess.run(
        [sys.executable, HERE / "launch.py", sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=LONGEST_S,
        cwd=HERE.parents[1],
        env=_environment(service),
    )
    return Cost(**json.loads(done.stdout), told=done.stderr)


def _environment(service: Counting) -> dict[str, str]:
    """This process's environment without settings, hosts and proxies of the person who runs the benchmarks."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SEGMIND_", "TEXBATCH_")) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "SEGMIND_BASE_URL": service.base_url,
        "SEGMIND_API_KEY": KEY,
        "PYTHONPATH": str(HERE),
    }
