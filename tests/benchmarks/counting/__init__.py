"""A light, fast fake of the service in a process of its own, that counts what is asked of it.

    with Counting(Options(median_s=5, sigma=0.3)) as service:
        …                      # service.base_url
        service.counts()       # everything it saw

options (what it is) · limit (windows) · service (answers and counts) · wire (HTTP) · __main__ (the process)
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from counting.options import Options

HERE = Path(__file__).parents[1]


class Counting:
    """The service while a `with` block lasts; killed at its end."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.base_url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "counting", self.options.to_json()]
        self._process = subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        self.base_url = f"http://{self.options.host}:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def counts(self) -> dict[str, Any]:
        """Return what it counted until now."""
        with urllib.request.urlopen(f"{self.base_url}/_counts", timeout=30) as answer:
            counts: dict[str, Any] = json.load(answer)
            return counts
