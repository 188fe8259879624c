"""Around the contract: windows of the rate limit, what repeats under a seed, the controls, bounds, the description."""

import email.utils
import io
import time
from datetime import UTC, datetime

import httpx
import pytest
from local_helpers import SUBMIT, body, get
from PIL import Image

from batch.core.parameters import MODEL, PARAMETERS
from batch.server import LocalError
from batch.server.http.app import routes


@pytest.mark.parametrize("style", ["iso_z", "iso", "space", "epoch", "none"])
def test_a_429_tells_the_end_of_its_window(start, style):
    api, client = start(rate_limit=2, rate_window_s=30, reset_header=style, clock_skew_s=-500)
    answers = [client.post(SUBMIT, json=body()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-rate-limit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert "retry-after" not in answers[2].headers
    told = answers[2].headers.get("x-rate-limit-reset-at-utc")
    date = email.utils.parsedate_to_datetime(answers[2].headers["date"]).timestamp()
    assert abs(date + 500 - time.time()) < 2
    if style == "none":
        assert told is None
    else:
        at = float(told) if style == "epoch" else datetime.fromisoformat(told).replace(tzinfo=UTC).timestamp()
        assert 27 < at - date < 32  # skewed with the Date, so the difference is right
    assert client.get("/v1/get-user-credits").status_code == 200  # only submits count
    assert api.stats()["http_429"] == 1


def test_all_calls_can_count_against_the_limit_but_files_and_controls(start):
    api, client = start(rate_limit=3, rate_counts="all", rate_window_s=60)
    request_id = client.submit()
    client.status(request_id)
    output = client.result(request_id).json().get("output")
    assert client.get("/v1/get-user-credits").status_code == 429
    assert output is None or get(output).status_code == 200
    api.settings(rate_limit=0)
    assert client.get("/v1/get-user-credits").status_code == 200


def test_the_history_finds_a_job_by_its_body(start):
    _, client = start()
    request_id = client.submit(seed=5)
    client.ended(request_id)
    client.submit("other")
    rows = client.get("/inference-request/request-history", params={"per_page": 100}).json()["data"]
    assert [row["request_id"] for row in rows if row["request_body"] == body(seed=5)] == [request_id]
    assert client.get("/inference-request/request-history", params={"per_page": 101}).status_code == 400


def test_ids_seeds_and_costs_repeat_under_a_seed(start):
    seen = []
    for _ in range(2):
        api, client = start(seed=42, price_spread=0.5)
        for _ in range(3):
            client.ended(client.submit(seed=-1))
        seen.append(
            [
                (job["request_id"], job["cost_usd"], client.result(job["request_id"]).json()["seed"])
                for job in api.stats()["jobs"]
            ]
        )
    assert seen[0] == seen[1]
    assert len({cost for _, cost, _ in seen[0]}) == 3


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", ""])
def test_another_host_name_is_refused(start, host):
    """A page that rebinds its name to this machine gets nothing, not even a file."""
    _, client = start()
    for path in ("/v1/get-user-credits", "/files/assets/x", "/openapi.json"):
        assert client.get(path, headers={"host": host}).status_code in (400, 421)
    assert client.get("/v1/get-user-credits", headers={"host": "localhost"}).status_code == 200


def test_a_setting_that_makes_no_sense_changes_nothing(start):
    api, _ = start()
    for change, text in (
        ({"port": 1}, "cannot change"),
        ({"prise_usd": 1}, "price_usd"),
        ({"rate_limit": -1}, "range"),
    ):
        with pytest.raises(LocalError, match=text):
            api.settings(**change)
    with pytest.raises(LocalError, match=r"faults\[0\].action"):
        api.faults([{"call": "submit"}])
    assert api.settings()["price_usd"] == 0.03


def test_a_body_beyond_the_bound_is_refused(start, monkeypatch):
    monkeypatch.setattr("batch.server.serving.MAX_BODY_BYTES", 1000)
    api, client = start()
    answer = client.post(SUBMIT, json=body("x" * 1000))
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert api.stats()["accepted"] == 0


def test_every_format_of_a_card_decodes(start):
    _, client = start()
    for image_format in ("jpeg", "png", "webp"):
        request_id = client.submit(image_format=image_format)
        client.ended(request_id)
        image = get(client.result(request_id).json()["output"])
        assert image.headers["content-type"] == f"image/{image_format}"
        with Image.open(io.BytesIO(image.content)) as opened:
            assert opened.format == image_format.upper()


def test_the_description_names_every_route_and_parameter(start):
    """It is made from the tables the server runs on, and needs no key."""
    api, _ = start()
    described = get(f"{api.base_url}/openapi.json").json()
    paths = {path for path, *_ in routes(None) if path != "/openapi.json"}
    assert {path.replace(MODEL, "{model}") for path in described["paths"]} == paths
    inputs = described["components"]["schemas"]["Inputs"]["properties"]
    assert list(inputs) == [parameter.name for parameter in PARAMETERS]
    assert inputs["quality"] == {
        "type": "integer",
        "default": 95,
        "description": "Encoder quality.",
        "minimum": 1,
        "maximum": 100,
    }


def test_answers_are_as_described(start):
    """One of each kind; test_local_schemathesis.py draws hundreds of requests with `-m slow`."""
    api, client = start()
    described = get(f"{api.base_url}/openapi.json").json()
    request_id = client.submit()
    client.ended(request_id)
    of_a_job = ("/v2/requests/{request_id}/status", "/v2/requests/{request_id}", "/v1/requests/{request_id}")
    history = "/inference-request/request-history"
    answers = [(path, "get", client.get(path.format(request_id=request_id))) for path in of_a_job]
    answers += [(path, "get", client.get(path.format(request_id="unknown"))) for path in of_a_job]
    answers += [
        (path, "get", client.get(path)) for path in ("/v1/get-user-credits", history, "/_local/stats")
    ]
    answers += [(SUBMIT, "post", client.post(SUBMIT, json=body(**more))) for more in ({}, {"seed": "x"})]
    answers += [(SUBMIT, "post", httpx.post(f"{api.base_url}{SUBMIT}", json=body(), verify=False))]
    assert [answer.status_code for *_, answer in answers] == [200] * 3 + [404] * 3 + [200] * 4 + [422, 401]
    for path, method, answer in answers:
        content = described["paths"][path][method]["responses"][str(answer.status_code)]["content"]
        schema = content["application/json"]["schema"]
        while "$ref" in schema:
            schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        for choice in schema.get("anyOf", schema.get("oneOf", [schema]))[:1]:
            assert set(choice["required"]) <= set(answer.json()) <= set(choice["properties"]), path


def test_a_rotated_key_belongs_to_the_same_account(local_api):
    """The old key is refused from then on, the history still lists what was asked for with it."""
    old = local_api.api_key
    job = httpx.post(
        f"{local_api.base_url}/v2/{MODEL}", json={"prompt": "oak"}, headers={"x-api-key": old}
    ).json()
    local_api.settings(api_key="SG_rotated")
    listed = f"{local_api.base_url}/inference-request/request-history/{job['request_id']}"
    assert get(listed, headers={"x-api-key": old}).status_code == 401
    assert get(listed, headers={"x-api-key": local_api.api_key}).json()["request_id"] == job["request_id"]
