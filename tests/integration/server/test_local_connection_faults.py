"""Every fault on a real socket: what the client sees, and whether the call was handled."""

import email.utils
import json
import socket
import threading
import time
from datetime import datetime
from urllib.parse import urlsplit

import httpx
import pytest
from local_helpers import SUBMIT, body, get, wait_until


def talk(api, path=SUBMIT, method="POST", payload=None, read_s=60.0):
    """Send one raw request; give (bytes received, how it ended: "fin", "rst" or "open")."""
    content = json.dumps(payload if payload is not None else body()).encode() if method == "POST" else b""
    head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {api.api_key}\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", urlsplit(api.base_url).port), timeout=read_s) as sock:
        sock.sendall(head.encode() + content)
        try:
            while piece := sock.recv(65_536):
                received += piece
        except ConnectionResetError:
            return received, "rst"
        except TimeoutError:
            return received, "open"
        return received, "fin"


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("fault", "received", "end", "accepted"),
    [
        pytest.param({"action": "reset_before"}, b"", "rst", 0, id="RST before"),
        pytest.param({"action": "reset_after"}, b"", "rst", 1, id="RST after"),
        pytest.param({"action": "reset_after", "handled": False}, b"", "rst", 0, id="RST, not handled"),
        pytest.param({"action": "fin_after"}, b"", "fin", 1, id="FIN after"),
        pytest.param(
            {"action": "half_head"}, b"HTTP/1.1 200 OK\r\ncontent-type: applic", "fin", 1, id="half a head"
        ),
        pytest.param({"action": "no_answer"}, b"", "open", 1, id="no answer"),
        pytest.param({"action": "no_answer", "handled": False}, b"", "open", 0, id="no answer, not handled"),
    ],
)
def test_a_submit_without_an_answer(start, fault, received, end, accepted):
    """The client cannot tell whether it was accepted; the server can, and its next call is answered as ever."""
    api, client = start()
    api.faults([{"call": "submit", "nth": 1, **fault}])
    assert talk(api, read_s=0.3 if end == "open" else 60.0) == (received, end)
    wait_until(lambda: sum(api.stats(jobs=False)["faults"].values()) == 1)
    stats = api.stats()
    assert stats["accepted"] == accepted
    assert [job["fault"] for job in stats["jobs"]] == [fault["action"]] * accepted
    said = "handled" if accepted else "not handled"
    assert stats["faults"] == {f"submit {fault['action']} {said}": 1}
    assert client.submit()
    assert api.stats()["accepted"] == accepted + 1


