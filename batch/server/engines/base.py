"""What an engine is, and what it is asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

MATCH_INPUT = "match_input_image"


class RenderError(ValueError):
    """An image cannot be decoded or rendered; the text is the reason that the job FAILS with."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One image to render; the server has checked the parameters, so only the images can still fail.

    `seed` is 0 … MAX_SEED, `quality` 1 … 100; `aspect_ratio` and `image_format` are choices of `core.parameters`.
    `product` and `texture` are the encoded input images, empty for an engine without `needs_images`; `body` is the request
    as sent.
    """

    product: bytes
    texture: bytes
    prompt: str
    seed: int
    aspect_ratio: str
    image_format: str
    quality: int
    body: Mapping[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """Makes the images of a server. It lives in the server's event loop, which it must not block."""

    @property
    def capacity(self) -> int:
        """How many images it renders at once; the server asks for no more."""

    @property
    def needs_images(self) -> bool:
        """Whether `render` reads the input images; they are not fetched otherwise."""

    async def start(self) -> None:
        """Load what takes long; the server reports ready after it. Cancelled when the server ends first."""

    async def render(self, request: RenderRequest) -> bytes:
        """Return the encoded image. Raises RenderError, with the reason, when it cannot make one."""

    async def close(self) -> None:
        """End all work and wait until nothing is left of it; also called when `start` did not come to its end."""


def canonical(body: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON of a request body: keys sorted, no spaces, UTF-8."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
