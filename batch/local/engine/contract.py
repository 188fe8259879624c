"""What goes into the engine and what comes out; frozen, checked when built.

Rule: a RenderRequest that exists is renderable as far as its parameters go; only its pictures can still fail.
"""

from __future__ import annotations

from dataclasses import dataclass

MATCH_INPUT = "match_input_image"
ASPECT_RATIOS = (
    MATCH_INPUT,
    "1:1",
    "2:3",
    "3:2",
    "3:4",
    "4:3",
    "4:5",
    "5:4",
    "9:16",
    "16:9",
    "21:9",
)
IMAGE_FORMATS = ("jpeg", "png", "webp")
LARGEST_SEED = 2_147_483_647


class PictureError(ValueError):
    """A picture cannot be decoded, or is too large."""


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One picture to render. Raises ValueError for a parameter out of its range."""

    product: bytes
    texture: bytes
    prompt: str
    seed: int
    aspect_ratio: str
    image_format: str
    quality: int

    def __post_init__(self) -> None:
        """Refuse what no step could carry out."""
        if self.aspect_ratio not in ASPECT_RATIOS:
            raise ValueError(f"aspect_ratio: {self.aspect_ratio!r}. Give one of {', '.join(ASPECT_RATIOS)}.")
        if self.image_format not in IMAGE_FORMATS:
            raise ValueError(f"image_format: {self.image_format!r}. Give one of {', '.join(IMAGE_FORMATS)}.")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed: {self.seed}. Give 0 to {LARGEST_SEED}.")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality: {self.quality}. Give 1 to 100.")


@dataclass(frozen=True, slots=True)
class Rendered:
    """The encoded result and what the engine thinks of its own mask."""

    data: bytes
    width: int
    height: int
    confidence: str
    """"high", or "low": the outline is in doubt, or no object was found and the whole picture was textured."""
    mask_share: float
    """Share of the product picture that was textured, 0 … 1."""
