"""The pytest fixture `local_api`: a fresh server with tiny pictures for each test that asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batch.local.api import LocalApi

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def local_api() -> Iterator[LocalApi]:
    """Run a local server, engine "card", no latency; change it with `local_api.settings(...)`."""
    with LocalApi(engine="card") as api:
        yield api
