"""The border on real sockets: what each way to lose an answer becomes, and where the key goes."""

import asyncio
import contextlib
import dataclasses
import gzip
import json
import socket
from functools import partial

import anyio
import pytest
import support

from batch.client import http
from batch.client.client import Client
from batch.client.http import HttpClient
from batch.client.responses import Accepted, Inconclusive, NotAccepted, Unknown
from batch.core.config import Network, Service
from batch.core.errors import NoResponse, NotDelivered, ServiceError, UnusableResponse, UsageError
from batch.core.parameters import MODEL

pytestmark = pytest.mark.anyio

BODY = {"prompt": "oak"}
ACCEPTED = {"request_id": "r1", "status": "QUEUED"}


async def reset(call):
    call.reset()


async def finish(call):
    call.finish()


async def broken_gzip(call):
    await call.answer(200, b"this is no gzip", content_encoding="gzip")


async def silence(call):
    await asyncio.sleep(30)


async def endless(call):
    await call.send(CHUNKED)
    while True:
        await call.send(b"1\r\n \r\n")
        await asyncio.sleep(0.02)


async def too_large(call):
    await call.answer(200, b" " * 5000)


async def bomb(call):
    await call.answer(200, gzip.compress(b" " * 50_000_000), content_encoding="gzip")


def after(data, end, name):
    """Send these bytes, then do what `end` does."""

    async def lose(call):
        await call.send(data)
        await end(call)

    return pytest.param(lose, id=name)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LONGER = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
