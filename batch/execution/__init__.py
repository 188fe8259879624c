"""One run: take the folder's lock, plan, process every job, reconcile what is unknown, write the reports.

Begin with `pipeline.py`, which takes one job from planned to saved (upload, submit, poll, fetch). Around it: `runner.py` from
lock to exit code, `dispatcher.py` for what the jobs share and when each starts, `reconcile.py` for lost submits,
`shutdown.py` for signals and limits, `transitions.py` for what an answer does to a job and to the budget, `progress.py` for
what a caller sees of it, `account_check.py` for whose folder it is.
It may import everything below it: core, ledger, manifest, pacing, client, output, planning and the server that --local starts.
"""
