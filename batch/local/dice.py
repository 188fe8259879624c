"""Chance that can be repeated: every draw belongs to a purpose and an ordinal, never to the order of calls.

So the fifth job of a seeded server has the same request id, latency and cost whatever else happened before it.
Nothing here protects anything: keys and file names come from `secrets`.
"""

from __future__ import annotations

import random
import secrets
import uuid


class Dice:
    """The source of all repeatable draws of one server; without a seed a fresh one is taken."""

    def __init__(self, seed: int | None) -> None:
        self._seed = secrets.randbits(128) if seed is None else seed

    def draw(self, purpose: str, ordinal: int) -> random.Random:
        """Return the generator of draw `ordinal` for `purpose`; asking again starts it again."""
        return random.Random(f"{self._seed}:{purpose}:{ordinal}")  # noqa: S311  repeatable, protects nothing

    def request_id(self, ordinal: int) -> str:
        """Return the request id of job `ordinal`, a UUID."""
        return str(uuid.UUID(int=self.draw("request id", ordinal).getrandbits(128), version=4))
