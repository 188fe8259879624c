"""What is behind a link, asked of real sockets: its faults by name, politely, and without the key."""

import asyncio
import io
import socket
import ssl
from dataclasses import replace

import pytest
import trustme
from PIL import Image

from batch.client import link_check
from batch.client.link_check import LinkFault, check_links
from batch.core.config import Network

pytestmark = pytest.mark.anyio


def png():
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()


PNG = png()
PAGE = b"<!doctype html><title>Sign in</title>"


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(link_check, "GAP_S", 0.0)


@pytest.fixture
def raw(server):
    return server


@pytest.fixture
async def tls_server(anyio_backend):
    """A server whose certificate nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def fault(url, *, is_image=True, **options):
    return (await check_links({url: is_image}, Network(), **options)).get(url)


def serve(raw, **by_method):
    async def handle(call):
        status, body, headers = by_method[call.line.split()[0]]
        if call.line.startswith("HEAD"):
            headers, body = {"content_length": str(len(body)), **headers}, b""
        await call.answer(status, body, **headers)

    raw.handle = handle


IMAGE = (200, PNG, {"content_type": "image/png"})
NO_HEAD = (405, b"", {})


async def test_a_good_image_is_asked_for_once_with_head_and_without_key_or_cookie(raw):
    serve(raw, HEAD=IMAGE)
    assert await fault(f"{raw.url}/a.png") is None
    (call,) = raw.calls
    assert call.line.startswith("HEAD /a.png ")
    assert not {"x-api-key", "cookie", "authorization"} & call.headers.keys()


@pytest.mark.parametrize(
    "head",
    [NO_HEAD, (403, b"", {}), (404, b"", {}), (200, b"", {}), (200, b"x", {"content_type": "text/html"})],
)
async def test_what_head_does_not_show_is_asked_for_with_get_and_its_first_bytes(raw, head):
    serve(raw, HEAD=head, GET=(206, PNG, {"content_range": "bytes 0-99/5000"}))
    assert await fault(f"{raw.url}/a.png") is None
    assert raw.calls[-1].headers["range"] == "bytes=0-65535"


async def test_a_large_answer_is_cut(raw):
    serve(raw, HEAD=NO_HEAD, GET=(200, PNG + b"x" * 5_000_000, {}))
    assert await fault(f"{raw.url}/a.png") is None


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason"),
    [
        (404, b"", {}, "there is nothing behind the link (HTTP 404)."),
        (410, b"", {}, "there is nothing behind the link (HTTP 410)."),
        (403, b"", {}, "the link is not for everyone (HTTP 403)."),
        (418, b"", {}, "the link answers HTTP 418."),
        (200, PAGE, {"content_type": "text/html"}, "the link shows an HTML page, not an image."),
        (200, b"var a", {"content_type": "text/html"}, "the link shows an HTML page, not an image."),
        (200, b"", {}, "the link leads to an empty file."),
        (416, b"", {}, "the link leads to an empty file."),
        (200, b"%PDF-1.7", {"content_type": "image/jpeg"}, "the link leads to a PDF document."),
        (200, b"words", {"content_type": "text/plain"}, "the link leads to no image (text/plain)."),
        (206, PNG, {"content_range": "bytes 0-9/99000000"}, "the image behind the link is larger than 64 MiB."),
    ],
)  # fmt: skip
async def test_a_link_without_an_image_is_an_error(raw, status, body, headers, reason):
    serve(raw, HEAD=NO_HEAD, GET=(status, body, headers))
    found = await fault(f"{raw.url}/a.png")
    assert (found.reason, found.warning) == (reason, False)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b"", "the link could not be checked: 127.0.0.1:{port} answers HTTP 500."),
        (200, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "the link leads to a HEIC photo, as iPhones take them."),
    ],
)
async def test_what_says_nothing_about_the_link_is_a_warning(raw, status, body, reason):
    serve(raw, HEAD=NO_HEAD, GET=(status, body, {}))
    found = await fault(f"{raw.url}/a.png")
    assert (found.reason, found.warning) == (reason.format(port=raw.url.rpartition(":")[2]), True)


async def test_weights_need_not_be_an_image(raw):
    serve(raw, HEAD=NO_HEAD, GET=(200, b"\0weights", {"content_type": "application/octet-stream"}))
    assert await fault(f"{raw.url}/a.safetensors", is_image=False) is None
    serve(raw, HEAD=NO_HEAD, GET=(200, PAGE, {}))
    assert (await fault(f"{raw.url}/b.safetensors", is_image=False)).reason.startswith(
        "the link shows an HTML page"
    )


async def test_redirects_are_followed_five_times(raw):
    async def handle(call):
        number = int(call.line.split("/")[1].split()[0])
        if number == 0:
            await call.answer(200, b"", content_type="image/png", content_length="90")
        else:
            await call.answer(302, b"", location=f"/{number - 1}")

    raw.handle = handle
    assert await fault(f"{raw.url}/5") is None
    assert await fault(f"{raw.url}/6") == LinkFault(
        "the link redirects more than 5 times.", link_check._CHECK
    )


@pytest.mark.parametrize(
    ("url", "service", "remedy"),
    [
        ("https://www.dropbox.com/s/x/a.jpg?dl=0", "Dropbox", "Write dl=1 instead of dl=0"),
        ("https://drive.google.com/file/d/1aB_c-2/view?usp=sharing", "Google Drive", "uc?export=download&id=1aB_c-2"),
        ("https://drive.google.com/open?id=Xy", "Google Drive", "uc?export=download&id=Xy"),
        ("https://1drv.ms/i/s!Ab", "OneDrive", "Write download=1"),
        ("https://firm-my.sharepoint.com/:i:/g/x", "OneDrive", "Write download=1"),
        ("https://we.tl/t-abc", "WeTransfer", "Download the image"),
        ("https://www.icloud.com/iclouddrive/0ab", "iCloud", "Download the image"),
    ],
)  # fmt: skip
def test_a_share_link_is_called_by_its_service_with_the_way_out(url, service, remedy):
    found = link_check._page((url, url))
    assert found.reason == f"the link shows a {service} page, not the image."
    assert remedy in found.remedy


async def test_a_host_that_says_429_is_waited_for_once_and_then_asked_no_more(raw):
    answers = iter([429, 200, 429, 429])

    async def handle(call):
        await call.answer(next(answers), b"", content_type="image/png", content_length="90", retry_after="0")

    raw.handle = handle
    found = await check_links({f"{raw.url}/{name}": True for name in "abc"}, Network())
    host = raw.url.removeprefix("http://")
    start = f"the link could not be checked: {host}"
    assert {url[-1]: fault.reason for url, fault in found.items()} == {
        "b": f"{start} answers HTTP 429.",
        "c": f"{start} takes no more requests now (HTTP 429).",
    }
    assert len(raw.calls) == 4


async def test_a_host_is_asked_one_link_at_a_time_with_a_gap(raw, monkeypatch):
    monkeypatch.setattr(link_check, "GAP_S", 0.2)
    now, asked, open_now = [0.0], [], []

    async def passed(seconds):
        now[0] += seconds

    async def handle(call):
        assert not open_now
        open_now.append(call)
        asked.append(now[0])
        await call.answer(200, b"", content_type="image/png", content_length="90")
        open_now.clear()

    raw.handle = handle
    monkeypatch.setattr(link_check.anyio, "sleep", passed)
    links = {f"{raw.url}/{number}": True for number in range(4)}
    assert await check_links(links, Network(), clock=lambda: now[0]) == {}
    assert asked == pytest.approx([0.0, 0.2, 0.4, 0.6])


async def test_a_host_that_stays_silent_is_not_asked_for_the_rest(raw):
    async def handle(call):
        call.reset()

    raw.handle = handle
    found = await check_links({f"{raw.url}/{number}": True for number in range(9)}, Network())
    assert (len(found), all(fault.warning for fault in found.values())) == (9, True)
    assert len({call.line for call in raw.calls}) == link_check.MOST_SILENT


async def test_no_host_of_that_name_and_no_name_service_are_told_apart(monkeypatch):
    for code, reason, warning in (
        (socket.EAI_NONAME, "there is no host shop.example.", False),
        (socket.EAI_AGAIN, "the link could not be checked", True),
    ):

        async def refuse(*_args, code=code, **_options):
            raise socket.gaierror(code, "Name or service not known")

        monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", refuse)
        found = await fault("https://shop.example/a.jpg")
        assert (found.reason.startswith(reason), found.warning) == (True, warning)


async def test_a_certificate_that_is_not_valid_is_an_error(tls_server):
    found = await fault(f"{tls_server}/a.jpg")
    assert (found.reason.startswith("the certificate of"), found.warning) == (True, False)


async def test_the_time_for_all_is_bounded(raw):
    times = iter([0.0, link_check.LONGEST_CHECK_S + 1])
    found = await fault(f"{raw.url}/a.jpg", clock=lambda: next(times))
    assert found.reason == "the link could not be checked: the check had 60 min."
    assert raw.calls == []


async def test_a_proxy_is_used(raw):
    serve(raw, HEAD=IMAGE)
    found = await check_links(
        {"http://shop.example/a.png": True}, replace(Network(), proxies={"http": raw.url})
    )
    assert (found, raw.calls[0].line.split()[1]) == ({}, "http://shop.example/a.png")
