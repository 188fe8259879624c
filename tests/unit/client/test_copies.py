"""Answers that belong to something else: copies of earlier ones, another request's, bytes that nobody asked for."""

from __future__ import annotations

import json

import anyio
import pytest

from batch.client.client import Client
from batch.client.responses import (
    Accepted,
    Completed,
    Doubtful,
    Inconclusive,
    NotAccepted,
    Refused,
    Running,
    Unknown,
)
from batch.core.models import Result
from batch.pacing.limiter import Throttled

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("short_pause")]

BODY = {"prompt": "oak", "seed": 7}
REFUSED = {"error": "Parameter out of range"}


@pytest.fixture
def short_pause(waits):
    """After a 429 that names no time wait for a moment only."""
    waits(probe_s=0.05)


def http(status, body):
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


def named(call):
    """Answer each call as the service does: a submit gets a new id, a look says what it was asked."""
    if call.line.startswith("POST"):
        return http(200, {"request_id": f"new-{call.connection}", "status": "QUEUED"})
    request_id = call.line.split("/")[3].split()[0]
    return http(200, {"request_id": request_id, "status": "PROCESSING"})


def twice(first, gap_s):
    """Deliver the answer to the first call twice, the copy after a while; answer all others as they should be."""

    def handling(server):
        async def handle(call):
            if len(server.calls) > 1:
                await call.send(named(call))
                return
            await call.send(first + (b"" if gap_s else first))
            if gap_s:
                await anyio.sleep(gap_s)
                await call.send(first)

        return handle

    return handling


@pytest.mark.parametrize("gap_s", [0, 0.02])
@pytest.mark.parametrize(
    "first",
    [
        http(200, {"request_id": "r1", "status": "COMPLETED"}),
        http(404, {"error": "Request not found or expired"}),
        http(429, {"error": "slow down"}),
        http(500, {"error": "Internal server error"}),
        http(422, {"request_id": "r1", "status": "FAILED", "error": "blocked"}),
    ],
    ids=["COMPLETED", "404", "429", "500", "FAILED"],
)
async def test_a_status_answer_that_comes_twice_answers_nothing_else(server, first, gap_s):
    server.handle = twice(first, gap_s)(server)
    async with Client(server.service) as client:
        await client.status("r1")
        await anyio.sleep(0.05)
        assert isinstance((await client.status("r2")).verdict, Running)
        assert isinstance(await client.submit(BODY), Accepted)
    assert server.calls[1].connection == 2


@pytest.mark.parametrize(
    "first",
    [http(429, {"error": "slow down"}), http(500, {"error": "Internal server error"}), http(422, REFUSED)],
    ids=["429", "500", "422"],
)
async def test_a_copy_of_a_refusal_lets_no_submit_be_sent_again(server, first):
    """It is under way when the next submit leaves: nothing on the wire could tell them apart."""

    async def handle(call):
        if call.connection == 1:
            await call.send(first)
            await call.reader.read(1)  # until the next request comes, on this connection or none
            await call.send(first)
        else:
            await call.send(named(call))

    server.handle = handle
    async with Client(server.service) as client:
        assert isinstance(await client.submit(BODY), Throttled | NotAccepted | Refused)
        assert Accepted("new-2") == await client.submit(BODY)
    assert len(server.calls) == 2


async def test_a_status_answer_that_reaches_a_submit_is_unknown(server):
    """Its copy comes just when the submit has left."""

    async def handle(call):
        if len(server.calls) == 1:
            await call.send(named(call))
        elif call.connection == 1:
            await call.send(http(200, {"request_id": "r1", "status": "PROCESSING"}))
        else:
            await call.send(named(call))

    server.handle = handle
    async with Client(server.service) as client:
        await client.status("r1")
        lost = await client.submit(BODY)
        assert (type(lost), lost.error_class) == (Unknown, "repeated_request_id")
        assert Accepted("new-2") == await client.submit(BODY)  # what may still come there answers nothing


async def test_an_accepted_answer_that_comes_twice_is_one_job(server):
    server.handle = lambda call: call.answer(200, {"request_id": "r1", "status": "QUEUED"})
    async with Client(server.service) as client:
        assert Accepted("r1") == await client.submit(BODY)
        lost = await client.submit(BODY)
    assert (type(lost), lost.error_class) == (Unknown, "repeated_request_id")


async def test_an_answer_about_another_request_is_asked_again_on_another_connection(server):
    """As when the copy of an answer has shifted all that follow by one."""

    async def handle(call):
        if call.connection == 1:
            await call.send(http(200, {"request_id": "r0", "status": "COMPLETED", "output": "https://i/0"}))
        else:
            await call.send(http(200, {"request_id": "r1", "status": "COMPLETED", "output": "https://i/1"}))

    server.handle = handle
    async with Client(server.service) as client:
        assert isinstance((await client.status("r1")).verdict, Inconclusive)
        assert isinstance((await client.status("r1")).verdict, Completed)
        assert (await client.result("r1")).output == "https://i/1"


@pytest.mark.parametrize("status", [200, 404, 410, 422, 429, 500])
async def test_what_is_about_another_request_says_nothing_of_this_one(server, status):
    body = {"request_id": "r0", "status": "FAILED", "error": "blocked", "output": "https://i/0"}
    server.handle = lambda call: call.answer(status, body)
    async with Client(server.service) as client:
        look, result = await client.status("r1"), await client.result("r1")
    assert (type(look.verdict), type(result)) == (Inconclusive, Inconclusive)


@pytest.mark.parametrize(
    ("asked", "given", "taken"),
    [
        (7, 7, True), (7, "7", True), (7, 7.0, True), (0, 0, True), (-1, 8, True), (None, 8, True), (7, None, True),
        (7, "x", True), (7, [8], True), (7, 8, False), (7, "8", False), (0, 8, False), (7, -1, False), (2**31 - 1, 0, False),
    ],
)  # fmt: skip
async def test_a_result_of_another_seed_is_not_taken(server, asked, given, taken):
    body = {"status": "COMPLETED", "output": "https://i/1", "seed": given}
    server.handle = lambda call: call.answer(200, body)
    async with Client(server.service) as client:
        answer = await client.result("r1", seed=asked)
        await client.status("r1")
    assert isinstance(answer, Result if taken else Doubtful)
    assert server.connections == (1 if taken else 2)


@pytest.mark.parametrize("surplus", [b"HTTP/1.1 200 OK\r\ncontent-le", b"\r\n", b"x", b"\x00" * 5000])
async def test_a_connection_with_bytes_that_nobody_asked_for_is_closed(server, surplus):
    async def handle(call):
        await call.send(named(call))
        if call.connection == 1:
            await anyio.sleep(0.02)
            await call.send(surplus)

    server.handle = handle
    async with Client(server.service) as client:
        await client.status("r1")
        await anyio.sleep(0.05)
        assert Accepted("new-2") == await client.submit(BODY)


async def test_bytes_that_this_machine_has_and_nobody_has_read_are_noticed(server):
    """The loop has not looked at the connection since they came."""
    async with Client(server.service) as client:
        server.handle = lambda call: call.send(named(call))
        await client.status("r1")
        server.calls[0].writer.write(
            http(429, {"error": "slow down"})
        )  # leaves at once; the submit begins before the loop turns
        assert Accepted("new-2") == await client.submit(BODY)
