"""`--metrics-file`: the figures written each minute beside a run, and once more at its end.

A thread of its own reads the ledger as `status` does, so the run neither waits for it nor knows of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from batch.folder import OutputFolder
from batch.ledger.store import Ledger
from batch.log import WARNING
from batch.results.metrics import write_metrics

if TYPE_CHECKING:
    from pathlib import Path

    from batch.cli.log import Log

EVERY_S = 60.0


class MetricsFile:
    """Writes FILE while its block goes on, from `begin` on; without a file it does nothing."""

    def __init__(self, file: Path | None, out: Path, log: Log) -> None:
        self._file = file
        self._folder = OutputFolder(out)
        self._log = log
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Start writing. Not before the folder is held: its figures are another run's until then."""
        if self._file is not None and self._thread is None:
            self._thread = threading.Thread(target=self._go_on, name="metrics", daemon=True)
            self._thread.start()

    def __exit__(self, *exc: object) -> None:
        if self._thread is not None:
            self._ended.set()
            self._thread.join()
            self._write()

    def _go_on(self) -> None:
        while not self._ended.wait(EVERY_S):
            self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            with Ledger.read(self._folder.ledger) as ledger:
                write_metrics(ledger, self._folder.path, self._file)
        except Exception as exc:  # noqa: BLE001  the run is worth more than its figures
            if not self._warned:
                self._warned = True
                self._log.say(f"{exc} Going on without it.", "run.warning", WARNING)
