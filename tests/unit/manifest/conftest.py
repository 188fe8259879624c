"""A small shop of real pictures, and manifests and job files from text."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import pytest
from manifest_reading import Reading, read
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PICTURES = ("products/chair.jpg", "products/mug.png", "textures/oak.jpg", "textures/denim.webp")


@cache
def picture(shade: int, suffix: str) -> bytes:
    """Return a picture of one colour, encoded once for hundreds of tests."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (shade * 40, 9, 9)).save(data, {"jpg": "jpeg"}.get(suffix, suffix))
    return data.getvalue()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with two products and two textures, all different."""
    for shade, name in enumerate(PICTURES, start=1):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(shade, path.suffix[1:]))
    return tmp_path


@pytest.fixture
def read_csv(shop: Path) -> Callable[..., Reading]:
    """Read a CSV given as text or bytes."""

    def reader(content: str | bytes, *, name: str = "pairs.csv", **options) -> Reading:
        data = content if isinstance(content, bytes) else content.encode()
        (shop / name).write_bytes(data)
        return read(shop / name, **options)

    return reader


@pytest.fixture
def read_yaml(shop: Path) -> Callable[..., Reading]:
    """Read a YAML manifest given as text."""

    def reader(content: str, **options) -> Reading:
        (shop / "catalog.yaml").write_text(content, encoding="utf-8")
        return read(shop / "catalog.yaml", **options)

    return reader


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str], Path]:
    """Write a job file; gives its path."""

    def write(text: str) -> Path:
        path = tmp_path / "nightly.yaml"
        path.write_text(text)
        return path

    return write
