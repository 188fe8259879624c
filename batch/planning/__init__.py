"""A manifest compared with an output folder: what is new, changed, done, in flight or unknown, and what it would cost.

Begin with `planner.py`, which makes the plan; `validate.py` reads the manifest in one pass and collects its problems,
`fingerprint.py` skips it for a manifest that has not changed, `redo.py` makes rows of the folder again. Nothing is
sent. It may import core, ledger, manifest, pacing, client and output.
"""
