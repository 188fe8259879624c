"""Pillow as texbatch uses it: imported late, set up once."""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


@cache
def pillow() -> ModuleType:
    """Return PIL.Image with its documented switch: a picture above the pixel limit is an error.

    Its other warnings would be printed; what matters of them is said as a problem. Set once for the process: a filter
    that is changed around each picture would not be safe in threads.
    """
    from PIL import Image  # noqa: PLC0415  start-up time

    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    return Image
