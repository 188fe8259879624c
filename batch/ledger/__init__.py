"""What is known about every row and every paid job, on disk before it is needed.

states.py    the state machine: one table, no HTTP and no SQL
schema.sql   the tables
store.py     opening, binding to a service, and `move`, the one way a state changes
stage.py     a manifest on its way in: compared with what is known, then adopted in one transaction
feed.py      which job is carried next
bill.py      what the report, the summary and the status read
desk.py      the async face: calls of many rows share one commit
"""
