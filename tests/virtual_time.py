"""An event loop whose clock jumps: when every task waits, it is at once the moment that the next one waits for.

So a run of an hour is over in a fraction of a second, and takes the same course each time. Nothing but timers may be
waited for: a socket or a thread would not be.
"""

import asyncio
import selectors


class _NoWaiting(selectors.DefaultSelector):
    """Looks at what is ready and never waits; what it was asked to wait moves the clock."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("every task waits, and for nothing that will come")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Give it to anyio: `anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})`."""

    def __init__(self):
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self):
        """Return the seconds that have passed, none of them real."""
        return self._clock.now
