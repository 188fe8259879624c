"""The wire contract, table by table, with a plain client."""

import base64

import httpx
import pytest
from local_helpers import SUBMIT, body, get, wait_until

from batch.core.parameters import MODEL
from batch.server import LocalApi, placeholder_image


def test_submit_poll_fetch(start):
    """The journey of one job, with the answers' exact members."""
    api, client = start()
    submitted = client.post(SUBMIT, json=body()).json()
    request_id = submitted["request_id"]
    assert submitted == {
        "request_id": request_id,
        "status": "QUEUED",
        "poll_url": f"{api.base_url}/v1/requests/{request_id}",
        "status_url": f"{api.base_url}/v2/requests/{request_id}/status",
        "response_url": f"{api.base_url}/v2/requests/{request_id}",
    }
    status = client.ended(request_id)
    assert status.status_code == 200
    assert set(status.json()) == {"status", "request_id", "metrics"}
    assert set(status.json()["metrics"]) == {
        "inference_time",
        "queue_time",
        "total_time",
        "cost",
        "remaining_credits",
        "retry_count",
    }
    result = client.result(request_id).json()
    assert set(result) == {"status", "output", "images", "seed", "metrics"}
    assert result["seed"] == 87568756
    assert result["metrics"]["cost"] == 0.03
    assert result["images"][0]["url"] == result["output"]
    image = get(result["output"])  # no key
    assert image.headers["content-type"] == "image/webp" == result["images"][0]["content_type"]
    assert len(image.content) == result["images"][0]["file_size"]
    assert image.content == placeholder_image(body())
    assert client.get(submitted["poll_url"]).json() == result


def test_a_base64_result_carries_the_image_itself(start):
    _, client = start()
    request_id = client.submit(base64=True, image_format="png")
    client.ended(request_id)
    result = client.result(request_id).json()
    assert base64.b64decode(result["output"]) == placeholder_image(body(base64=True, image_format="png"))
    assert "images" not in result


def test_results_may_lack_the_images_list_and_name_other_hosts(start):
    api, client = start(images_list=False, poll_base_url="https://poll.example")
    api.settings(file_base_url=api.base_url.replace("127.0.0.1", "localhost"))
    submitted = client.post(SUBMIT, json=body()).json()
    assert submitted["status_url"].startswith("https://poll.example/v2/requests/")
    client.ended(submitted["request_id"])
    result = client.result(submitted["request_id"]).json()
    assert "images" not in result
    assert result["output"].startswith("http://localhost:")
    assert client.get(result["output"]).content == placeholder_image(body())
    assert api.stats()["files_with_key"] == 1  # this client sent its key along: a test can see that


def test_each_accepted_post_is_a_new_job(start):
    api, client = start()
    assert client.submit() != client.submit()
    stats = api.stats()
    assert stats["accepted"] == 2
    assert list(stats["accepted_by_body"].values()) == [2]
    assert stats["accepted_by_prompt"] == {"Apply oak": 2}


def test_what_was_polled_is_counted_by_request(start):
    api, client = start()
    first, second = client.submit(), client.submit()
    client.ended(second)
    before = api.stats()["polls"].get(first, 0)
    for _ in range(3):
        client.status(first)
    assert api.stats()["polls"][first] == before + 3
    assert api.stats()["polls"][second] >= 1


def test_states_over_time_with_a_bounded_number_of_workers(start):
    api, client = start(latency="fixed", latency_s=0.2, workers=1)
    first, second = client.submit(), client.submit()
    wait_until(lambda: client.status(first).json()["status"] == "PROCESSING")
    queued = client.status(second).json()
    assert (queued["status"], queued["metrics"]) == ("QUEUED", {})
    assert client.result(second).json() == {"status": "QUEUED", "metrics": {}}
    metrics = client.ended(second).json()["metrics"]
    assert metrics["queue_time"] > 0.07
    assert metrics["inference_time"] >= 0.2
    assert api.stats()["most_in_flight"] == 2


def test_a_cold_worker_keeps_its_first_job_in_the_queue(start):
    _, client = start(workers=1, cold_start_s=0.2)
    times = [client.ended(client.submit()).json()["metrics"]["queue_time"] for _ in range(2)]
    assert times[0] >= 0.2
    assert times[1] < 0.1


def test_a_failed_job_is_422_on_both_polls_and_costs_nothing(start):
    api, client = start(blocked_words=["gun"])
    request_id = client.submit("a gun")
    for answer in (client.ended(request_id), client.result(request_id)):
        assert answer.status_code == 422
        assert answer.json()["status"] == "FAILED"
        assert answer.json()["error"].startswith("Content blocked")
        assert not {"cost", "remaining_credits"} & set(answer.json()["metrics"])
    assert api.stats()["billed_micro_usd"] == 0
    assert client.get("/v1/get-user-credits").json() == {"credits": 1000.0, "free-credits": 0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": " "}, "prompt: must not be empty"),
        (
            {"image_1": "{base}/files/assets/none.jpg"},
            "image_1: could not be fetched: the server answered 404",
        ),
    ],
)
def test_what_the_job_cannot_use_fails_it(start, change, reason):
    api, client = start()
    change = {name: value.replace("{base}", api.base_url) for name, value in change.items()}
    assert client.ended(client.submit(**change)).json()["error"] == reason


def test_jobs_fail_at_the_rate_that_is_set(start):
    api, client = start(failure_rate=0.5, workers=8)
    for _ in range(40):
        client.submit()
    states = wait_until(lambda: (s := api.stats(jobs=False))["in_flight"] == 0 and s["states"])
    assert 8 < states["FAILED"] < 32


