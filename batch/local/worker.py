"""One worker process of the drape engine: orders come in on stdin, pictures go out on stdout.

A frame is a 4-byte big-endian length, a JSON head of that length, and the blobs whose lengths `head["blobs"]`
lists. Rule 1: the process ends when its stdin does, at once, even in the middle of a picture: the server holds
the only other end of that pipe, so no worker outlives it, whatever killed it. Rule 2: nothing but frames goes to
stdout; prints of libraries land on stderr. Rule 3: a picture that cannot be used is an answer; any other
exception is too, with its traceback on stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import threading
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

LENGTH = struct.Struct(">I")
Frame = tuple[dict[str, Any], list[bytes]]


def pack(head: dict[str, Any], blobs: Sequence[bytes]) -> bytes:
    """Return one frame."""
    text = json.dumps({**head, "blobs": [len(blob) for blob in blobs]}).encode()
    return b"".join((LENGTH.pack(len(text)), text, *blobs))


def read_frame(stream: BinaryIO) -> Frame | None:
    """Return the next frame, or None at the end of the stream or in the middle of a cut one."""
    start = stream.read(LENGTH.size)
    if len(start) < LENGTH.size:
        return None
    text = stream.read(LENGTH.unpack(start)[0])
    if not text:
        return None
    head = json.loads(text)
    blobs = [stream.read(size) for size in head["blobs"]]
    return (head, blobs) if [len(blob) for blob in blobs] == head["blobs"] else None


def answer(frame: Frame) -> bytes:
    """Return the frame that answers an order: a picture, or why there is none."""
    from batch.local.engine import PictureError, RenderRequest, render  # noqa: PLC0415  numpy and OpenCV

    head, (product, texture) = frame
    try:
        rendered = render(RenderRequest(product=product, texture=texture, **head["request"]))
    except PictureError as exc:
        return pack({"error": str(exc)}, [])
    except Exception:  # noqa: BLE001  whatever it is, the job fails and the worker lives on
        traceback.print_exc()
        return pack({"error": "internal error while the picture was made"}, [])
    return pack({"width": rendered.width, "height": rendered.height}, [rendered.data])


def main() -> None:
    """Serve orders until stdin ends."""
    import cv2  # noqa: PLC0415  start-up time of the server, which imports this module too

    cv2.setNumThreads(1)  # one worker a core; threads of each on top would only fight
    pictures = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    orders: queue.SimpleQueue[Frame] = queue.SimpleQueue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):  # the server is gone
        while True:
            frame = memoryview(answer(orders.get()))
            while frame:
                frame = frame[pictures.write(frame) :]


def _read_orders(orders: queue.SimpleQueue[Frame]) -> None:
    with os.fdopen(0, "rb", closefd=False) as stream:
        while (frame := read_frame(stream)) is not None:
            orders.put(frame)
    os._exit(0)


if __name__ == "__main__":
    main()
