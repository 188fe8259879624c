"""Servers for the tests of the local service; real sockets on 127.0.0.1."""

import pytest
from local_helpers import Client

from batch.server import LocalApi

SLOW_TO_LOAD = "test_local_schemathesis.py"


def pytest_ignore_collect(collection_path, config):
    """Leave out what is slow to load, unless its tier is asked for."""
    if collection_path.name == SLOW_TO_LOAD and "not slow" in config.option.markexpr:
        return True
    return None


@pytest.fixture
def start():
    """Start servers with settings of the test's choice; gives (api, client)."""
    opened = []

    def starter(**settings):
        api = LocalApi(**{"engine": "placeholder", "seed": 1, **settings})
        client = Client(api)
        opened.extend((client, api))
        return api, client

    yield starter
    for item in opened:
        item.close()
