"""`python -m batch.server`: settings as one line of JSON on stdin, one ready line on stdout, ends with its stdin."""

import sys

from batch.server.serving import serve_child
from batch.server.settings import SettingsError


def main() -> None:
    """Serve; report a setting that is not valid on stderr, with exit code 2."""
    try:
        serve_child()
    except FileNotFoundError as exc:  # tempfile raises it, with its own text
        sys.stderr.write(f"batch.server: {exc.strerror}. Set TMPDIR to a folder that can be written.\n")
        sys.exit(2)
    except (SettingsError, OSError) as exc:
        sys.stderr.write(f"batch.server: {exc}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
