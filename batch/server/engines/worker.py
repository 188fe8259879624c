"""One worker process of an engine: requests come in on stdin, images go out on stdout, both pickled.

The renderer, a function from RenderRequest to the encoded image, is named on the command line: the worker imports no
engine itself. An answer is preceded by its length, 4 bytes big-endian: the server reads without blocking, so it must know
how much to wait for.

Rule 1: the process ends when its stdin does, at once, even in the middle of an image: the server holds
the only other end of that pipe, so no worker outlives it, whatever killed it. Rule 2: nothing but answers goes to
stdout; prints of libraries land on stderr. Rule 3: an image that cannot be used is an answer; so is any other
exception, with its traceback on stderr.
"""

import contextlib
import os
import pickle
import queue
import struct
import sys
import threading
import traceback
from collections.abc import Callable

from batch.server.engines.base import RenderError, RenderRequest
from batch.server.engines.registry import load

Renderer = Callable[[RenderRequest], bytes]

LENGTH = struct.Struct(">I")


def answer(request: RenderRequest, render: Renderer) -> bytes | RenderError:
    """Return the image, or the reason why there is none."""
    try:
        return render(request)
    except RenderError as exc:
        return RenderError(str(exc))  # of a renderer's own class the server knows nothing
    except Exception:  # noqa: BLE001  the job fails and the worker lives on
        traceback.print_exc()
        return RenderError("internal error while the image was made")


def main() -> None:
    """Serve requests until stdin ends."""
    images = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    render: Renderer = load(sys.argv[1])
    requests: queue.SimpleQueue[RenderRequest] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    try:
        while True:
            pickled = pickle.dumps(answer(requests.get(), render))
            images.write(LENGTH.pack(len(pickled)) + pickled)
            images.flush()
    except BrokenPipeError:
        os._exit(0)  # the server is gone: nobody reads what is left in the buffer


def _read_requests(requests: queue.SimpleQueue[RenderRequest]) -> None:
    # The end of stdin, between two requests or within one.
    with os.fdopen(0, "rb", closefd=False) as stream, contextlib.suppress(EOFError, pickle.UnpicklingError):
        while True:
            requests.put(pickle.load(stream))  # noqa: S301  from the server that started us
    os._exit(0)


if __name__ == "__main__":
    main()
