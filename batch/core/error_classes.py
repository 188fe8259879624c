"""The error classes: why a row has no image, one word each, as report.csv, the logs, the metrics and summary.json have it.

People's scripts compare these words: a value here never changes. Every module takes them from here, and output/advice.py
says what to do about each.
"""

# Never sent
INVALID = "invalid"  # the row of the manifest cannot be used as it is

# Not accepted, not billed
REFUSED = "refused"  # by the service, as the row is
BAD_INPUT = "bad_input"  # an image cannot be read or used
UPLOAD = "upload"  # an image was not taken by the upload host
SERVICE_ERROR = "service_error"  # the vendor's own 500, each time
NOT_DELIVERED = "not_delivered"  # no connection could be made
NEVER_ARRIVES = "never_arrives"  # the history proves so, however often it was sent
STOPPED = "stopped"  # the service refuses the account as a whole

# Perhaps accepted and billed: the job is unknown
NO_ANSWER = "no_answer"  # none came, or only part of one
AMBIGUOUS_ANSWER = "ambiguous_answer"  # perhaps a gateway's
NO_REQUEST_ID = "no_request_id"  # accepted, without saying as what
REPEATED_REQUEST_ID = "repeated_request_id"  # the answer names a request that another job holds
INTERRUPTED = "interrupted"  # the run ended before the answer came
LOST_LEDGER = "lost_ledger"  # a run whose records are lost may have sent it

# Accepted
JOB_FAILED = "job_failed"  # the service reports a failure; not billed, unless it was completed before
EXPIRED = "expired"  # paid, and the service no longer has the result
NOT_FETCHED = "not_fetched"  # paid; the image, or the history that may know where it is, was out of reach
NO_IMAGE = "no_image"  # paid; its host and the history both answer and do not have it for now
UNUSABLE_IMAGE = "unusable_picture"  # paid; after its hour everybody answers and nobody has a usable image
OTHER_FORMAT = "other_format"  # saved, in another format than asked: the one class of a row with an image
