"""`python -m batch.local` is `python -m batch.server`, with a warning on stderr."""

from __future__ import annotations

import warnings

from batch.server.__main__ import main

if __name__ == "__main__":
    warnings.warn("python -m batch.local is now python -m batch.server", DeprecationWarning, stacklevel=1)
    main()