LOST = [
    reset,
    finish,
    after(b"HTTP/1.1 200 OK\r\ncontent-le", finish, "half a head"),
    after(b"HTTP/1.1 200 OK\r\n", reset, "half a head, then a reset"),
    after(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", finish, "no HTTP"),
    after(LONGER + b'"request_id"', finish, "truncated"),
    after(LONGER, reset, "cut after the body began"),
    after(CHUNKED + b"5\r\n12345\r\n", finish, "truncated chunks"),
    after(CHUNKED + b"2\r\n{}\r\nzz\r\n", finish, "no chunks"),
    broken_gzip,
]
SLOW = [silence, after(LONGER, silence, "stalls in the body"), endless]


@pytest.fixture
def hurried(waits):
    """Wait for a fraction of a second where a minute is allowed."""
    waits(connect_s=5.0, read_s=0.15, pool_s=5.0)


@pytest.fixture
def closed_port():
    """A URL where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def heard(server, count):
    """Wait until the server has read so many requests."""
    while len(server.calls) < count:  # noqa: ASYNC110  it has no event, and it answers in this very loop
        await anyio.sleep(0.01)


# -- what a lost answer is ---------------------------------------------------------------------------------------------


@pytest.mark.quick(6)
@pytest.mark.parametrize("lose", [*LOST, *SLOW, too_large, bomb], ids=lambda lose: lose.__name__)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_does_not_come_whole_is_no_answer_and_never_not_delivered(
    server, hurried, lose, method
):
    server.handle = lose
    async with HttpClient(server.service) as border:
        body = BODY if method == "POST" else None
        with pytest.raises(NoResponse) as lost:
            await border.request_json(f"{server.url}/x?secret=1", body=body, limit=4000, within_s=0.5)
    assert not isinstance(lost.value, NotDelivered)
    assert f"{method} {server.url}/x" in str(lost.value)
    assert "secret" not in str(lost.value)


@pytest.mark.parametrize("lose", [*LOST, *SLOW], ids=lambda lose: lose.__name__)
async def test_a_submit_whose_body_was_sent_is_unknown_however_its_answer_was_lost(
    server, hurried, monkeypatch, lose
):
    monkeypatch.setitem(HttpClient.request_json.__kwdefaults__, "within_s", 0.5)
    server.handle = lose
    async with Client(server.service) as client:
        submission = await client.submit(BODY)
    assert (Unknown, "no_answer") == (type(submission), submission.error_class)
    assert len(server.calls) == 1  # never twice
    assert server.calls[0].body == b'{"prompt": "oak"}'


@pytest.mark.quick(4)
@pytest.mark.parametrize("status", [200, 422, 500])
@pytest.mark.parametrize("levels", [101, 600, 950, 100_000])
async def test_json_of_any_depth_is_an_answer_like_any_other_that_is_none(server, status, levels):
    server.handle = lambda call: call.answer(status, ("[" * levels + '"100%"' + "]" * levels).encode())
    async with Client(server.service) as client:
        submission = await client.submit(BODY)
        assert not isinstance(submission, Accepted | NotAccepted)
        assert isinstance((await client.status("r1")).verdict, Inconclusive)
        with pytest.raises(ServiceError):
            await client.credits()


@pytest.mark.parametrize(
    ("base", "below"), [("", ""), ("/", ""), ("/gateway", "/gateway"), ("/gateway/", "/gateway")]
)
async def test_every_call_goes_below_the_base_url_and_carries_the_key(server, base, below):
    server.handle = lambda call: call.answer(200, ACCEPTED)
    url = f"{server.url}{base}"
    async with Client(Service(url, url, url, api_key="SG_key")) as client:
        await client.status("a/b")
        await client.result("a/b")
        await client.submit(BODY)
    paths = [call.line.split()[1] for call in server.calls]
    assert paths == [
        f"{below}/v2/requests/a%2Fb/status", f"{below}/v2/requests/a%2Fb", f"{below}/v2/{MODEL}"
    ]  # fmt: skip
    assert [call.line.split()[0] for call in server.calls] == ["GET", "GET", "POST"]
    assert {call.headers["x-api-key"] for call in server.calls} == {
        "sg_key"
    }  # the server reads heads in lower case
    assert [call.headers.get("content-type") for call in server.calls] == [None, None, "application/json"]


async def test_an_answer_after_a_cut_connection_elsewhere_is_its_own(server):
    """Lost answers of others on the same pool do not reach this one."""
    async with Client(server.service) as client:
        server.handle = reset
        assert isinstance(await client.submit(BODY), Unknown)
        server.handle = lambda call: call.answer(200, ACCEPTED)
        assert Accepted("r1") == await client.submit(BODY)


async def test_a_refused_connection_was_certainly_not_delivered(closed_port):
    service = Service(closed_port, closed_port, closed_port, api_key="k")
    async with HttpClient(service) as border:
        with pytest.raises(NotDelivered, match=r"no connection"):
            await border.request_json(f"{closed_port}/x", body=BODY)
    async with Client(service) as client:
        submission = await client.submit(BODY)
    assert (NotAccepted, "not_delivered", None) == (
        type(submission), submission.error_class, submission.http_status
    )  # fmt: skip


async def test_a_name_that_does_not_resolve_was_certainly_not_delivered():
    url = "http://no-such-host.invalid"
    async with Client(Service(url, url, url, api_key="k")) as client:
        assert isinstance(await client.submit(BODY), NotAccepted)


async def test_a_full_listen_queue_was_certainly_not_delivered(waits):
    """The connection itself times out."""
    waits(connect_s=0.2)
    with socket.socket() as listening, contextlib.ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Client(support.service_at(url, api_key="k")) as client:
            assert isinstance(await client.submit(BODY), NotAccepted)


async def test_waiting_for_a_place_in_the_pool_was_certainly_not_delivered(server, waits):
    waits(pool_s=0.2)
    server.handle = silence
    async with HttpClient(server.service, max_connections=1) as border, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(border.request_json, f"{server.url}/first", body=BODY))
        await heard(server, 1)
        with pytest.raises(NotDelivered):
            await border.request_json(f"{server.url}/second", body=BODY)
        tasks.cancel_scope.cancel()
    assert [call.line.split()[1] for call in server.calls] == ["/first"]


async def test_the_time_of_a_request_starts_when_a_connection_is_free(server):
    """Twelve in a row of 0.1 s, each of which may take a second."""

    async def slow(call):
        await asyncio.sleep(0.1)
        await call.answer(200, ACCEPTED)

    server.handle, answered = slow, []
    async with HttpClient(server.service, max_connections=1) as border:

        async def post():
            answered.append(await border.request_json(f"{server.url}/x", body=BODY, within_s=1.0))

        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(post)
    assert (len(answered), server.connections) == (12, 1)


async def test_a_thousand_requests_in_flight_share_the_connections(server):
    server.handle = lambda call: call.answer(200, ACCEPTED)
    async with HttpClient(server.service, max_connections=20) as border, anyio.create_task_group() as tasks:
        for number in range(1000):
            tasks.start_soon(border.request_json, f"{server.url}/{number}")
    assert len({call.line for call in server.calls}) == 1000
    assert server.connections <= 20


async def test_polls_and_pictures_keep_no_submit_waiting(server):
    async def only_posts(call):
        await (call.answer(200, ACCEPTED) if call.line.startswith("POST") else silence(call))

    server.handle = only_posts
    async with HttpClient(server.service, max_connections=1) as border, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(border.request_json, f"{server.url}/status")
            tasks.start_soon(border.download, f"{server.url}/p.png")
        await heard(server, 2)
        with anyio.fail_after(20):
            assert (await border.request_json(f"{server.url}/x", body=BODY)).body == ACCEPTED
        tasks.cancel_scope.cancel()


async def test_a_cancelled_wait_for_a_connection_leaves_its_place_to_the_next(server):
    server.handle = silence
    async with HttpClient(server.service, max_connections=1) as border, anyio.create_task_group() as tasks:
        holder = anyio.CancelScope()

        async def hold():
            with holder:
                await border.request_json(f"{server.url}/held")

        tasks.start_soon(hold)
        await heard(server, 1)
        with anyio.move_on_after(0.05):
            await border.request_json(f"{server.url}/waited")
        holder.cancel()
        server.handle = lambda call: call.answer(200, ACCEPTED)
        assert (await border.request_json(f"{server.url}/next", within_s=20)).body == ACCEPTED


async def test_a_url_too_long_for_one_was_certainly_not_delivered(server):
    """A request id may be of any length."""
    async with HttpClient(server.service) as border:
        with pytest.raises(NotDelivered):
            await border.request_json(f"{server.url}/{'x' * 100_000}/status")
    assert server.calls == []


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", id="plain HTTP"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x28", id="an alert: handshake failure"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x50", id="an alert: internal error"),
        pytest.param(b"\x16\x03\x03", id="half a record"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_a_handshake_that_fails_is_a_connection_that_was_not_made(said):
    """It stops nothing: no certificate was seen, and nothing of the request was sent."""
    seen = []

    async def plain(reader, writer):
        seen.append(await reader.read(4000))
        writer.write(said)
        writer.close()

    listening = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        async with HttpClient(Service(url, url, url, api_key="k")) as border:
            with pytest.raises(NotDelivered):
                await border.request_json(f"{url}/x", body=BODY)
        async with Client(Service(url, url, url, api_key="k")) as client:
            submission = await client.submit(BODY)
            assert (type(submission), submission.error_class) == (NotAccepted, "not_delivered")
            with pytest.raises(NotDelivered):
                await client.download(f"{url}/p.png")
    finally:
        listening.close()
    assert all(data[:1] == b"\x16" for data in seen)  # a TLS handshake, never the request


async def test_a_proxy_that_refuses_the_tunnel_delivered_nothing(server):
    server.handle = lambda call: call.answer(407, b"no")
    network = Network(proxies={"https": server.url})
    url = "https://api.example"
    async with Client(Service(url, url, url, api_key="SG_key", network=network)) as client:
        submission = await client.submit(BODY)
    assert isinstance(submission, NotAccepted)
    assert all("SG_key" not in str(call.headers) for call in server.calls)


async def test_a_proxy_that_wants_a_password_delivered_nothing_either(server):
    """Without a tunnel its 407 stands where the service's answer would."""
    server.handle = lambda call: call.answer(407, b"no")
    url = "http://api.example"
    async with Client(Service(url, url, url, network=Network(proxies={"http": server.url}))) as client:
        assert isinstance(await client.submit(BODY), NotAccepted)


# -- answers that come -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 404, 418, 500, 503])
async def test_any_status_is_an_answer(server, status):
    server.handle = lambda call: call.answer(status, {"error": "x"}, x_rate_limit_remaining="3")
    async with HttpClient(server.service) as border:
        reply = await border.request_json(f"{server.url}/x")
    assert (status, {"error": "x"}, "3") == (
        reply.status, reply.body, reply.headers["x-rate-limit-remaining"]
    )  # fmt: skip


async def test_html_is_an_answer_without_a_body_of_ours(server):
    server.handle = lambda call: call.answer(502, b"<html>" + b"x" * 9000, content_type="text/html")
    async with HttpClient(server.service) as border:
        reply = await border.request_json(f"{server.url}/x")
    assert reply.body is None
    assert reply.reason.startswith("HTTP 502: <html>xxx")
    assert len(reply.text) < 2000


async def test_an_answer_of_just_the_limit_is_taken(server):
    server.handle = lambda call: call.answer(200, b'"' + b"x" * 3998 + b'"')
    async with HttpClient(server.service) as border:
        assert len((await border.request_json(f"{server.url}/x", limit=4000)).body) == 3998


async def test_a_large_answer_is_whole_and_what_a_service_says_twice_is_joined(server):
    data = json.dumps(
        {"output": "x" * 3 * http.LARGE, "half": "\ud83d", "key": server.service.api_key}
    ).encode()
    head = f"HTTP/1.1 200 X\r\nVia: a\r\nVIA: b\r\ncontent-length: {len(data)}\r\n\r\n"
    server.handle = lambda call: call.send(head.encode() + data)
    async with HttpClient(server.service) as border:
        reply = await border.request_json(f"{server.url}/x", limit=4 * http.LARGE)
    assert reply.body == {"output": "x" * 3 * http.LARGE, "half": "?", "key": "[key]"}
    assert reply.headers["via"] == "a, b"


async def test_a_compressed_answer_is_read(server):
    server.handle = lambda call: call.answer(200, gzip.compress(b'{"a": 1}'), content_encoding="gzip")
    async with HttpClient(server.service) as border:
        assert (await border.request_json(f"{server.url}/x")).body == {"a": 1}
        assert await border.download(f"{server.url}/x") == b'{"a": 1}'


async def test_a_redirect_that_says_too_much_is_no_answer(server):
    server.handle = lambda call: call.answer(302, b" " * 5000, location="/p.png")
    async with HttpClient(server.service) as border:
        with pytest.raises(NoResponse, match="over 4000 bytes"):
            await border.download(f"{server.url}/x", limit=4000)


# -- the key, redirects, cookies ---------------------------------------------------------------------------------------


async def test_the_key_goes_to_the_api_and_not_to_a_picture(server, elsewhere):
    elsewhere.handle = lambda call: call.answer(200, b"picture")
    async with Client(server.service) as client:
        await client.submit(BODY)
        await client.status("r1")
        assert await client.download(f"{elsewhere.url}/p.png?sig=1") == b"picture"
        assert await client.download(f"{server.url}/p.png") == b"{}"
    keys = [call.headers.get("x-api-key") for call in server.calls]
    key = server.service.api_key.lower()
    assert keys == [key, key, None]
    assert all(key not in str(call.headers) for call in elsewhere.calls)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_api_call_follows_no_redirect(server, elsewhere, status, method):
    server.handle = lambda call: call.answer(status, b"", location=f"{elsewhere.url}/stolen")
    async with HttpClient(server.service) as border:
        reply = await border.request_json(f"{server.url}/x", body=BODY if method == "POST" else None)
    assert status == reply.status
    assert (len(server.calls), elsewhere.calls) == (1, [])


async def test_a_picture_may_be_redirected_and_the_key_does_not_go_along(server, elsewhere):
    server.handle = lambda call: call.answer(302, b"", location=f"{elsewhere.url}/p.png")
    elsewhere.handle = lambda call: call.answer(200, b"picture")
    async with Client(server.service) as client:
        assert await client.download(f"{server.url}/p.png") == b"picture"
    assert ["x-api-key" in call.headers for call in server.calls + elsewhere.calls] == [False, False]


async def test_redirects_in_a_circle_end(server):
    server.handle = lambda call: call.answer(302, b"", location="/again")
    async with Client(server.service) as client:
        with pytest.raises(NoResponse):
            await client.download(f"{server.url}/p.png")
    assert len(server.calls) == http.REDIRECTS + 1


@pytest.mark.quick(4)
@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://h/x", "http://[", "https://h:99999/", "http://xn--/", "http://a..b/", "http://xn--a/",
     "http://[::1", "http://a b/", "http://a%/", "http://999.1.1.1/", f"http://{'a' * 64}/", "http://h\\x/", "//\xad/",
     "javascript:alert(1)"],
)  # fmt: skip
@pytest.mark.parametrize("hops", [0, 1, 3])
async def test_a_redirect_to_nonsense_is_a_useless_answer_at_any_hop(server, location, hops):
    def handle(call):
        return call.answer(
            302, b"", location=location if len(server.calls) > hops else f"/{len(server.calls)}.png"
        )

    server.handle = handle
    async with Client(server.service) as client:
        with pytest.raises(UnusableResponse, match=r"redirects to what is not a valid URL"):
            await client.download(f"{server.url}/p.png")
    assert len(server.calls) == hops + 1


