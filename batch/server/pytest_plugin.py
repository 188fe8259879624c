"""The pytest fixture `local_api`: a fresh server with tiny images for each test that asks for it."""

from collections.abc import Iterator

import pytest

from batch.server.embed import LocalApi


@pytest.fixture
def local_api() -> Iterator[LocalApi]:
    """Run a local server, engine "placeholder", no latency; change it with `local_api.settings(...)`."""
    with LocalApi(engine="placeholder") as api:
        yield api
