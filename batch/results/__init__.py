"""What a run leaves in its folder.

keep.py    the pictures: looked at, written whole or not at all
report.py  report.csv, failures.csv, summary.json: written in one pass from the ledger
"""