async def test_a_redirect_to_a_host_that_does_not_exist_or_to_itself_is_no_answer(server):
    async with Client(server.service) as client:
        for location in ("http://-/p.png", "http://no-such-host.invalid/p.png", "", "//", "http:///p.png"):
            server.handle = lambda call, location=location: call.answer(302, b"", location=location)
            with pytest.raises(NoResponse) as lost:
                await client.download(f"{server.url}/p.png")
            assert not isinstance(lost.value, UnusableResponse)


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[", "https://h:99999/x", "http://exa mple/x", "http://\x00/", "http://xn--/", "http://a..b/x.png",
     "https://\u202e/x", "http://\ud83d/", "http:", "https://a%zz/x", f"https://h/{'x' * 70_000}"],
)  # fmt: skip
async def test_an_output_url_that_is_none_is_a_useless_answer(server, url):
    async with Client(server.service) as client:
        with pytest.raises(UnusableResponse, match=r"is not a valid URL"):
            await client.download(url)


async def test_a_post_to_what_is_no_url_was_certainly_not_delivered(server):
    """Should one get past the settings."""
    for url in ("http://a..b", "http://xn--", "http://-", "http://a%", "http://h:0"):
        service = dataclasses.replace(server.service)
        object.__setattr__(service, "inference_url", url)  # unchecked
        async with Client(service) as client:
            submission = await client.submit(BODY)
        assert (type(submission), submission.error_class) == (NotAccepted, "not_delivered"), url


