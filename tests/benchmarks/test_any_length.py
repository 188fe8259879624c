"""A million rows: what planning them costs, how soon the first one leaves, and how soon a finished folder is seen to be.

Each figure is told, and judged beside the least that could be done by hand with the same file in the same run: read it
with csv, hash each row, put it into SQLite. Memory is judged as it is.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from PIL import Image
from tiers import size

from batch.core.config import LOCAL_ACCOUNT, RunSettings
from batch.execution.dispatcher import JobQueue, RunContext
from batch.execution.runner import _plan, begin
from batch.ledger.ledger import Ledger
from batch.output.folder import OutputFolder
from batch.output.report import write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

ROWS = size(1_000_000)
MEBIBYTE = 1 << 20
KIBIBYTE = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss

MOST_MEMORY = 300 * MEBIBYTE
PLAN_RATIO = 6.0
RESUME_RATIO = 1.5
FIRST_RATIO = 0.8
REPORT_RATIO = 16.0
RUN_RATIO = 8.0
SAMPLE = 200_000
SLACK = 0.6
LINKS_A_FILE = 50_000  # ext4 allows 65,000


@dataclass
class Spent:
    """CPU and wall seconds, and the most memory, of one process or block."""

    cpu_s: float
    wall_s: float
    peak: int


def command(*args: object) -> Spent:
    """Run the command line in a process of its own."""
    asked = [sys.executable, "-m", "batch", *map(str, args)]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("launch.py"), *asked],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    cost = json.loads(done.stdout)
    assert cost["code"] == 0, args
    return Spent(cost["cpu_s"], cost["wall_s"], round(cost["rss_mb"] * MEBIBYTE))


def by_hand(path: Path) -> float:
    """Return the CPU seconds that all rows would take which are only read, hashed and put into SQLite."""
    begun = time.process_time()
    with closing(sqlite3.connect("")) as connection, path.open(newline="") as file:
        connection.execute("CREATE TABLE rows (id TEXT, hash TEXT, cells TEXT)")
        connection.executemany(
            "INSERT INTO rows VALUES (?,?,?)", _hashed(itertools.islice(csv.reader(file), SAMPLE))
        )
        read: int = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
    return (time.process_time() - begun) * ROWS / read


def _hashed(lines: Iterable[list[str]]) -> Iterator[tuple[str, str, str]]:
    for line in lines:
        text = json.dumps(line)
        yield line[0], hashlib.sha256(text.encode()).hexdigest(), text


def with_urls(folder: Path, rows: int = ROWS) -> Path:
    path = folder / "urls.csv"
    with path.open("w") as file:
        file.write("id,image_1,image_2,prompt\n")
        file.writelines(
            f"sku-{n:07},https://cdn.example.com/products/{n:07}.jpg,https://cdn.example.com/textures/{n % 40:02}.jpg,"
            f"Apply texture {n % 40} to product {n}\n"
            for n in range(rows)
        )
    return path


def with_pictures(folder: Path) -> Path:
    for n in range(400):
        Image.new("RGB", (32, 32), (n % 256, n // 256, 9)).save(folder / f"p{n}.png")
    for n in range(40):
        Image.new("RGB", (32, 32), (9, n, 99)).save(folder / f"t{n}.png")
    path = folder / "pictures.csv"
    with path.open("w") as file:
        file.write("id,image_1,image_2,prompt,product,texture,season,seed\n")
        file.writelines(
            f"p{n // 40 % 400}-t{n % 40}-{n // 16_000},p{n // 40 % 400}.png,t{n % 40}.png,"
            f"Apply the {{texture}} texture to the {{product}} for {{season}},chair {n // 40 % 400},oak {n % 40},"
            f"summer {n // 16_000},{n // 16_000}\n"
            for n in range(ROWS)
        )
    return path


def timed(work: Callable[[], T]) -> tuple[T, Spent]:
    begun, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Spent(time.process_time() - cpu, time.perf_counter() - begun, 0)


def judge(goals, what: str, spent: Spent, least: float, most: float) -> None:
    more = f"{spent.cpu_s:.1f} s CPU, {spent.wall_s:.1f} s wall"
    goals.at_most(f"{ROWS:,} rows, {what}: CPU ÷ by hand", spent.cpu_s / least, most, more=more, slack=SLACK)


@pytest.mark.benchmark
def test_a_plan_of_a_million_rows_with_pictures(tmp_path, goals):
    manifest = with_pictures(tmp_path)
    plan = command("plan", manifest, "--price", "0.03", "--out", tmp_path / "out")
    judge(goals, "plan, local pictures and templates", plan, by_hand(manifest), PLAN_RATIO)
    goals.at_most("its peak memory, MiB", plan.peak / MEBIBYTE, MOST_MEMORY / MEBIBYTE, "{:.0f}")
    assert goals.missed == []


@pytest.mark.benchmark
def test_a_run_of_a_million_rows_begins_and_a_finished_one_begins_again(tmp_path, goals):
    manifest, folder = with_urls(tmp_path), OutputFolder(tmp_path / "out")
    least, settings = by_hand(manifest), RunSettings(folder.path, price=30_000)
    folder.path.mkdir()
    with Ledger.create_or_open(folder.ledger) as ledger:
        drafted, plan = timed(lambda: _plan(context(folder, ledger, settings), manifest, merge=None))

        def first_page() -> str:
            begin(context(folder, ledger, settings), drafted.adopt, LOCAL_ACCOUNT, ROWS)
            return JobQueue().page(ledger)[0].name

        first, begun = timed(first_page)
    assert (drafted.plan.to_send, first) == (ROWS, "sku-0000000")
    judge(goals, "plan of a run, URLs", plan, least, RUN_RATIO)
    judge(goals, "from the plan to the first job", begun, least, FIRST_RATIO)
    save_all(folder)
    _, whole = timed(lambda: Ledger.create_or_open(folder.ledger).close())
    judge(goals, "every page of the ledger looked at", whole, least, RESUME_RATIO)
    _, resume = timed(lambda: resumed(manifest, settings, folder))
    judge(goals, "resume with nothing to do", resume, least, RESUME_RATIO)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    goals.tell("peak memory of all that, MiB, the test's own among it", f"{peak / MEBIBYTE:.0f}")
    assert goals.missed == []


@pytest.mark.benchmark
def test_a_report_is_one_pass_whatever_its_length(tmp_path, goals):
    rows = ROWS // 10
    manifest, folder = with_urls(tmp_path, rows), OutputFolder(tmp_path / "out")
    folder.path.mkdir()
    settings = RunSettings(folder.path, price=30_000)
    with Ledger.create_or_open(folder.ledger) as ledger:
        drafted = _plan(context(folder, ledger, settings), manifest, merge=None)
        begin(context(folder, ledger, settings), drafted.adopt, LOCAL_ACCOUNT, ROWS)
        _, told = timed(lambda: write_report(ledger, folder))
    ratio = told.cpu_s * ROWS / rows / by_hand(manifest)
    goals.at_most(
        "report: CPU ÷ by hand",
        ratio,
        REPORT_RATIO,
        more=f"{told.cpu_s / rows * 1e6:.0f} µs CPU a row",
        slack=SLACK,
    )
    assert goals.missed == []


def context(folder: OutputFolder, ledger: Ledger, settings: RunSettings) -> RunContext:
    return RunContext(
        folder, ledger, settings, None, lambda _progress: None, lambda _message: None, ThreadPoolExecutor(1)
    )


def resumed(manifest: Path, settings: RunSettings, folder: OutputFolder) -> None:
    """Do what `run` does until it knows that nothing is left to do."""
    with folder.hold(), Ledger.create_or_open(folder.ledger) as ledger:
        drafted = _plan(context(folder, ledger, settings), manifest, merge=None)
        work = begin(context(folder, ledger, settings), drafted.adopt, None, 0)
        assert (drafted.plan.done, work.jobs, work.unknown) == (ROWS, 0, 0)


def save_all(folder: OutputFolder) -> None:
    """Make every job saved, with its last events and its picture, as a run leaves them.

    A million names on disk are real; their bytes are shared, since a resume lists names and reads none.
    """
    with closing(sqlite3.connect(folder.ledger)) as connection, connection:
        connection.execute("PRAGMA cache_size=-64000")
        for event, state, cost in (("complete", "completed", 30_000), ("keep", "saved", None)):
            connection.execute(
                "INSERT INTO events (job, attempt, event, state, at, cost, run_id) SELECT job, 1, ?, ?, 1.8e9, ?, 'r' FROM jobs",
                (event, state, cost),
            )
        connection.execute(
            "UPDATE jobs SET state='saved', attempts=1, request_id=printf('%08x-7ea8-46d9-961a-a064284df878', job), "
            "cost=30000, sha256=payload_key, width=300, height=300, submitted_at=1.8e9, completed_at=1.8e9, run_id='r'"
        )
        connection.execute("UPDATE rows SET kept_job=job, kept_output=output")
        connection.execute("UPDATE runs SET ended_at=started_at, exit_code=0")
    folder.images.mkdir()
    for first in range(0, ROWS, LINKS_A_FILE):
        names = [folder.images / f"sku-{n:07}.webp" for n in range(first, min(first + LINKS_A_FILE, ROWS))]
        names[0].write_bytes(b"a picture")
        for name in names[1:]:
            os.link(names[0], name)
