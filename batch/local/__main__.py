"""`python -m batch.local`: settings as one line of JSON on stdin, one ready line on stdout, ends with its stdin."""

from __future__ import annotations

import sys

from batch.local.server import serve_child
from batch.local.settings import SettingsError


def main() -> None:
    """Serve; a setting that is refused is told on stderr, with exit code 2."""
    try:
        serve_child()
    except (SettingsError, OSError) as exc:
        sys.stderr.write(f"batch.local: {exc}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
