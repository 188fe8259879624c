"""The local server under load: status answers a second, and how long one takes while every core makes pictures.

Machines differ, and may be busy: answers are counted per second of CPU that the server's thread took, beside a bare
aiohttp route in the same process, driven over one kept connection alike. Times on the wall are printed, and asserted against the idle ones of the same run.
Run: pytest -n 0 -m benchmark tests/benchmarks/test_local_speed.py
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import statistics
import threading
import time
from concurrent.futures import Future
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from tiers import size

from batch.core.parameters import MODEL
from batch.server import LocalApi, LocalProcess
from batch.server.subprocesses import ROOT

pytestmark = pytest.mark.benchmark

JOBS = size(1000)
PICTURES = (ROOT / "samples/products/armchair.jpg", ROOT / "samples/textures/oak.jpg")


class Line:
    """One kept connection, as thin as a client can be: it must not be what is measured."""

    def __init__(self, port, key=""):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.key = key

    def call(self, method, path, payload=b""):
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {self.key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        self.sock.sendall(head.encode() + payload)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, answer = received.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(answer) < length:
            answer += self._more()
        return json.loads(answer)

    def _more(self):
        piece = self.sock.recv(65_536)
        assert piece, "the server closed the connection"
        return piece

    def status(self, request_id):
        return self.call("GET", f"/v2/requests/{request_id}/status")["status"]


@contextlib.contextmanager
def connected(port, key=""):
    line = Line(port, key)
    with line.sock:
        yield line


def port_of(api):
    return urlsplit(api.base_url).port


async def bare_status(request):
    request_id = request.match_info["request_id"]
    return web.json_response(
        {"status": "PROCESSING", "request_id": request_id, "metrics": {"retry_count": 0}}
    )


@pytest.fixture
def bare():
    """An aiohttp application with one route that looks nothing up: as quick as it can get."""

    async def serve(up, stop):
        app = web.Application()
        app.router.add_get("/v2/requests/{request_id}/status", bare_status)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=60, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        up.set_result((runner.addresses[0][1], asyncio.get_running_loop()))
        await stop.wait()
        await runner.cleanup()

    up, stop = Future(), asyncio.Event()
    thread = threading.Thread(target=asyncio.run, args=(serve(up, stop),))
    thread.start()
    port, loop = up.result()
    with connected(port) as line:
        yield line
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def submitted(line, count):
    bodies = [
        {"prompt": f"row {n}", "image_1": "https://e.com/1", "image_2": "https://e.com/2"}
        for n in range(count)
    ]
    return [line.call("POST", f"/v2/{MODEL}", json.dumps(body).encode())["request_id"] for body in bodies]


def rate(line, ids, rounds=3):
    """Status answers a second of server CPU, and a second on the wall; nothing else runs in this process."""
    wall, others = time.perf_counter(), time.process_time() - time.thread_time()
    for request_id in ids * rounds:
        line.status(request_id)
    cpu = time.process_time() - time.thread_time() - others
    return rounds * len(ids) / cpu, rounds * len(ids) / (time.perf_counter() - wall)


@pytest.mark.parametrize(
    ("latency_s", "state"),
    [pytest.param(600, "PROCESSING", id="in flight"), pytest.param(0, "COMPLETED", id="done")],
)
def test_a_thousand_jobs_are_polled_a_thousand_times_a_second(bare, latency_s, state, goals):
    """Key, limit, faults, statistics and record cost little more than aiohttp's own routes and JSON responses."""
    settings = {
        "engine": "placeholder",
        "latency": "fixed",
        "latency_s": latency_s,
        "workers": JOBS,
        "keep_alive_s": 60,
    }
    with LocalApi(**settings) as api, connected(port_of(api), api.api_key) as line:
        ids = submitted(line, JOBS)
        while api.stats(jobs=False)["states"] != {state: JOBS}:
            time.sleep(0.01)
        (ours, wall), (plain, _) = rate(line, ids), rate(bare, ids)
    what = f"local server, {JOBS} jobs {state}"
    goals.at_least(
        f"{what}: status answers a second of one core", ours, 1000, "{:.0f}", f"{wall:.0f} on the wall"
    )
    goals.at_least("    ÷ bare aiohttp", ours / plain, 0.3, more=f"bare aiohttp {plain:.0f}/s")
    assert goals.missed == []


def test_status_answers_stay_quick_while_every_core_makes_pictures(goals):
    """The work is in other processes; a poll waits for the scheduler at most."""
    urls = [f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in PICTURES]
    with LocalProcess(keep_alive_s=60) as api, connected(port_of(api), api.api_key) as line:
        files = line.call("POST", "/upload-asset", json.dumps({"data_urls": urls}).encode())["file_urls"]
        body = {"prompt": "oak", "image_1": files[0], "image_2": files[1]}

        def send(seed):
            payload = json.dumps({**body, "seed": seed}).encode()
            return line.call("POST", f"/v2/{MODEL}", payload)["request_id"]

        first = send(0)
        idle, busy = [], []
        while line.status(first) != "COMPLETED":
            time.sleep(0.01)
        for _ in range(size(500)):
            idle.append(_timed(line, first))
            time.sleep(0.001)
        jobs = [send(seed) for seed in range(1, size(8) * (os.cpu_count() or 1) + 1)]
        while line.status(jobs[-1]) != "COMPLETED":
            busy.append(_timed(line, first))
            time.sleep(0.001)
    quiet, loaded = statistics.median(idle) * 1000, statistics.median(busy) * 1000
    worst = statistics.quantiles(busy, n=20)[-1] * 1000
    more = f"idle {quiet:.2f} ms, 95 % {worst:.1f} ms, {len(busy)} polls"
    goals.at_most(
        "local server, all cores draping: ms a status answer", loaded, max(20.0, 20 * quiet), "{:.1f}", more
    )
    assert goals.missed == []


def _timed(line, request_id):
    began = time.perf_counter()
    line.status(request_id)
    return time.perf_counter() - began
