"""The conversation with the service.

api.py       the border: the only module that imports httpx; requests in, Reply or NoAnswer out
verdicts.py  what an answer means, as tables: pure functions
pace.py      how many jobs at once, and the one gate that a 429 closes for everybody
polls.py     when to look again: the poll learner, pure
blocking.py  v1, the blocking call: its answer, and what it means for the money
client.py    submit, run_sync, status, result, wait, upload, credits: what the journey uses, and what a script may use
upload.py    local images, uploaded once per content
"""

import logging

logging.getLogger("stamina").addHandler(logging.NullHandler())  # else its retries reach stderr as bare words
