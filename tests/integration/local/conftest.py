"""Servers for the tests of the local service; real sockets on 127.0.0.1."""

import pytest
from local_helpers import Client

from batch.local import LocalApi


@pytest.fixture
def start():
    """Start servers with settings of the test's choice; gives (api, client)."""
    opened = []

    def starter(**settings):
        api = LocalApi(**{"engine": "card", "seed": 1, **settings})
        client = Client(api)
        opened.extend((client, api))
        return api, client

    yield starter
    for item in opened:
        item.close()
