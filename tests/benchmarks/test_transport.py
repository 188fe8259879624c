"""CPU a request: ours, stock httpx, httpx over httpx-aiohttp, and aiohttp alone, against the same bare server.

Polls (GETs with the key), each job's URL over and over, the answer's JSON read. In one process and in turns, best of a few, so that
what else the machine does falls out; CPU of this process only. Stock httpx makes as many connections as it wants:
with fewer than there are requests in flight its own 5 s for a place in the pool ends them.
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from tiers import size

from batch import Service
from batch.client.http import HttpClient

pytestmark = pytest.mark.benchmark

IN_FLIGHT = {50: size(1500), 200: size(1500), 1000: size(2000)}
STOCK = {50: size(500), 200: size(600), 1000: size(1000)}
"""Requests a turn; stock httpx's pool takes time quadratic in what is in flight."""
TURNS = size(3)
OVER_AIOHTTP = 2.0
"""What our border may cost at most: the JSON, the key's masking, bounds of size and time, the judged errors."""
KEY = "SG_0123456789abcdef"


@pytest.fixture
def server():
    """The base URL of a bare server in a process of its own."""
    command = [sys.executable, str(Path(__file__).parent / "bare_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def ours(base, loaded):
    async with HttpClient(Service(base, base, base, api_key=KEY)) as api:

        async def ask(url):
            assert (await api.request_json(url)).body["status"] == "PROCESSING"

        return await loaded(ask)


async def over_httpx(client, base, loaded):
    async with client:

        async def ask(url):
            assert (await client.get(url)).json()["status"] == "PROCESSING"

        return await loaded(ask)


async def stock(base, loaded):
    limits = httpx.Limits(max_connections=None)
    return await over_httpx(
        httpx.AsyncClient(headers={"x-api-key": KEY}, limits=limits, timeout=60.0), base, loaded
    )


async def httpx_aiohttp(base, loaded):
    return await over_httpx(HttpxAiohttpClient(headers={"x-api-key": KEY}, timeout=60.0), base, loaded)


async def aiohttp_alone(base, loaded):
    async with aiohttp.ClientSession(headers={"x-api-key": KEY}) as session:

        async def ask(url):
            async with session.get(url) as response:
                assert (await response.json())["status"] == "PROCESSING"

        return await loaded(ask)


def load(base, in_flight, requests):
    """Return what drives a client and gives its CPU and wall seconds a request."""

    async def loaded(ask):
        urls = [f"{base}/v2/requests/{number:032x}/status" for number in range(in_flight)]
        await asyncio.gather(*map(ask, urls[:20]))  # everything is imported
        numbers = iter(range(requests))

        async def asking(url):
            for _ in numbers:
                await ask(url)

        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*map(asking, urls))
        return (time.process_time() - cpu) / requests, (time.perf_counter() - wall) / requests

    return loaded


@pytest.mark.filterwarnings("ignore")  # those of httpx-aiohttp are none of ours
@pytest.mark.parametrize("in_flight", IN_FLIGHT)
def test_a_request_costs_little_more_cpu_than_it_must(server, goals, in_flight):
    found = {}
    for turn in range(TURNS):
        for client in (aiohttp_alone, ours, httpx_aiohttp, stock):
            if client is stock and turn:
                continue
            requests = (STOCK if client is stock else IN_FLIGHT)[in_flight]
            figure = asyncio.run(client(server, load(server, in_flight, requests)))
            found[client] = min(found.get(client, figure), figure)
    cpu = {client: figure[0] for client, figure in found.items()}
    for client, (cpu_s, wall_s) in found.items():
        what = f"CPU ms a request, {in_flight} in flight: {client.__name__.replace('_', ' ')}"
        goals.tell(what, f"{cpu_s * 1000:.2f}  {1 / wall_s:.0f} requests/s")
    goals.at_most("    ours ÷ aiohttp alone", cpu[ours] / cpu[aiohttp_alone], OVER_AIOHTTP, slack=1.0)
    goals.at_most("    ours ÷ httpx over httpx-aiohttp", cpu[ours] / cpu[httpx_aiohttp], 1.0, slack=0.5)
    if in_flight >= 200:
        goals.at_most("    ours ÷ stock httpx", cpu[ours] / cpu[stock], 1.0)
    assert goals.missed == []
