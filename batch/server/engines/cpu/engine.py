"""The engine "cpu": the renderer of this package in worker processes, so that OpenCV and numpy are never loaded by the server."""

import os

from batch.server.engines.process_pool import ProcessPool


def cpu_engine(images_at_once: int) -> ProcessPool:
    """Return the engine: no more workers than CPU cores, however many images are wanted at once."""
    return ProcessPool(
        "batch.server.engines.cpu.render:render_bytes", min(images_at_once, os.cpu_count() or 1)
    )
