"""What a ledger remembers beside rows, jobs and events: the names in its table `meta`, each with one text."""

from __future__ import annotations

from enum import StrEnum


class Meta(StrEnum):
    """A name in the table `meta`. The values are in the ledgers of today: they never change."""

    SERVICE = "service"  # the host whose folder it is; LOCAL_SERVICE for the local one
    COLUMNS = "columns"  # the manifest's own columns as the report writes them, a JSON list
    HEADINGS = "headings"  # every column: [heading as the report writes it, the parameter or id that it is or ""], JSON
    SHEET = "sheet"  # the sheet of a workbook that was read, "" where there was none
    NAME = "name"  # the template of the output names, where one was given
    IGNORE_URL_QUERY = "ignore_url_query"  # 1 or 0
    GROUP_BY = "group_by"  # the column by which summary.json counts rows and money
    FINGERPRINT = "imprint"  # of the manifest adopted last
    CHOSEN = "chosen"  # the number of the last choice that was applied
    PILOT = "pilot"  # the jobs of the pilot, a JSON list
    PILOT_ONLY = "pilot_only"  # 1 until a run of the whole manifest is begun after a first pilot
    OBSERVATIONS = "learned"  # what runs learned about the service, JSON
    SEARCHED = "searched"  # a digest of the foreign files that were searched for missing images
    LOSS = "lost"  # what the ledger lost at its end, JSON
    DECISIONS_FILES = "decisions_files"  # hashes of decisions.csv as it was written last, a JSON list
    DECISIONS_SHOWN = "decisions_shown"  # the last decision that the reports in the folder show
    SEALED = "sealed"  # the clean-close marker: the file's modification time, ns
