"""What is known about every row and every paid job, on disk before it is needed: SQLite and the state machine.

Begin with `states.py`, the table of transitions, and `store.py`, the operations of a run by name; `ledger.py` has them in
SQLite, `memory.py` in dictionaries, and `transition` is the only way a state changes. `async_ledger.py` lets calls of many
jobs share a commit.
`staging.py` compares a manifest with what is known and adopts it in one transaction; `image_index.py`, `runs.py` and
`totals.py` are the questions of plans, reports and commands; `meta.py` lists the single values that a ledger remembers.
All SQL of texbatch is in this folder. It may import core only.
"""
