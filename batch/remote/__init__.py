"""The conversation with the service.

api.py       the border: the only module that imports httpx; requests in, Reply or NoAnswer out · pool.py  the connections
judge.py     what an answer means, as one table with reasons · verdicts.py its values · values.py  the amounts and times in it
body.py      JSON in and out, a large one in a thread · route.py  proxies and certificates
gate.py      when a request may go: the one gate that a 429 closes for everybody, pure
concurrency.py  how many jobs to keep in flight, pure
polls.py     when to look again: the poll learner, pure
pace.py      the waiting: what the three before decide, done
learned.py   what a run found out, as text for the next one
watch.py     from a request id to its end · reconcile.py, history.py  what became of a lost submit
blocking.py  v1, the blocking call: its answer, and what it means for the money
client.py    submit, run_sync, status, result, wait, upload, credits: what the journey uses, and what a script may use
upload.py    local images, uploaded once per content
"""

import logging

logging.getLogger("stamina").addHandler(logging.NullHandler())  # else its retries reach stderr as bare words
