"""How much a test does: the environment decides, so that each process of a session decides alike.

EXAMPLES=all lets properties draw all their examples, the same ones each time; EXAMPLES=new draws others each time, for the
proofs: what a change is judged by must not fail by chance. SHARE=0.1 lets benchmarks run at a tenth of their size, where goals
that hold only at full size are reported and not judged.
"""

from __future__ import annotations

import os

SHARE_OF_EXAMPLES = 10
LEAST_EXAMPLES = 5
EXAMPLES = os.environ.get("EXAMPLES")
SHARE = float(os.environ.get("SHARE", "1"))
LEAST_SHARE_OF_TIME = 0.25


def examples(count: int) -> dict[str, object]:
    """Return hypothesis' settings for a property: all `count` examples or a tenth of them, 5 at least, however long one takes."""
    drawn = count if EXAMPLES in {"all", "new"} else max(LEAST_EXAMPLES, count // SHARE_OF_EXAMPLES)
    return {"max_examples": drawn, "deadline": None, "derandomize": EXAMPLES != "new"}


def size(count: int, *, least: int = 1) -> int:
    """Return a benchmark's share of so many rows, requests or rounds."""
    return max(least, round(count * SHARE))


def seconds(full: float) -> float:
    """Return a benchmark's share of a simulated time: not less than a quarter, since the machine gets no quicker."""
    return full * max(LEAST_SHARE_OF_TIME, SHARE)
