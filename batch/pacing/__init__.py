"""Pure speed control: it decides on times handed in, knows no HTTP and no ledger, and never sends anything.

limiter.py        each request's turn at the one gate that a 429 closes, and how many jobs are prepared and in flight
poll_schedule.py  when to ask for a job's status again, learned from job times
backoff.py        the loop that repeats a call which costs nothing
observations.py   what a run learned about its service, as text for the next run
forecast.py       how long a run will take
"""