def test_v1_blocks_and_answers_the_image(start):
    _, client = start(latency="fixed", latency_s=0.1)
    answer = client.post(f"/v1/{MODEL}", json=body(seed=-1))
    assert answer.content == placeholder_image(body(seed=-1))
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-cost"] == "0.030000"
    assert answer.headers["x-remaining-credits"] == "999.970000"
    assert float(answer.headers["x-generation-time"]) >= 0.1
    assert 0 <= int(answer.headers["x-seed-value"]) < 2**31
    assert client.status(answer.headers["x-request-id"]).json()["status"] == "COMPLETED"
    failed = client.post(f"/v1/{MODEL}", json=body(""))
    assert (failed.status_code, failed.json()) == (422, {"error": "prompt: must not be empty"})


def test_a_record_lives_an_hour_and_its_file_longer(start):
    api, client = start()
    request_id = client.submit()
    client.ended(request_id)
    output = client.result(request_id).json()["output"]
    api.settings(record_lifetime_s=0)
    for answer in (client.status(request_id), client.result(request_id)):
        assert (answer.status_code, answer.json()) == (404, {"error": "Request not found or expired"})
    assert get(output).status_code == 200
    row = client.get(f"/inference-request/request-history/{request_id}").json()
    assert row["generation_url"] == output
    api.settings(output_lifetime_s=0)
    gone = get(output)
    assert (gone.status_code, gone.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_several_files_are_uploaded_in_one_call_and_can_be_named_as_images(start):
    api, client = start()
    urls = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in (b"one", b"two", b"one")]
    answer = client.post("/upload-asset", json={"data_urls": urls}).json()
    assert len(set(answer["file_urls"])) == 3
    assert answer["message"]
    assert [get(url).content for url in answer["file_urls"]] == [b"one", b"two", b"one"]
    assert sorted(api.stats()["uploaded"].values()) == [1, 2]
    assert client.ended(client.submit(image_1=answer["file_urls"][0])).json()["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "payload",
    [{}, {"data_urls": []}, {"data_urls": ["http://e.com/x"]}, {"data_urls": [7]}, {"data_urls": "x"}],
)
def test_a_bad_upload_is_malformed(start, payload):
    _, client = start()
    answer = client.post("/upload-asset", json=payload)
    assert answer.status_code == 400
    assert "data_urls" in answer.json()["error"]


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({}, "Missing Authorization or x-api-key in header"),
        ({"x-api-key": "SG_wrong"}, "Invalid API key"),
        ({"authorization": "Bearer {key}"}, "Invalid API key"),
    ],
)
@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", SUBMIT),
        ("POST", f"/v1/{MODEL}"),
        ("GET", "/v2/requests/x/status"),
        ("GET", "/v2/requests/x"),
        ("GET", "/v1/get-user-credits"),
        ("POST", "/upload-asset"),
        ("GET", "/inference-request/request-history"),
        ("GET", "/_local/stats"),
        ("POST", "/_local/settings"),
        ("POST", "/_local/faults"),
    ],
)
def test_without_the_key_every_api_call_is_refused(shared, verb, path, headers, text):
    headers = {name: value.replace("{key}", shared.api_key) for name, value in headers.items()}
    answer = httpx.request(
        verb, shared.base_url + path, headers=headers, json=body() if verb == "POST" else None
    )
    assert answer.status_code == 401
    assert answer.json() == {"error": "unauthorized", "error_description": text, "status_code": 401}


@pytest.fixture(scope="module")
def shared():
    with LocalApi(engine="placeholder") as api:
        yield api


def test_a_wrong_verb_is_405_in_html(start):
    _, client = start()
    for answer in (client.get(SUBMIT), client.post("/v2/requests/x/status"), client.delete("/upload-asset")):
        assert answer.status_code == 405
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.headers["allow"] in ("POST", "GET")


@pytest.mark.parametrize(
    ("settings", "status", "text"),
    [
        pytest.param({"balance_usd": 0.02}, 406, "Insufficient credits", id="credits below the price"),
        pytest.param({"spend_limit_usd": 0.02}, 406, "Team spend limit", id="team limit"),
        pytest.param({"retired_models": [MODEL]}, 410, "retired", id="retired"),
        pytest.param({"forbidden_models": [MODEL]}, 403, "access", id="forbidden"),
    ],
)
def test_the_account_or_the_model_can_refuse_a_submit(start, settings, status, text):
    api, client = start()
    api.settings(**settings)
    answer = client.post(SUBMIT, json=body())
    assert answer.status_code == status
    assert text in answer.json()["error"]
    assert api.stats()["accepted"] == 0


def test_requests_that_are_malformed_are_refused_by_kind(start):
    api, client = start()
    text = {"content-type": "text/plain"}
    assert client.post(SUBMIT, content=b"{}", headers=text).status_code == 406
    assert client.post(SUBMIT, content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert client.post(SUBMIT, json={}).status_code == 400
    assert client.post(SUBMIT, json=body(aspect_ratio="7:3")).status_code == 406
    assert client.post(SUBMIT, json=body(quality=0)).status_code == 422
    assert client.post("/v2/some-other-model", json=body()).status_code == 404
    assert client.get("/nowhere").status_code == 404
    assert api.stats()["accepted"] == 0


def test_money_is_exact_over_many_jobs(start):
    """0.1 USD three times, then the balance is below the price: floats would say otherwise."""
    api, client = start(price_usd=0.1, balance_usd=0.3)
    for _ in range(3):
        client.ended(client.submit())
    assert client.get("/v1/get-user-credits").json()["credits"] == 0
    assert client.post(SUBMIT, json=body()).status_code == 406
    assert api.stats()["billed_micro_usd"] == 300_000
