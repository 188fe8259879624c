"""What the contract says once, held on both versions of the inference call; and what no request may do to the server."""

from __future__ import annotations

import json
import time

import pytest
from local_helpers import CHAIR, OAK, SUBMIT, Client, body, data_url, get, wait_until

from batch.core.parameters import MODEL
from batch.server import LocalApi

VERSIONS = pytest.mark.parametrize("version", ["v1", "v2"])
JSON = {"content-type": "application/json"}
HISTORY = "/inference-request/request-history"


@VERSIONS
def test_the_four_kinds_of_406_are_told_apart_by_their_texts(start, version):
    api, client = start()
    path = f"/{version}/{MODEL}"
    texts = [
        client.post(path, content=json.dumps(body()), headers={"content-type": "text/plain"}),
        client.post(path, json=body(lora="other")),
    ]
    api.settings(balance_usd=0.029)
    texts.append(client.post(path, json=body()))
    api.settings(balance_usd=10, spend_limit_usd=0.029)
    texts.append(client.post(path, json=body()))
    assert [answer.status_code for answer in texts] == [406] * 4
    words = ("Content-Type", "parameter: lora", "Insufficient credits", "spend limit")
    for answer, word in zip(texts, words, strict=True):
        assert [other in answer.json()["error"] for other in words].count(True) == 1
        assert word in answer.json()["error"]
    assert api.stats()["accepted"] == 0


@VERSIONS
def test_models_can_be_unknown_forbidden_and_retired(start, version):
    api, client = start(retired_models=["old-model"], forbidden_models=["dear-model"])
    for model, status in (("other", 404), ("dear-model", 403), ("old-model", 410), (MODEL, 200)):
        answer = client.post(f"/{version}/{model}", json=body())
        assert answer.status_code == status
        if status != 200:
            assert list(answer.json()) == ["error"]
    assert api.stats()["accepted"] == 1


def test_the_v1_poll_url_says_what_the_result_says(start):
    """Queued, done, failed, expired, unknown."""
    api, client = start(workers=1, latency="fixed", latency_s=0.15)
    done, failed = client.submit(), client.submit("")
    for request_id in (done, failed, "unknown"):
        one, two = client.get(f"/v1/requests/{request_id}"), client.result(request_id)
        assert one.status_code == two.status_code
        assert one.json().get("status") == two.json().get("status")
    assert client.ended(done).status_code == 200
    assert client.ended(failed).status_code == 422
    assert client.get(f"/v1/requests/{done}").json() == client.result(done).json()
    assert client.get(f"/v1/requests/{failed}").json()["error"] == "prompt: must not be empty"
    api.settings(record_lifetime_s=0)
    assert client.get(f"/v1/requests/{done}").status_code == 404


def test_windows_can_count_every_call_with_a_key(start):
    """Uploads, credits and history too; files and the controls never."""
    api, client = start(rate_limit=4, rate_counts="all", rate_window_s=0.6)
    began = time.monotonic()
    calls = [
        client.get("/v1/get-user-credits"),
        client.get(HISTORY),
        client.post("/upload-asset", json={"data_urls": [data_url(OAK)]}),
        client.post(SUBMIT, json=body()),
        client.get("/v2/requests/x/status"),
    ]
    assert [answer.status_code for answer in calls] == [200, 200, 200, 200, 429]
    assert get(calls[2].json()["file_urls"][0]).status_code == 200
    assert api.stats()["http_429"] == 1
    answer = wait_until(lambda: (last := client.get("/v1/get-user-credits")).status_code == 200 and last)
    assert time.monotonic() - began >= 0.55  # the window runs from its first call
    assert answer.headers["x-rate-limit-remaining"] == "3"


@pytest.mark.slow
def test_a_seeded_server_draws_the_same_images_again():
    """Seed -1 draws a seed, the seed draws the image: two servers give the same bytes for the same job."""
    seen = []
    for _ in range(2):
        with LocalApi(seed=11) as api, Client(api) as client:
            request_id = client.submit(
                seed=-1, image_1=data_url(CHAIR), image_2=data_url(OAK), image_format="jpeg"
            )
            client.ended(request_id)
            result = client.result(request_id).json()
            seen.append((request_id, result["seed"], get(result["output"]).content))
    assert seen[0] == seen[1]


def test_a_server_in_a_thread_is_up_in_under_a_second():
    began = time.process_time()  # others may have the machine
    with LocalApi(engine="placeholder") as api:
        assert get(f"{api.base_url}/openapi.json").status_code == 200
        assert time.process_time() - began < 1


@VERSIONS
def test_whole_numbers_may_be_written_with_a_point(start, version):
    """To JSON Schema 7.0 is an integer."""
    api, client = start()
    answer = client.post(f"/{version}/{MODEL}", content=b'{"prompt": "x", "seed": 7.0}', headers=JSON)
    assert answer.status_code == 200
    request_id = answer.headers.get("x-request-id") or answer.json()["request_id"]
    client.ended(request_id)
    assert repr(client.result(request_id).json()["seed"]) == "7"
    assert client.post(SUBMIT, content=b'{"prompt": "x", "seed": 7.5}', headers=JSON).status_code == 422
    assert api.stats()["accepted"] == 1


NESTED = b'{"prompt": "x", "more": ' + b"[" * 971 + b"]" * 971 + b"}"


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    ("verb", "path", "content"),
    [
        pytest.param("POST", SUBMIT, NESTED, id="read, but too deep to be written"),
        pytest.param("POST", SUBMIT, b'{"prompt": "x", "more": 1e999}', id="beyond a double"),
        pytest.param("POST", SUBMIT, b'{"prompt": "\\ud800"}', id="half a surrogate pair"),
        pytest.param("POST", SUBMIT, b'{"prompt": "x", "seed": 1e300}', id="a huge whole number"),
        pytest.param("POST", "/upload-asset", b'{"data_urls": [[]]}', id="a list for a URL"),
        pytest.param("GET", f"{HISTORY}?page={'1' * 5000}", b"", id="a page of 5,000 digits"),
        pytest.param("GET", f"{HISTORY}?per_page=%D9%A3", b"", id="digits of another script"),
        pytest.param("GET", f"{HISTORY}?from_date=2026-W01-1", b"", id="a week for a day"),
        pytest.param("POST", "/_local/settings", b'{"cold_after_s": 1%s}' % (b"0" * 400), id="10^400 s"),
        pytest.param("POST", "/_local/settings", b'{"poll_base_url": "\\ud800"}', id="surrogate in a URL"),
        pytest.param("POST", "/_local/faults", NESTED, id="deep faults"),
        pytest.param("POST", "/_local/faults", b'[{"call": "submit", "action": []}]', id="a list for a word"),
        pytest.param(
            "POST",
            "/_local/faults",
            b'[{"call": "submit", "action": "status", "status": 200, "headers": {"a": "b\\r\\nc: d"}}]',
            id="a header that splits",
        ),
    ],
)
def test_a_hostile_request_is_refused_and_breaks_nothing(start, verb, path, content):
    """Each of these was once answered with a 500, then or by a later call."""
    _, client = start()
    assert client.request(verb, path, content=content, headers=JSON).status_code in (400, 422)
    for later in (HISTORY, "/_local/stats", "/_local/settings", "/_local/faults"):
        assert client.get(later).status_code == 200


def test_the_first_day_of_the_calendar_is_a_day(start):
    _, client = start()
    assert client.get(HISTORY, params={"to_date": "0001-01-01"}).status_code == 200
