"""One module for each manifest format; `base.py` has what they share, `manifest.manifest.open_manifest` chooses by suffix."""
