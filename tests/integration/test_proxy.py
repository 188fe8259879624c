"""Proxies and private certificate authorities, from the environment to the wire: a real proxy in a process of its own.

The proxy is proxy.py; it wants a user and a password. The TLS service is a local server behind a terminator.
"""

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import support
import trustme
from support import rows, statuses, summary, write_csv

from batch import Service
from batch.cli.environment import read_network
from batch.client.client import Client
from batch.client.responses import AccountRefused, NotAccepted
from batch.core.errors import NoResponse, NotDelivered
from batch.server import LocalApi

WORD = "pa55-word"


class Proxy:
    """A running proxy: its URLs, and what it was asked for since it was last looked at."""

    def __init__(self, port: int, heard: Path) -> None:
        self.url = f"http://me:{WORD}@127.0.0.1:{port}"
        self.wrong_url = f"http://me:wrong@127.0.0.1:{port}"
        self._heard = heard
        self._seen = 0

    def heard(self) -> list[dict[str, object]]:
        lines = self._heard.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return [json.loads(line) for line in new]


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    heard, port = folder / "heard", folder / "port"
    heard.touch()
    command = [
        sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port),
        "--num-acceptors", "1", "--num-workers", "1", "--data-dir", str(folder / "data"),
        "--basic-auth", f"me:{WORD}", "--plugins", "hearing.Hearing", "--log-level", "error",
    ]  # fmt: skip
    env = os.environ | {"HEARD": str(heard), "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            until = time.monotonic() + 30
            while not (port.is_file() and port.read_text().strip()):
                assert running.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            yield Proxy(int(port.read_text()), heard)
        finally:
            running.terminate()


@pytest.fixture
def proxy(process):
    process.heard()
    return process


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private CA, and the file of its certificate."""
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return ca, file


class Terminator:
    """Speaks TLS on a port of its own and passes what it hears on to a plain port."""

    def __init__(self, ca: trustme.CA, port: int) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(self._context)
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> str:
        self._thread.start()
        self._up.wait(10)
        return self.url

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(lambda *_: None)  # handshakes that the other side ends
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        self._up.set()
        await self._end.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # connections that were aborted are closed

    async def _connected(self, reader, writer) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))
        except asyncio.CancelledError:
            pass
        finally:
            to_writer.transport.abort()
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
def secure(api, authority):
    """The local server over TLS, its pictures too: its URL."""
    with Terminator(authority[0], urlsplit(api.base_url).port) as url:
        api.settings(file_base_url=url, poll_base_url=url)
        yield url


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def service_at(url, api):
    """Return the service as the edge would, with what the environment says now."""
    return Service(url, url, url, api_key=api.api_key, network=read_network())


async def both(url, api):
    """Ask the API for something and fetch a file, over the two pools."""
    async with Client(service_at(url, api)) as client:
        await client.credits()
        with contextlib.suppress(NoResponse):  # there is none of this name, which is an answer
            await client.download(f"{url}/files/none.png")


def asked(proxy):
    return [(line["method"], line["path"]) for line in proxy.heard()]


API_AND_FILE = [("GET", "/v1/get-user-credits"), ("GET", "/files/none.png")]


# -- the whole command -------------------------------------------------------------------------------------------------


def test_a_run_goes_through_the_proxy_in_whole(hosted, proxy, command, tmp_path, out, monkeypatch):
    """Uploads, submits, polls, results, pictures; the proxy's password is told to the proxy alone."""
    support.picture(tmp_path / "chair.png")
    write_csv(tmp_path / "pairs.csv", [line | {"image_1": "chair.png"} for line in rows(2)])
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    code, _, told = command("run", tmp_path / "pairs.csv", "--out", out, "-v")
    assert (code, statuses(out)) == (0, {"saved": 2}), told
    heard = proxy.heard()
    assert len(heard) == sum(hosted.stats(jobs=False)["calls"].values())
    parts = {(line["method"], str(line["path"]).split("/")[1]) for line in heard}
    assert {("POST", "upload-asset"), ("POST", "v2"), ("GET", "v2"), ("GET", "files")} <= parts
    assert all("x-api-key" not in line["headers"] for line in heard if str(line["path"]).startswith("/files"))
    kept = [path for path in out.rglob("*") if path.is_file()]
    assert WORD not in told
    assert [path for path in kept if WORD.encode() in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.parametrize("tunnel", [False, True], ids=["direct", "through the proxy"])
def test_a_run_trusts_the_private_authority_that_it_is_given(api, proxy, secure, authority, tmp_path, tunnel):
    write_csv(tmp_path / "pairs.csv", rows(2))
    more = {"https_proxy": proxy.url} if tunnel else {}
    env = support.environment(api, SEGMIND_BASE_URL=secure, SSL_CERT_FILE=str(authority[1]), **more)
    done = support.texbatch("run", "pairs.csv", "--out", "out", env=env, cwd=tmp_path)
    assert (done.end(), statuses(tmp_path / "out")) == (0, {"saved": 2}), done.output
    heard = proxy.heard()
    assert {line["method"] for line in heard} == ({"CONNECT"} if tunnel else set())
    assert not any("x-api-key" in line["headers"] for line in heard)


def test_a_run_stops_unbilled_at_a_certificate_that_it_does_not_trust(
    hosted, secure, command, pairs, out, monkeypatch
):
    monkeypatch.setenv("SEGMIND_BASE_URL", secure)
    code, _, told = command("run", pairs(2), "--out", out)
    assert code == 3
    assert "SSL_CERT_FILE" in told
    assert hosted.stats(jobs=False)["accepted"] == 0
    assert set(statuses(out)) <= {"pending"}


@pytest.mark.slow
def test_a_run_without_its_proxy_bills_nothing_and_every_row_can_still_be_sent(api, closed_port, tmp_path):
    write_csv(tmp_path / "pairs.csv", rows(2))
    env = support.environment(api, http_proxy=f"http://127.0.0.1:{closed_port}")
    args = ("run", "pairs.csv", "--out", "out", "--max-duration", "2s")
    done = support.texbatch(*args, env=env, cwd=tmp_path)
    assert (done.end(), statuses(tmp_path / "out")) == (7, {"pending": 2}), done.output
    assert api.stats(jobs=False)["calls"].get("submit", 0) == 0
    assert summary(tmp_path / "out")["spent_usd"] == 0
    done = support.texbatch("run", "pairs.csv", "--out", "out", env=support.environment(api), cwd=tmp_path)
    assert (done.end(), api.stats(jobs=False)["accepted"]) == (0, 2), done.output


# -- the variables -----------------------------------------------------------------------------------------------------


@pytest.mark.quick(2)
@pytest.mark.anyio
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_both_pools_go_through_the_proxy_of_a_variable(api, proxy, monkeypatch, name):
    monkeypatch.setenv(name, proxy.url)
    await both(api.base_url, api)
    assert asked(proxy) == API_AND_FILE


@pytest.mark.quick(1)
@pytest.mark.anyio
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
async def test_both_pools_are_tunnelled_through_the_proxy_of_a_variable(
    api, proxy, secure, authority, monkeypatch, name
):
    monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    await both(secure, api)
    assert [(line["method"], line["host"]) for line in proxy.heard()] == [("CONNECT", "localhost")] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("other", ["HTTPS_PROXY", "https_proxy"])
async def test_a_proxy_for_the_other_scheme_is_not_used(api, proxy, monkeypatch, other):
    monkeypatch.setenv(other, proxy.url)
    await both(api.base_url, api)
    assert asked(proxy) == []


@pytest.mark.quick(6)
@pytest.mark.anyio
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("hosts", "through"),
    [
        pytest.param("127.0.0.1", False, id="the host"),
        pytest.param("127.0.0.1:{port}", False, id="host and port"),
        pytest.param("a.example, 127.0.0.1 ,b.example", False, id="one of several"),
        pytest.param("*", False, id="all"),
        pytest.param(".0.0.1", False, id="a domain"),
        pytest.param("127.0.0.1:1", True, id="another port"),
        pytest.param("127.0.0.0/8", False, id="a net"),
        pytest.param("a.example 127.0.0.1", False, id="a space between them"),
        pytest.param("10.0.0.0/8,192.168.0.0/16", True, id="other nets"),
        pytest.param("27.0.0.1", True, id="the end of a name"),
        pytest.param("", True, id="none"),
    ],
)
async def test_hosts_of_no_proxy_are_asked_directly(api, proxy, monkeypatch, name, hosts, through):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv(name, hosts.format(port=urlsplit(api.base_url).port))
    await both(api.base_url, api)
    assert asked(proxy) == (API_AND_FILE if through else [])


@pytest.mark.anyio
async def test_no_proxy_tells_the_hosts_of_the_two_pools_apart(api, proxy, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "LocalHost")
    async with Client(service_at(api.base_url, api)) as client:
        await client.credits()
        with pytest.raises(NoResponse):
            await client.download(api.base_url.replace("127.0.0.1", "localhost") + "/files/none.png")
    assert asked(proxy) == API_AND_FILE[:1]


# -- proxies that do not help ------------------------------------------------------------------------------------------


async def submitted(url, api):
    async with Client(service_at(url, api)) as client:
        return await client.submit({"prompt": "oak"})


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_us_was_sent_nothing_to_pass_on(
    api, proxy, secure, authority, monkeypatch, scheme
):
    """A wrong password: 407, to the request itself or to CONNECT."""
    monkeypatch.setenv("ALL_PROXY", proxy.wrong_url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    submission = await submitted(secure if scheme == "https" else api.base_url, api)
    assert (type(submission), submission.error_class) == (NotAccepted, "not_delivered")
    assert api.stats(jobs=False)["accepted"] == 0


@pytest.mark.anyio
async def test_a_proxy_that_cannot_reach_the_service_was_sent_nothing_to_pass_on(
    api, proxy, closed_port, monkeypatch
):
    """502 to CONNECT."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    submission = await submitted(f"https://localhost:{closed_port}", api)
    assert (type(submission), submission.error_class) == (NotAccepted, "not_delivered")
    assert proxy.url.rpartition("@")[2] not in submission.reason  # it is the service's address that is told
    assert "Bad Gateway" in submission.reason


@pytest.mark.anyio
async def test_a_dead_proxy_was_sent_nothing_to_pass_on(api, closed_port, secure, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port}")
    for url in (api.base_url, secure):
        submission = await submitted(url, api)
        assert (type(submission), submission.error_class) == (NotAccepted, "not_delivered")
        async with Client(service_at(url, api)) as client:
            with pytest.raises(NotDelivered):
                await client.download(f"{url}/files/none.png")
    assert api.stats(jobs=False)["calls"].get("submit", 0) == 0


@pytest.mark.anyio
async def test_a_certificate_that_is_not_trusted_stops_through_a_proxy_too(api, proxy, secure, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert isinstance(await submitted(secure, api), AccountRefused)
    assert api.stats(jobs=False)["accepted"] == 0


def test_a_proxy_variable_that_is_no_url_ends_the_command_before_it_begins(
    hosted, command, pairs, out, monkeypatch
):
    monkeypatch.setenv("all_proxy", f"socks5://me:{WORD}@127.0.0.1:1080")
    code, _, told = command("run", pairs(1), "--out", out)
    assert (code, WORD in told) == (2, False)
    assert "Set all_proxy to http://host:port" in told


@pytest.mark.anyio
async def test_only_the_proxy_that_would_be_taken_is_judged(api, proxy, monkeypatch):
    """A desktop sets all_proxy to SOCKS beside the ones that are used."""
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:1080/")
    await both(api.base_url, api)
    assert asked(proxy) == API_AND_FILE
    async with Client(service_at(api.base_url, api)) as client:
        with pytest.raises(NoResponse, match=r"Set all_proxy to http://host:port"):
            await client.download("https://pictures.example/p.png")


@pytest.mark.slow
def test_the_server_of_local_needs_no_proxy(closed_port, tmp_path):
    support.picture(tmp_path / "chair.png")
    write_csv(
        tmp_path / "pairs.csv", [line | {"image_1": "chair.png", "image_2": "chair.png"} for line in rows(1)]
    )
    with LocalApi(**support.QUICK) as api:
        env = support.environment(api, all_proxy=f"http://127.0.0.1:{closed_port}")
    done = support.texbatch("run", "pairs.csv", "--out", "out", "--local", env=env, cwd=tmp_path)
    assert (done.end(), statuses(tmp_path / "out")) == (0, {"saved": 1}), done.output
