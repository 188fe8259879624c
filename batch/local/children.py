"""How a Python child process of ours is started: nothing of the folder we stand in can slip into it.

`python -m` puts the current folder first on the import path, where a user's `json.py` or `batch/` would win. So
the child runs with -P and is told where this package lies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from {module} import main; main()"
)


def environment() -> dict[str, str]:
    """Return our environment without the key of the real service: no child has a use for it."""
    return {name: value for name, value in os.environ.items() if name != "SEGMIND_API_KEY"}


def command(module: str) -> list[str]:
    """Return the command that runs `main()` of one of our modules."""
    return [sys.executable, "-P", "-c", START.format(module=module), str(ROOT)]
