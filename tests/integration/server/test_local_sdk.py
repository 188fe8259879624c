"""The vendor's own SDK works against the local server, unchanged but for its host constants."""

import importlib
import io

import pytest
from PIL import Image
from segmind import SegmindClient
from segmind.exceptions import SegmindError
from segmind.v2 import InferenceFailed, InferenceTimeout

from batch.core.parameters import MODEL
from batch.server import placeholder_image

INPUTS = {"prompt": "Apply oak", "image_1": "https://e.com/1.jpg", "image_2": "https://e.com/2.jpg"}


@pytest.fixture
def sdk(start, monkeypatch):
    """An SDK client for a fresh server; gives (api, client)."""
    api, _ = start()
    monkeypatch.setattr(importlib.import_module("segmind.files").Files, "STORAGE_BASE_URL", api.base_url)
    history = f"{api.base_url}/inference-request/request-history"
    monkeypatch.setattr(importlib.import_module("segmind.generations"), "REQUEST_HISTORY_URL", history)
    client = SegmindClient(api_key=api.api_key, base_url=f"{api.base_url}/v1")
    yield api, client
    client._client.close()


def test_run_gives_the_finished_result(sdk):
    api, client = sdk
    api.settings(latency="fixed", latency_s=0.05)
    result = client.run(MODEL, **INPUTS)
    assert result["status"] == "COMPLETED"
    assert client._client.get(result["images"][0]["url"]).content == placeholder_image(INPUTS)


def test_a_job_can_be_submitted_and_waited_for(sdk):
    _, client = sdk
    job = client.submit_async(MODEL, **INPUTS)
    assert job.wait(timeout=60, interval=0.01)["metrics"]["cost"] == 0.03
    assert job.status()["status"] == "COMPLETED"


def test_run_sync_gives_the_image(sdk):
    _, client = sdk
    response = client.run_sync(MODEL, **INPUTS, image_format="png")
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == "PNG"


def test_run_sync_raises_with_status_and_text(sdk):
    api, client = sdk
    for settings, inputs, status, detail in (
        ({}, {"prompt": ""}, 422, "prompt: must not be empty"),
        ({}, {"image_format": "gif"}, 406, "image_format"),
        ({"spend_limit_usd": 0}, {}, 406, "spend limit"),
    ):
        api.settings(**settings)
        with pytest.raises(SegmindError) as caught:
            client.run_sync(MODEL, **{**INPUTS, **inputs})
        assert caught.value.status == status
        assert detail in caught.value.detail


def test_a_failed_job_raises_with_the_reason_of_the_service(sdk):
    _, client = sdk
    with pytest.raises(InferenceFailed) as caught:
        client.submit_async(MODEL, **{**INPUTS, "prompt": ""}).wait(interval=0.01)
    assert caught.value.detail == "prompt: must not be empty"
    assert caught.value.status_body["status"] == "FAILED"


def test_a_slow_job_times_out_in_the_client_and_runs_on(sdk):
    api, client = sdk
    api.settings(latency="fixed", latency_s=30)
    job = client.submit_async(MODEL, **INPUTS)
    with pytest.raises(InferenceTimeout) as caught:
        job.wait(timeout=0.05, interval=0.01)
    assert caught.value.request_id == job.request_id
    assert api.stats()["in_flight"] == 1


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("settings", "inputs", "status", "detail"),
    [
        pytest.param({"balance_usd": 0}, {}, 406, "Insufficient credits", id="no credits"),
        pytest.param({"rate_limit": 1, "rate_window_s": 60}, {}, 429, "Rate limit", id="rate limit"),
        pytest.param({}, {"lora": "other"}, 406, "lora", id="parameter"),
        pytest.param({"retired_models": [MODEL]}, {}, 410, "retired", id="retired"),
    ],
)
def test_a_refused_submit_raises_with_status_and_text(sdk, settings, inputs, status, detail):
    api, client = sdk
    api.settings(**settings)
    if "rate_limit" in settings:
        client.submit_async(MODEL, **INPUTS)
    with pytest.raises(SegmindError) as caught:
        client.submit_async(MODEL, **INPUTS, **inputs)
    assert caught.value.status == status
    assert detail in caught.value.detail


def test_a_wrong_key_raises_with_401(sdk):
    api, _ = sdk
    client = SegmindClient(api_key="SG_wrong", base_url=f"{api.base_url}/v1")
    with pytest.raises(SegmindError) as caught:
        client.run(MODEL, **INPUTS)
    client._client.close()
    assert (caught.value.status, caught.value.detail) == (401, "unauthorized")


def test_an_expired_record_raises_with_404(sdk):
    api, client = sdk
    job = client.submit_async(MODEL, **INPUTS)
    api.settings(record_lifetime_s=0)
    with pytest.raises(SegmindError) as caught:
        job.wait(timeout=60)
    assert caught.value.status == 404


def test_files_are_uploaded_and_come_back_as_urls(sdk, tmp_path):
    _, client = sdk
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    urls = client.files.upload([tmp_path / "a.png", tmp_path / "b.jpg"])["file_urls"]
    assert [client._client.get(url).content for url in urls] == [b"a.png", b"b.jpg"]
    job = client.submit_async(MODEL, **{**INPUTS, "image_1": urls[0]})
    assert job.wait(interval=0.01)["status"] == "COMPLETED"


def test_generations_are_listed_and_found(sdk):
    _, client = sdk
    client.submit_async(MODEL, **INPUTS).wait(interval=0.01)
    page = client.generations.history(per_page=5, model_name=MODEL, status="COMPLETED", sort_order="asc")
    (row,) = page["data"]
    assert row["request_body"] == INPUTS
    assert row["credits_deduction"] == 0.03
    assert client.generations.get(row["request_id"]) == row
    with pytest.raises(SegmindError) as caught:
        client.generations.get("no such request")
    assert caught.value.status == 404
