"""The vendor's own client, pointed at `texbatch serve`: what it can use, ours can rely on."""

import contextlib
import importlib
import io
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from batch.core.parameters import MODEL

segmind = pytest.importorskip("segmind")

BROKEN = "data:image/png;base64,AAAA"
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def served():
    """Run `texbatch serve` and give what it prints: the URL and the key."""
    command = [sys.executable, "-m", "batch", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            told = dict(
                process.stdout.readline().removeprefix("export ").strip().split("=") for _ in range(2)
            )
            yield told["SEGMIND_BASE_URL"], told["SEGMIND_API_KEY"]
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def client(served, monkeypatch):
    url, key = served
    files = importlib.import_module("segmind.files")  # the package shadows the name
    monkeypatch.setattr(files.Files, "STORAGE_BASE_URL", url)
    client = segmind.SegmindClient(api_key=key, base_url=f"{url}/v1")
    with contextlib.closing(client._client):
        yield client


def small(tmp_path, source):
    """Return a small copy of a sample, so that the engine is quick."""
    path = tmp_path / source.name
    with Image.open(source) as image:
        image.thumbnail((160, 160))
        image.save(path)
    return path


def test_the_official_client_runs_a_job_to_its_picture(client, tmp_path):
    product = small(tmp_path, SAMPLES / "products" / "cushion.jpg")
    texture = small(tmp_path, SAMPLES / "textures" / "oak.jpg")
    image_1, image_2 = client.files.upload([product, texture])["file_urls"]
    job = client.submit_async(
        MODEL, prompt="Apply the oak texture", image_1=image_1, image_2=image_2, image_format="png"
    )
    result = job.wait(timeout=30, interval=0.1)
    assert result["status"] == "COMPLETED"
    assert job.status()["metrics"]["cost"] == 0.03
    answer = httpx.get(result["images"][0]["url"])
    with Image.open(io.BytesIO(answer.content)) as picture:
        picture.load()
        with Image.open(product) as before:
            assert (picture.format, picture.size) == ("PNG", before.size)


def test_the_official_client_hears_of_a_failed_job(client):
    job = client.submit_async(MODEL, prompt="oak", image_1=BROKEN, image_2=BROKEN)
    with pytest.raises(segmind.InferenceFailed, match="cannot be decoded"):
        job.wait(timeout=30, interval=0.1)


def test_the_official_client_is_refused_without_the_key(served):
    url, _ = served
    client = segmind.SegmindClient(api_key="SG_wrong", base_url=f"{url}/v1")
    with contextlib.closing(client._client), pytest.raises(segmind.SegmindError, match="401"):
        client.submit_async(MODEL, prompt="oak", image_1=BROKEN, image_2=BROKEN)
