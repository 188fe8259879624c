"""What every other package shares: errors, settings, data types, the model's parameters, units, the CSV format.

Begin with `models.py` (one frozen type per stage of a row) and `errors.py` (the tree of errors and their exit codes).
It imports nothing of texbatch, reads no environment and opens no connection.
"""
