"""`--metrics-file`: a run's metrics, written each minute and at its end.

A separate thread reads the ledger as `status` does, so the run does not wait for it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from batch.cli.log import info
from batch.core.log_event import WARNING
from batch.ledger.ledger import Ledger
from batch.output.folder import OutputFolder
from batch.output.metrics import check_place, write_metrics

if TYPE_CHECKING:
    from pathlib import Path

METRICS_EVERY_S = 60.0


class MetricsFile:
    """Writes `file` until its `with` block ends, from `begin` on; the last write comes at the end of the block.

    Raises UsageError for a file that texbatch did not write.
    """

    def __init__(self, file: Path, out: Path) -> None:
        self._file = file
        self._folder = OutputFolder(out)
        check_place(file, self._folder)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_each_minute, name="metrics", daemon=True)
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Start writing. Not before the folder is held: until then its figures are another run's."""
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        if self._thread.ident is not None:  # it was started
            self._ended.set()
            self._thread.join()
            self._write()

    def _write_each_minute(self) -> None:
        while not self._ended.wait(METRICS_EVERY_S):
            self._write()

    def _write(self) -> None:
        try:
            with Ledger.read(self._folder.ledger) as ledger:
                write_metrics(ledger, self._folder.path, self._file)
        except Exception as exc:  # noqa: BLE001  the run matters more than its metrics
            if not self._warned:
                self._warned = True
                info(f"{exc} The run goes on without it.", "run.warning", WARNING)
