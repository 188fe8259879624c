"""The pool of worker processes: it ends whatever its workers are doing."""

import asyncio
import os
import pickle
import textwrap

import pytest

from batch.server.engines.base import RenderError, RenderRequest
from batch.server.engines.process_pool import ProcessPool
from batch.server.subprocesses import ROOT

REQUEST = {"prompt": "oak", "aspect_ratio": "1:1", "image_format": "png", "quality": 95, "seed": 1}
PIPED = 131_072
"""Bytes of an answer from which asyncio stops reading a pipe, until somebody asks for more."""


@pytest.mark.anyio
async def test_a_pool_closes_while_an_image_lies_unread_in_the_pipe():
    """A server that ends then must not wait for ever for a worker that it has killed."""
    product = (ROOT / "samples/products/armchair.jpg").read_bytes()
    texture = (ROOT / "samples/textures/oak.jpg").read_bytes()
    pool = ProcessPool("batch.server.engines.cpu.render:render_bytes", 1)
    worker = await pool._start_worker()
    worker.stdin.write(pickle.dumps(RenderRequest(product, texture, **REQUEST)))
    async with asyncio.timeout(60):
        while len(worker.stdout._buffer) <= PIPED:  # noqa: ASYNC110  a buffer tells nobody
            await asyncio.sleep(0.01)
        await pool.close()
    assert worker.returncode is not None


RENDERER = """
    from batch.server.engines.base import RenderError

    class Unwilling(RenderError):
        def __init__(self, request):
            super().__init__(f"no {request.prompt}")
            self.request = request

    def render(request):
        print("a library prints")
        if request.prompt == "steel":
            raise Unwilling(request)
        return b"%d bytes" % len(request.product) if request.prompt == "oak" else 1 / 0
"""


@pytest.mark.anyio
async def test_an_engine_is_made_from_a_plain_function_of_another_package(tmp_path, monkeypatch, capfd):
    """Its images, its reasons and its mistakes reach the server; one worker lives through all of them."""
    (tmp_path / "plain_renderer.py").write_text(textwrap.dedent(RENDERER))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    pool = ProcessPool("plain_renderer:render", 1)
    told = []
    for prompt in ("oak", "steel", "glass", "oak"):
        try:
            told.append(await pool.render(RenderRequest(b"12345", b"", **{**REQUEST, "prompt": prompt})))
        except RenderError as reason:
            told.append(str(reason))
    workers = len(pool._all)
    await pool.close()
    assert told == [b"5 bytes", "no steel", "internal error while the image was made", b"5 bytes"]
    assert workers == 1
    assert "ZeroDivisionError" in capfd.readouterr().err
