"""Engines behind one protocol: found by name, started before the server reports ready, asked for no more than they can do."""

import asyncio
import importlib
import textwrap

import httpx
import pytest

from batch.core.parameters import MODEL
from batch.server import LocalApi, LocalSettings, SettingsError
from batch.server.engines.registry import OWN, create_engine, registered
from batch.server.serving import run

STRIPES = """
    import asyncio

    EVENTS = []

    class Stripes:
        capacity = 2
        needs_images = False

        def __init__(self, images_at_once):
            self.at_work = 0
            EVENTS.append(f"made for {images_at_once}")

        async def start(self):
            await asyncio.sleep(0.05)
            EVENTS.append("started")

        async def render(self, request):
            self.at_work += 1
            await asyncio.sleep(0.02)
            EVENTS.append(self.at_work)
            self.at_work -= 1
            return f"{request.prompt} {request.seed} {request.quality}".encode()

        async def close(self):
            EVENTS.append("closed")

    class Slow(Stripes):
        async def start(self):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                EVENTS.append("cancelled")
                raise
"""


@pytest.fixture
def events(tmp_path, monkeypatch):
    """Install a package with two engines; return what they do."""
    (tmp_path / "stripes_engine.py").write_text(textwrap.dedent(STRIPES))
    installed = tmp_path / "stripes-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: stripes\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[texbatch.engines]\nstripes = stripes_engine:Stripes\nslow = stripes_engine:Slow\ncpu = stripes_engine:Slow\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("stripes_engine").EVENTS
    importlib.sys.modules.pop("stripes_engine")


@pytest.mark.usefixtures("events")
def test_engines_of_other_packages_are_found_and_our_names_stay_ours():
    assert set(registered()) == {*OWN, "stripes", "slow"}
    assert registered()["cpu"] == OWN["cpu"]


def test_a_name_that_is_not_registered_is_refused_with_the_known_ones():
    with pytest.raises(
        SettingsError, match=r"'stripes' is not a known engine. Give one of cpu, placeholder\."
    ):
        LocalSettings(engine="stripes")
    with pytest.raises(KeyError):
        create_engine("stripes", 1)


def test_a_server_is_ready_after_its_engine_and_closes_it(events):
    """The engine gets the request's parameters, with the service's defaults."""
    with LocalApi(engine="stripes", workers=8) as api:
        assert events == ["made for 8", "started"]
        image = httpx.post(
            f"{api.base_url}/v1/{MODEL}",
            json={"prompt": "oak", "seed": 5},
            headers={"x-api-key": api.api_key},
        )
        assert image.content == b"oak 5 95"
    assert events[-1] == "closed"


def test_an_engine_is_asked_for_no_more_than_its_capacity(events):
    async def together(api):
        async with httpx.AsyncClient(headers={"x-api-key": api.api_key}) as client:
            url = f"{api.base_url}/v1/{MODEL}"
            return await asyncio.gather(*(client.post(url, json={"prompt": "oak"}) for _ in range(6)))

    with LocalApi(engine="stripes", workers=8) as api:
        assert {image.status_code for image in asyncio.run(together(api))} == {200}
    assert {event for event in events if isinstance(event, int)} <= {1, 2}


def test_a_server_that_is_stopped_while_its_engine_starts_ends_without_being_ready(events):
    async def stopped():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, stop.set)
        await run(LocalSettings(engine="slow"), lambda *_: events.append("ready"), stop)

    asyncio.run(stopped())
    assert events[1:] == ["cancelled", "closed"]
