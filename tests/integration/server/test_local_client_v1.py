"""Our own client's blocking call against the local server and its faults: an image, or an error that tells the bill."""

from __future__ import annotations

import dataclasses
import math

import pytest
import support
from local_helpers import body

from batch import Client, JobFailed, MaybeBilled, RunStopped, SubmitFailed, SyncResult
from batch.core.parameters import MODEL
from batch.server import placeholder_image

pytestmark = pytest.mark.anyio


def client_of(api, key=None):
    return Client(support.service_at(api.base_url, api_key=key or api.api_key))


async def attempt(api, within_s=60.0, **more):
    """Run one call and give what it returned or raised."""
    async with client_of(api) as client:
        try:
            return await client.run_sync(body(**more), within_s=within_s)
        except (JobFailed, MaybeBilled, RunStopped, SubmitFailed) as exc:
            return exc


async def test_the_image_comes_with_what_its_headers_tell(start):
    api, _ = start(latency="fixed", latency_s=0.1, price_usd=0.0345)
    result = await attempt(api, seed=-1, image_format="png")
    (job,) = api.stats()["jobs"]
    assert result.data == placeholder_image(body(seed=-1, image_format="png"))
    assert (result.content_type, result.request_id) == ("image/png", job["request_id"])
    assert result.cost == 34_500  # micro-dollars
    assert 0.1 <= result.generation_s < 60
    assert 0 <= result.seed < 2**31
    assert job["version"] == "v1"
    assert dataclasses.is_dataclass(SyncResult)
    assert repr(result.data) not in repr(result)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seed = 1


async def test_it_waits_longer_than_a_poll_may_take(start, waits):
    """The general read timeout is for answers that come at once; this one is made first."""
    waits(connect_s=5.0, read_s=0.05)
    api, _ = start(latency="fixed", latency_s=0.3)
    assert isinstance(await attempt(api), SyncResult)


async def test_a_job_that_failed_is_named_and_not_billed(start):
    api, _ = start()
    error = await attempt(api, prompt=" ")
    assert isinstance(error, JobFailed)
    assert error.request_id == api.stats()["jobs"][0]["request_id"]
    assert error.reason == "prompt: must not be empty"
    assert api.stats()["billed_jobs"] == 0


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("settings", "more", "kind", "text"),
    [
        pytest.param({"balance_usd": 0}, {}, RunStopped, "no credits", id="no credits"),
        pytest.param({"spend_limit_usd": 0}, {}, RunStopped, "spend limit", id="spend limit"),
        pytest.param({"retired_models": [MODEL]}, {}, RunStopped, "retired", id="retired"),
        pytest.param({"forbidden_models": [MODEL]}, {}, RunStopped, "may not call", id="forbidden"),
        pytest.param({}, {"lora": "other"}, SubmitFailed, "not billed", id="parameter"),
        pytest.param({}, {"quality": 0}, SubmitFailed, "quality", id="range"),
        pytest.param({"rate_limit": 1}, {}, SubmitFailed, "not accepted, not billed", id="rate limit"),
    ],
)
async def test_a_refusal_is_not_billed_and_says_so(start, settings, more, kind, text):
    api, client = start()
    api.settings(**settings)
    if "rate_limit" in settings:
        client.submit()
    before = api.stats()["accepted"]
    error = await attempt(api, **more)
    assert type(error) is kind
    assert text in str(error)
    assert api.stats()["accepted"] == before


async def test_a_wrong_key_stops(start):
    api, _ = start()
    async with client_of(api, "SG_wrong") as client:
        with pytest.raises(RunStopped, match="SEGMIND_API_KEY"):
            await client.run_sync(body())


async def test_a_closed_port_is_certainly_not_billed(start):
    api, _ = start()
    api.close()
    assert isinstance(await attempt(api), SubmitFailed)


@pytest.mark.quick(3)
@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        pytest.param({"action": "reset_before"}, 0, id="RST before"),
        pytest.param({"action": "reset_after"}, 1, id="RST after"),
        pytest.param({"action": "fin_after"}, 1, id="FIN"),
        pytest.param({"action": "half_head"}, 1, id="half a head"),
        pytest.param({"action": "no_answer"}, 1, id="no answer"),
        pytest.param({"action": "empty"}, 1, id="empty"),
        pytest.param({"action": "garbage"}, 1, id="garbage"),
        pytest.param({"action": "truncated"}, 1, id="cut in the image"),
        pytest.param({"action": "status", "text": "bad_gateway"}, 0, id="502"),
        pytest.param({"action": "status", "text": "gateway_timeout", "handled": True}, 1, id="504"),
        pytest.param({"action": "status", "status": 500, "body": {"message": "x"}}, 0, id="a gateway's 500"),
        pytest.param({"action": "status", "status": 200, "body": "<html>"}, 0, id="a page"),
    ],
)
async def test_a_lost_answer_may_be_billed_and_is_sent_once(start, fault, accepted):
    """The client cannot tell the difference; the server's record can, and shows one POST."""
    api, _ = start()
    api.faults([{"call": "submit", **fault}])
    error = await attempt(api, within_s=0.5 if fault["action"] == "no_answer" else 60.0)
    assert isinstance(error, MaybeBilled)
    assert "may have been accepted and billed" in str(error)
    stats = api.stats()
    assert (stats["accepted"], stats["calls"]["submit"]) == (accepted, 1)


async def test_the_service_s_own_500_is_not_billed(start):
    api, _ = start()
    api.faults([{"call": "submit", "action": "status", "text": "internal"}])
    error = await attempt(api)
    assert isinstance(error, SubmitFailed)
    assert "may be tried again" in str(error)


async def test_an_image_that_was_cut_can_be_waited_for(start):
    """The head still told the request id: the paid image is not lost."""
    api, _ = start()
    api.faults([{"call": "submit", "action": "truncated"}])
    error = await attempt(api)
    assert isinstance(error, MaybeBilled)
    assert error.request_id in str(error)
    async with client_of(api) as client:
        result = await client.wait(error.request_id, deadline_s=5)
        assert await client.download(result.output) == placeholder_image(body())
    assert math.isclose(api.stats()["billed_micro_usd"], 30_000)


async def test_a_429_closes_the_gate_for_everybody(start):
    api, client = start(rate_limit=1, rate_window_s=30)
    client.submit()
    async with client_of(api) as ours:
        with pytest.raises(SubmitFailed):
            await ours.run_sync(body())
        assert "cool" in repr(ours.pace)