async def test_cookies_are_not_stored(server):
    server.handle = lambda call: call.answer(200, b"{}", set_cookie="session=1; Path=/")
    async with Client(server.service) as client:
        for _ in range(2):
            await client.submit(BODY)
            await client.download(f"{server.url}/p.png")
    assert ["cookie" in call.headers for call in server.calls] == [False] * 4


@pytest.mark.parametrize("url", ["/p.png?sig=a%3Ab%2F%7E&x=%20+%2B", "/a%7Eb/%41%2F.png", "/p.png?x=a:b/c~"])
async def test_a_signed_url_is_asked_for_as_it_was_written(server, url):
    async with Client(server.service) as client:
        await client.download(server.url + url)
    assert server.calls[0].line == f"GET {url} HTTP/1.1"


async def test_a_request_id_cannot_lead_to_another_path(server):
    server.handle = lambda call: call.answer(200, {"status": "QUEUED"})
    async with Client(server.service) as client:
        await client.status("a/b?c#d e")
    assert server.calls[0].line == "GET /v2/requests/a%2Fb%3Fc%23d%20e/status HTTP/1.1"


# -- connections -------------------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_while_it_is_warm(server):
    server.handle = lambda call: call.answer(200, {"request_id": f"r{len(server.calls)}"})
    async with Client(server.service) as client:
        for _ in range(3):
            await client.submit(BODY)
    assert (len(server.calls), server.connections) == (3, 1)


