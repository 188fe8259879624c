"""A thousand jobs in flight, and how many status answers a second one server gives."""

import json
import socket
import time
from urllib.parse import urlsplit

import pytest
from local_helpers import SUBMIT, body

from batch.local import LocalProcess

JOBS = 1000


class Line:
    """One kept connection, as thin as a client can be: it must not be what is measured."""

    def __init__(self, api):
        self.sock = socket.create_connection(("127.0.0.1", urlsplit(api.base_url).port), timeout=10)
        self.key = api.api_key

    def call(self, method, path, payload=b""):
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {self.key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        self.sock.sendall(head.encode() + payload)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.sock.recv(65_536)
        head, _, answer = received.partition(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(answer) < length:
            answer += self.sock.recv(65_536)
        return json.loads(answer)


@pytest.mark.benchmark
def test_a_thousand_jobs_in_flight_are_polled_a_thousand_times_a_second(capsys):
    with LocalProcess(engine="card", latency="fixed", latency_s=600, workers=JOBS) as api:
        line = Line(api)
        bodies = [json.dumps(body(f"row {n}")).encode() for n in range(JOBS)]
        began = time.perf_counter()
        ids = [line.call("POST", SUBMIT, payload)["request_id"] for payload in bodies]
        submits = JOBS / (time.perf_counter() - began)
        began = time.perf_counter()
        states = {line.call("GET", f"/v2/requests/{each}/status")["status"] for each in ids * 3}
        polls = 3 * JOBS / (time.perf_counter() - began)
        line.sock.close()
        assert states == {"PROCESSING"}
        assert api.stats(jobs=False)["in_flight"] == JOBS
    with capsys.disabled():
        print(f"\nsubmits/s {submits:.0f}, status answers/s {polls:.0f}")  # noqa: T201  its purpose
    assert polls > 1000
