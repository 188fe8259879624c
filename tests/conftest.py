"""What all tests share. A unit test loads no more of the package than its own imports: fixtures import what they need."""

from __future__ import annotations

import functools
import gc
import math
import os
import shutil
import signal
import sqlite3
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tiers import examples

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from batch.server import LocalApi


LONG_TEST_S = 1800
TIERS = {"slow", "proof", "benchmark"}
MEMORY = "/dev/shm"
ROOM_FOR_FILES = 2 << 30
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Of the control group of a container on Linux: microseconds of all cores together in a period of so many, or `max`."""
LINES_OF_A_FAILURE = 12
FAILURES = os.environ.get("FAILURES")
"""A file that names each failed test and the last lines of its report; `.ci/run` prints it at its end."""

# Without bytecode each of many hundred processes would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the workers of `-n auto`: one more than cores, twice as many where no test keeps a core busy for long.

    Tests also wait, for timers and for processes.
    """
    cores = usable_cores()
    return (2 * cores if "not slow" in config.option.markexpr else cores) + 1


def usable_cores() -> int:
    """Return the cores that this process may keep busy: in a container there can be fewer than the machine has."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if CPU_MAX.exists():
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down each failure, where the environment names a file for them; workers leave it to their controller."""
    write_down(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down what could not be collected, too."""
    write_down(report)


def write_down(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Add a failure to the file of failures."""
    if FAILURES and report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        told = report.longreprtext.splitlines()[-LINES_OF_A_FAILURE:]
        with Path(FAILURES).open("a", encoding="utf-8") as file:
            file.write("\n".join([f"-- {report.nodeid} ({report.when})", *told, ""]))


def pytest_configure(config: pytest.Config) -> None:
    """Let the default tests write into memory where there is room: none of them takes the power away."""
    if "not slow" not in config.option.markexpr or not os.path.isdir(MEMORY):  # noqa: PTH112  a name of Linux
        return
    runs_scripts = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if runs_scripts and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_FOR_FILES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


def pytest_collectstart() -> None:
    """Let garbage lie while tests are collected, since they stay to the end; the controller of `-n` collects no tests."""
    gc.disable()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases beyond the quick ones slow; give the slow, the proofs and the benchmarks more time."""
    cases: defaultdict[tuple[object, ...], list[pytest.Item]] = defaultdict(list)
    beyond = []
    for item in items:
        marks = {mark.name: mark for mark in item.iter_markers()}
        if not TIERS.isdisjoint(marks):
            beyond.append(item)
        elif "quick" in marks:
            cases[item.parent, item.originalname, *marks["quick"].args].append(item)
    for (*_, wanted), each in cases.items():
        quick = {len(each) * number // wanted for number in range(wanted)}
        more = [item for number, item in enumerate(each) if number not in quick]
        for item in more:
            item.add_marker(pytest.mark.slow)
        beyond += more
    for item in beyond:
        item.add_marker(pytest.mark.timeout(LONG_TEST_S))


def pytest_collection_finish() -> None:
    """Let the properties that name no count draw their share of examples, however long one takes on a busy machine."""
    gc.freeze()  # thousands of tests and their modules: no garbage collection has to walk them
    gc.enable()
    if "hypothesis" in sys.modules:
        from hypothesis import HealthCheck, settings  # noqa: PLC0415

        settings.register_profile(
            "texbatch",
            suppress_health_check=[HealthCheck.too_slow],
            **examples(settings.default.max_examples),
        )
        settings.load_profile("texbatch")


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, because that is what ships."""
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key, host, option or proxy of the person who runs the tests reach them."""
    for name in list(os.environ):
        if name.startswith(("SEGMIND_", "TEXBATCH_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def no_syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for the disk in this process: no test takes the power away. Commands of their own do wait."""
    from batch.ledger import connection  # noqa: PLC0415

    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(connection, "SYNCHRONOUS", "OFF")


@pytest.fixture(scope="session")
def quick_certificates() -> Iterator[None]:
    """Read the certificates that this machine trusts once a process and not once a client: 20 ms each time."""
    from batch.client import http  # noqa: PLC0415

    read: dict[tuple[str | None, ...], ssl.SSLContext] = {}
    reading = http.ssl_context

    def ssl_context(ca_file: str | None) -> ssl.SSLContext:
        asked = (ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if asked not in read:
            read[asked] = reading(ca_file)
        return read[asked]

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(http, "ssl_context", ssl_context)
        yield


@pytest.fixture(scope="session")
def quick_signals() -> Iterator[None]:
    """List the signals of this machine once a process: asyncio does nine times a run, half a millisecond each."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(signal, "valid_signals", functools.cache(signal.valid_signals))
        yield


@pytest.fixture(scope="session")
def quick_ledgers() -> Iterator[None]:
    """Copy the tables of a new ledger from the first one of this process: its scripts take 15 ms each time."""
    from batch.ledger import connection  # noqa: PLC0415

    made: dict[tuple[str, ...], sqlite3.Connection] = {}
    making = connection._set_up

    def set_up(ledger: sqlite3.Connection, path: Path) -> None:
        scripts = tuple(connection.MIGRATIONS)
        new = not ledger.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if new and scripts in made:
            made[scripts].backup(ledger)
        making(ledger, path)
        if new and scripts not in made:
            made[scripts] = sqlite3.connect(":memory:", check_same_thread=False)
            ledger.backup(made[scripts])

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(connection, "_set_up", set_up)
        yield
    for each in made.values():
        each.close()


@pytest.fixture
def api(
    quick_certificates: None, quick_signals: None, quick_ledgers: None, no_syncing: None
) -> Iterator[LocalApi]:
    """Start a quick local server in a thread, for one test: a millisecond."""
    import support  # noqa: PLC0415

    from batch.server import LocalApi  # noqa: PLC0415

    with LocalApi(**support.QUICK, api_key=support.KEY) as server:
        yield server


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a test change how long its services are waited for: `waits(history_tries=1)`, fields of `Timeouts`."""
    from dataclasses import replace  # noqa: PLC0415

    import support  # noqa: PLC0415

    from batch.cli import environment  # noqa: PLC0415

    def change(**fields: object) -> None:
        timeouts = replace(support.TIMEOUTS, **fields)
        monkeypatch.setattr(support, "TIMEOUTS", timeouts)
        monkeypatch.setattr(environment, "TIMEOUTS", timeouts)

    return change


@pytest.fixture
def hosted(api: LocalApi, monkeypatch: pytest.MonkeyPatch) -> LocalApi:
    """Let the environment name that server as the hosted service."""
    monkeypatch.setenv("SEGMIND_BASE_URL", api.base_url)
    monkeypatch.setenv("SEGMIND_API_KEY", api.api_key)
    return api


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: gives (exit code, stdout, stderr)."""
    from batch.cli import main  # noqa: PLC0415

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["texbatch", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run