async def test_a_post_on_a_connection_that_was_cut_meanwhile_is_not_repeated(server):
    """The other side resets the kept connection when the POST arrives: it was read, so nobody knows."""
    server.handle = lambda call: call.answer(200, ACCEPTED)
    async with Client(server.service) as client:
        await client.submit(BODY)
        server.handle = reset
        assert isinstance(await client.submit(BODY), Unknown)
    assert (len(server.calls), server.connections) == (2, 1)


async def test_a_connection_idle_for_longer_than_allowed_is_not_used_for_a_post(server, waits):
    waits(idle_s=0.05)
    server.handle = lambda call: call.answer(200, ACCEPTED)
    async with Client(server.service) as client:
        await client.submit(BODY)
        await anyio.sleep(0.1)
        await client.submit(BODY)
    assert server.connections == 2


async def test_a_client_that_is_not_open_says_so_and_sends_nothing(server):
    client = Client(server.service)
    with pytest.raises(RuntimeError, match="use it as an async context manager"):
        await client.submit(BODY)
    assert server.connections == 0


async def test_a_cancelled_call_leaves_the_client_usable(server):
    server.handle = silence
    async with Client(server.service) as client:
        with anyio.move_on_after(0.05) as scope:
            await client.submit(BODY)
        assert scope.cancelled_caught
        server.handle = lambda call: call.answer(200, ACCEPTED)
        assert Accepted("r1") == await client.submit(BODY)