def test_a_client_that_goes_within_its_body_is_no_error_of_the_server(start, caplog):
    """A run that is interrupted in an upload prints nothing but its own messages."""
    api, _ = start()
    head = (
        f"POST {SUBMIT} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {api.api_key}\r\ncontent-length: 9\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(api.base_url).port), timeout=60) as sock:
        sock.sendall(head.encode() + b"{")
        wait_until(lambda: api.stats()["calls"]["submit"] == 1)
    api.close()
    assert caplog.records == []


def test_a_reset_while_the_client_reuses_a_connection(start):
    """The second POST on one connection is cut; httpx sees what production would show."""
    api, client = start()
    api.faults([{"call": "submit", "action": "reset_after", "nth": 2}])
    client.submit()
    with pytest.raises(httpx.TransportError):
        client.submit()
    assert api.stats()["accepted"] == 2


def test_a_hanging_call_ends_with_its_client_or_with_the_server(start):
    api, client = start()
    api.faults([{"call": "status", "action": "no_answer"}])
    with pytest.raises(httpx.ReadTimeout):
        client.get("/v2/requests/x/status", timeout=httpx.Timeout(60.0, read=0.1))
    hanging = threading.Thread(target=talk, args=(api, "/v2/requests/x/status", "GET"))
    hanging.start()
    wait_until(lambda: api.stats()["calls"]["status"] == 2)
    began = time.monotonic()
    client.close()
    api.close()
    hanging.join()
    assert time.monotonic() - began < 30  # it would read for a minute


def test_a_late_answer_is_still_accepted_when_its_client_has_gone(start):
    """The gateway takes the job after the client gave up: the worst case for a reconciler."""
    api, client = start()
    api.faults([{"call": "submit", "action": "delay", "before_s": 0.3}])
    with pytest.raises(httpx.ReadTimeout):
        client.post(SUBMIT, json=body(), timeout=httpx.Timeout(60.0, read=0.05))
    assert api.stats()["accepted"] == 0
    wait_until(lambda: api.stats()["accepted"] == 1)


def test_a_slow_answer_comes_after_its_job_was_accepted(start):
    api, client = start()
    api.faults([{"call": "submit", "action": "delay", "after_s": 0.2}])
    began = time.monotonic()
    assert client.post(SUBMIT, json=body()).status_code == 200
    assert time.monotonic() - began >= 0.2


@pytest.mark.quick(5)
@pytest.mark.parametrize(
    ("name", "status", "content_type", "part"),
    [
        ("missing_key", 401, "application/json", "Missing Authorization or x-api-key in header"),
        ("wrong_key", 401, "application/json", "Invalid API key"),
        ("forbidden", 403, "application/json", "error"),
        ("unknown_model", 404, "application/json", "error"),
        ("content_type", 406, "application/json", "Content-Type"),
        ("insufficient_credits", 406, "application/json", "Insufficient credits"),
        ("parameter", 406, "application/json", "parameter"),
        ("spend_limit", 406, "application/json", "spend limit"),
        ("retired", 410, "application/json", "retired"),
        ("rate_limit", 429, "application/json", "Rate limit"),
        ("internal", 500, "application/json", "Internal server error"),
        ("bad_gateway", 502, "text/html; charset=utf-8", "<h1>502"),
        ("unavailable", 503, "text/html; charset=utf-8", "<h1>503"),
        ("gateway_timeout", 504, "text/html; charset=utf-8", "<h1>504"),
    ],
)
def test_every_text_of_the_vendor_can_be_asked_for(start, name, status, content_type, part):
    api, client = start()
    api.faults([{"call": "submit", "action": "status", "text": name}])
    answer = client.post(SUBMIT, json=body())
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert part in answer.text
    assert api.stats()["accepted"] == 0


def test_a_gateway_error_can_hide_an_accepted_job(start):
    api, client = start()
    api.faults([{"call": "submit", "action": "status", "text": "bad_gateway", "handled": True}])
    assert client.post(SUBMIT, json=body()).status_code == 502
    assert api.stats()["accepted"] == 1


def test_any_status_with_any_body_and_headers(start):
    api, client = start()
    api.faults(
        [
            {
                "call": "status",
                "action": "status",
                "status": 302,
                "headers": {"location": "https://e.com/"},
                "nth": 1,
            },
            {"call": "status", "action": "status", "status": 418, "body": {"tea": 1}, "nth": 2},
            {"call": "status", "action": "status", "status": 200, "body": "<html>maintenance", "nth": 3},
        ]
    )
    answers = [client.status("x") for _ in range(3)]
    assert answers[0].headers["location"] == "https://e.com/"
    assert (answers[1].status_code, answers[1].json()) == (418, {"tea": 1})
    assert answers[2].headers["content-type"].startswith("text/html")
    assert client.status("x").status_code == 404


def test_a_429_from_a_skewed_clock_is_skewed_in_date_and_reset_alike(start):
    api, client = start()
    fault = {"call": "submit", "action": "status", "text": "rate_limit", "reset_in_s": 7, "skew_s": -3600}
    api.faults([fault])
    answer = client.post(SUBMIT, json=body())
    date = email.utils.parsedate_to_datetime(answer.headers["date"])
    assert abs(date.timestamp() - (time.time() - 3600)) < 2
    reset = datetime.fromisoformat(answer.headers["x-rate-limit-reset-at-utc"])
    assert 6 <= (reset - date).total_seconds() <= 9
    api.faults([{**fault, "reset_header": "none"}])
    assert "x-rate-limit-reset-at-utc" not in client.post(SUBMIT, json=body()).headers
    assert api.stats()["http_429"] == 2


def test_answers_that_are_no_json(start):
    api, client = start()
    api.faults(
        [{"call": "submit", "action": "garbage", "nth": 1}, {"call": "submit", "action": "empty", "nth": 2}]
    )
    for _ in range(2):
        answer = client.post(SUBMIT, json=body())
        assert answer.status_code == 200
        with pytest.raises(ValueError):  # noqa: PT011  whatever the decoder calls it
            answer.json()
    assert api.stats()["accepted"] == 2


def test_a_truncated_answer_ends_before_its_length(start):
    api, client = start()
    request_id = client.submit()
    client.ended(request_id)
    output = client.result(request_id).json()["output"]
    api.faults([{"call": "image", "action": "truncated", "nth": 1}])
    with pytest.raises(httpx.RemoteProtocolError):
        get(output)
    assert get(output).status_code == 200
    api.faults([{"call": "result", "action": "truncated"}])
    received, end = talk(api, f"/v2/requests/{request_id}", "GET")
    head, _, rest = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert (len(rest), end) == (length // 2, "fin")


def test_an_endless_answer_is_bounded_and_ends_with_its_client(start):
    api, client = start()
    api.faults([{"call": "status", "action": "endless", "nth": 1, "size_bytes": 300_000}])
    received, end = talk(api, "/v2/requests/x/status", "GET")
    assert 300_000 <= len(received) < 301_000
    assert end == "fin"
    api.faults([{"call": "status", "action": "endless", "pace_s": 0.01}])
    with client.stream("GET", "/v2/requests/x/status") as answer:
        assert next(answer.iter_raw())
    wait_until(lambda: api.stats()["answers"].get("status 200") == 2)


def test_a_huge_answer_is_valid_json_around_the_true_one(start):
    api, client = start()
    request_id = client.submit()
    api.faults([{"call": "status", "action": "huge"}])
    answer = client.status(request_id)
    assert len(answer.content) == 30_000_000
    assert answer.json()["request_id"] == request_id


def test_faults_know_the_prompt_behind_each_call(start):
    """Status, result and image calls belong to the prompt of their job."""
    api, client = start()
    ids = {prompt: client.submit(prompt) for prompt in ("chair", "sofa")}
    outputs = {}
    for prompt, request_id in ids.items():
        client.ended(request_id)
        outputs[prompt] = client.result(request_id).json()["output"]
    api.faults(
        [
            {"call": call, "action": "status", "status": 503, "prompt": "sof"}
            for call in ("submit", "status", "result", "image")
        ]
    )
    for prompt, expected in (("chair", 200), ("sofa", 503)):
        assert client.post(SUBMIT, json=body(prompt)).status_code == expected
        assert client.status(ids[prompt]).status_code == expected
        assert client.result(ids[prompt]).status_code == expected
        assert get(outputs[prompt]).status_code == expected


@pytest.mark.parametrize(
    ("call", "verb", "path"),
    [
        ("upload", "POST", "/upload-asset"),
        ("credits", "GET", "/v1/get-user-credits"),
        ("history", "GET", "/inference-request/request-history"),
        ("history", "GET", "/inference-request/request-history/x"),
    ],
)
def test_the_other_hosts_have_faults_too(start, call, verb, path):
    api, client = start()
    api.faults([{"call": call, "action": "reset_before"}])
    assert talk(api, path, verb, {"data_urls": []}) == (b"", "rst")
    api.faults([])
    assert client.request(verb, path, json={"data_urls": []}).status_code in {200, 400, 404}


def test_faults_can_come_from_a_yaml_file(start, tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("- {call: submit, action: status, text: unavailable, first: 1}\n")
    _, client = start(faults_file=str(path), faults=[{"call": "submit", "action": "garbage", "nth": 2}])
    codes = [client.post(SUBMIT, json=body()) for _ in range(3)]
    assert [answer.status_code for answer in codes] == [503, 200, 200]
    assert b"neither" in codes[1].content


def test_every_answer_has_a_date(start):
    api, client = start()
    api.faults([{"call": "credits", "action": "empty"}])
    for path in ("/v1/get-user-credits", "/nowhere", "/v2/requests/x", "/files/assets/x"):
        assert "date" in client.get(path).headers
