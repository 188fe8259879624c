"""The service's HTTP API: one attempt per call, what its answer means, and the history of the account.

Begin with `client.py`, the public `Client`, and `responses.py`, the table of what each answer to a submit means. `calls.py`
has the single calls, `http.py` carries them (the only module that imports httpx and aiohttp), `poller.py` follows a job to
its end, `history.py` reads the request history (`history_page.py` one answer of it), `bodies.py` compares what it lists
with what was sent. It may import core and pacing, never the ledger: nothing here knows what is on disk.
"""