# -- settings that no request would survive ----------------------------------------------------------------------------


def test_a_ca_file_that_is_none_is_told_before_anything_is_sent(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(UsageError, match=rf"{name}: no CA certificates.*SSL_CERT_FILE"):
            Client(Service(api_key="k", network=Network(ca_file=str(tmp_path / name))))


@pytest.mark.parametrize(
    "proxy",
    [
        "127.0.0.1:3128",
        "socks5://h:1080",
        "user:pa55@h:3128",
        "http://",
        "http://h:x",
        "http://u:pa55@a..b:1",
        "http://[",
    ],
)
def test_a_proxy_we_cannot_use_is_told_before_anything_is_sent_and_not_shown(proxy):
    with pytest.raises(UsageError, match=r"Set https_proxy to http://host:port") as refused:
        Service(network=Network(proxies={"https": proxy}))
    assert "pa55" not in str(refused.value)


@pytest.mark.parametrize("key", ["SG_1\n", "SG_1\r\nx-evil: 1", "SG_ß", "SG_\x00"])
def test_a_key_that_no_header_can_carry_is_told_and_not_shown(key):
    with pytest.raises(UsageError, match=r"Check SEGMIND_API_KEY") as refused:
        Service(api_key=key)
    assert "SG_" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "api.segmind.com",
        "ftp://h",
        "http://",
        "http://[",
        "http://h:x",
        "http://h:99999",
        "https://user@h",
        "https://:secret@h",
        "",
        "http://a..b",
        "http://-",
        "http://a-.b",
        "http://[::1",
        "http://::1",
        "http://[1.2.3.4]",
        "http://1.2.3.999",
        "http://h ost",
        " http://h",
        "http://h\n",
        "http://h\u202e",
        "http://a%",
        "http://h/%zz",
        "http://xn--",
        "http://xn--a",
        "http://\xad",
        f"http://{'a' * 64}.com",
        f"http://{'a.' * 127}com",
        "http://.",
        "http://h:0",
        "http://h:-1",
        "http://h\\x",
        "http://h?key=1",
        "http://h#there",
        "http://\udcff",
    ],
)
def test_a_base_url_that_is_none_is_told(url):
    with pytest.raises(UsageError, match=r"is not a valid base URL"):
        Service(inference_url=url)


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "http://h:8787", "https://a.b.", "http://[::1]:80", "http://127.0.0.1", "https://b\xfccher.example",
     "http://xn--bcher-kva.example/v%20/", "http://my_host/gateway", "http://a--b.c0"],
)  # fmt: skip
def test_a_base_url_that_is_one_is_taken(url):
    assert Service(url, url, url).inference_url == url


def test_no_repr_shows_the_key():
    service = Service(api_key="SG_secret", network=Network(proxies={"http": "http://u:pa55@h"}))
    for shown in (repr(service), repr(Client(service)), str(service.account)):
        assert "SG_secret" not in shown
        assert "pa55" not in shown
