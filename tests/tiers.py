"""How much a test does: the environment decides, so that each process of a session decides alike.

EXAMPLES=all lets properties draw all their examples, and SHARE=0.1 lets benchmarks run at a tenth of their size, where goals
that hold only at full size are reported and not judged.
"""

from __future__ import annotations

import os

SHARE_OF_EXAMPLES = 10
LEAST_EXAMPLES = 5
SHARE = float(os.environ.get("SHARE", "1"))
LEAST_SHARE_OF_TIME = 0.25


def examples(count: int) -> int:
    """Return the examples that hypothesis draws: `count` with EXAMPLES=all, else a tenth of them, 5 at least."""
    return count if os.environ.get("EXAMPLES") == "all" else max(LEAST_EXAMPLES, count // SHARE_OF_EXAMPLES)


def size(count: int, *, least: int = 1) -> int:
    """Return a benchmark's share of so many rows, requests or rounds."""
    return max(least, round(count * SHARE))


def seconds(full: float) -> float:
    """Return a benchmark's share of a simulated time: not less than a quarter, since the machine gets no quicker."""
    return full * max(LEAST_SHARE_OF_TIME, SHARE)
