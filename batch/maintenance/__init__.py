"""The commands besides a run: resolve unknown rows, restore moved images, check an installation, write a first manifest.

`resolve.py` changes states only, `restore.py` pays only after a person confirms, `doctor.py` changes nothing,
`new_manifest.py` writes one new file.
It may import every package except cli.
"""
