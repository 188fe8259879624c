"""How a Python child process of ours is started: nothing of the current folder can get into it.

`python -m` puts the current folder first on the import path, where a user's `json.py` or `batch/` would win. So
the child runs with -P and gets the place of this package as an argument.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START = (
    "import sys; root = sys.argv.pop(1); root in sys.path or sys.path.insert(0, root); "
    "from {module} import main; main()"
)


def python_child(module: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs `main()` of one of our modules, and its environment.

    That is our environment without the key of the real service, which no child needs.
    """
    environment = {name: value for name, value in os.environ.items() if name != "SEGMIND_API_KEY"}
    return [sys.executable, "-P", "-c", START.format(module=module), str(ROOT), *arguments], environment
