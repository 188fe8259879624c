"""Real images: the CPU engine behind the API, and where its inputs may come from."""

import asyncio
import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from local_helpers import CHAIR, OAK, Client, data_url, get
from PIL import Image

from batch.server import LocalApi
from batch.server.inputs import Fetcher, Unavailable


@pytest.fixture(scope="module")
def cpu():
    with LocalApi(engine="cpu", seed=1, workers=1) as api, Client(api) as client:
        yield api, client


def test_an_uploaded_product_gets_its_texture(cpu):
    _, client = cpu
    urls = client.post("/upload-asset", json={"data_urls": [data_url(CHAIR), data_url(OAK)]}).json()[
        "file_urls"
    ]
    ended = client.ended(client.submit(image_1=urls[0], image_2=urls[1], image_format="png"))
    assert ended.json()["status"] == "COMPLETED", ended.text
    assert ended.json()["metrics"]["inference_time"] > 0.02
    output = client.result(ended.json()["request_id"]).json()["output"]
    with Image.open(io.BytesIO(get(output).content)) as image, Image.open(CHAIR) as product:
        assert image.format == "PNG"
        assert abs(image.width / image.height - product.width / product.height) < 0.05


@pytest.mark.slow
def test_an_output_can_be_the_input_of_the_next_job(cpu):
    _, client = cpu
    first = client.ended(client.submit(image_1=data_url(CHAIR), image_2=data_url(OAK))).json()["request_id"]
    output = client.result(first).json()["output"]
    second = client.ended(client.submit(image_1=output, image_2=data_url(OAK), image_3=output))
    assert second.json()["status"] == "COMPLETED", second.text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_1": ""}, "image_1: no image given"),
        (
            {"image_2": "{own}/files/assets/nothing.jpg"},
            "image_2: could not be fetched: the server answered 404",
        ),
        ({"image_1": "data:image/png;base64,AAAA"}, "decoded"),
        ({"image_1": "data:image/png;base64,?"}, "image_1: could not be fetched: bad base64"),
        ({"image_1": "chair.jpg"}, "image_1: could not be fetched: not an http(s) URL"),
        ({"image_1": "file:///etc/hosts"}, "image_1: could not be fetched: not an http(s) URL"),
        ({"image_1": "{own}/v1/get-user-credits"}, "the address 127.0.0.1 is not public"),
        ({"image_1": "http://127.0.0.1:1/x.jpg"}, "the address 127.0.0.1 is not public"),
        ({"image_1": "http://[::1]:1/x.jpg"}, "the address ::1 is not public"),
        ({"image_1": "http://localhost:1/x.jpg"}, "localhost is not a public host"),
        ({"image_3": "http://169.254.169.254/latest"}, "image_3: could not be fetched: the address"),
        ({"image_2": "http://①②⑦.0.0.1/x.jpg"}, "the address 127.0.0.1 is not public"),
        ({"image_2": "http://[::ffff:127.0.0.1]/x.jpg"}, "is not public"),
        ({"image_2": "http://[::1/x.jpg"}, "image_2: could not be fetched"),
        ({"prompt": ""}, "prompt: must not be empty"),
    ],
)
def test_an_image_that_cannot_be_had_fails_the_job_with_the_reason(cpu, change, reason):
    api, client = cpu
    change = {name: value.replace("{own}", api.base_url) for name, value in change.items()}
    ended = client.ended(client.submit(**{"image_1": data_url(CHAIR), "image_2": data_url(OAK), **change}))
    assert ended.status_code == 422
    assert reason in ended.json()["error"]


def test_the_server_answers_while_images_are_made(cpu):
    """The work is in other processes, so polls are quick."""
    _, client = cpu
    ids = [client.submit(image_1=data_url(CHAIR), image_2=data_url(OAK), seed=n) for n in range(2)]
    slowest = 0.0
    while client.status(ids[-1]).json()["status"] in ("QUEUED", "PROCESSING"):
        began = time.monotonic()
        client.get("/v1/get-user-credits")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)
    assert slowest < 0.5
    assert client.status(ids[-1]).json()["status"] == "COMPLETED"


class Host(BaseHTTPRequestHandler):
    """An image host: /ok, /slow, /big, /loop, /away."""

    def do_GET(self):
        if self.path in ("/loop", "/away"):
            self.send_response(302)
            self.send_header("location", "/loop" if self.path == "/loop" else "http://10.0.0.1/x")
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/ok", "/big") else 404)
        self.end_headers()
        self.wfile.write(b"image" * (1000 if self.path == "/big" else 1))

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def host():
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/ok", b"image"),
        ("/missing", "the server answered 404"),
        ("/big", "more than 100 bytes"),
        ("/loop", "more than 5 redirects"),
        ("/away", "the address 10.0.0.1 is not public"),
    ],
)
def test_images_from_the_network_are_bounded_and_every_redirect_is_judged(host, monkeypatch, path, expected):
    """A permit for 127.0.0.1 stands in for a public host: no traffic leaves this machine."""
    monkeypatch.setattr("batch.server.inputs.MAX_BYTES", 100)

    async def fetch():
        fetcher = Fetcher(permit=lambda address: address == "127.0.0.1")
        try:
            return await fetcher.fetch(host + path)
        except Unavailable as reason:
            return str(reason)
        finally:
            await fetcher.close()

    got = asyncio.run(fetch())
    assert expected in got
