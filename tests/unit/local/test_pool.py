"""The pool of worker processes: it ends whatever its workers are doing."""

import asyncio

import pytest

from batch.local.children import ROOT
from batch.local.pool import Pool
from batch.local.worker import pack

PICTURE = {"prompt": "oak", "aspect_ratio": "1:1", "image_format": "png", "quality": 95, "seed": 1}
PIPED = 131_072
"""Bytes of an answer from which asyncio stops reading a pipe, until somebody asks for more."""


@pytest.mark.anyio
async def test_a_pool_closes_while_a_picture_lies_unread_in_the_pipe():
    """A server that ends then must not wait for ever for a worker that it has killed."""
    product = (ROOT / "samples/products/armchair.jpg").read_bytes()
    texture = (ROOT / "samples/textures/oak.jpg").read_bytes()
    pool = Pool(1)
    worker = await pool._start()
    worker.stdin.write(pack({"request": PICTURE}, [product, texture]))
    async with asyncio.timeout(60):
        while len(worker.stdout._buffer) <= PIPED:  # noqa: ASYNC110  a buffer tells nobody
            await asyncio.sleep(0.01)
        await pool.close()
    assert worker.returncode is not None
