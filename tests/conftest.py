"""What all tests share. A unit test loads no more of the package than its own imports: fixtures import what they need."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batch.local import LocalApi


LONG_TEST_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the long proofs and the benchmarks more time than the other tests."""
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("benchmark"):
            item.add_marker(pytest.mark.timeout(LONG_TEST_S))


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
def api() -> Iterator[LocalApi]:
    """Start a quick local server in a thread, for one test."""
    import support  # noqa: PLC0415

    from batch.local import LocalApi  # noqa: PLC0415

    with LocalApi(**support.QUICK) as server:
        yield server


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
