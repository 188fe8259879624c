"""`python -m batch` is `texbatch`."""

from batch.cli import main

main()
