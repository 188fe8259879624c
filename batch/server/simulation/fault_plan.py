"""Which call a fault hits; pure. Apart from `faults`, so that a server without faults starts without pydantic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch.server.simulation.faults import Fault
    from batch.server.simulation.latency import SeededRandom


class FaultPlan:
    """The faults in force, and how many calls each has seen."""

    def __init__(self, faults: Sequence[Fault], random: SeededRandom) -> None:
        self.faults = faults
        self._random = random
        self._seen = [0] * len(self.faults)
        self._calls = frozenset(fault.call for fault in self.faults)

    def select(self, call: str, prompt: Callable[[], str]) -> Fault | None:
        """Count this call and return the fault that hits it; `prompt` is asked only when a fault wants it."""
        if call not in self._calls:
            return None
        hit = None
        for index, fault in enumerate(self.faults):
            if fault.call != call or (fault.prompt is not None and fault.prompt not in prompt()):
                continue
            self._seen[index] += 1
            if hit is None and self._hits(index, fault):
                hit = fault
        return hit

    def _hits(self, index: int, fault: Fault) -> bool:
        ordinal = self._seen[index]
        if fault.nth and ordinal not in fault.nth:
            return False
        if fault.first is not None and ordinal > fault.first:
            return False
        if fault.probability is None:
            return True
        return self._random.draw(f"fault {index}", ordinal).random() < fault.probability
