"""The commands on a folder besides a run: resolve unknown rows, restore moved images, check an installation.

`resolve.py` changes states only, `restore.py` pays only after a person confirms, `doctor.py` changes nothing.
It may import every package except cli.
"""
