"""The report's own columns and escapes, which reading and writing share."""

from batch.intake.columns import OUTCOME_COLUMNS
from batch.intake.escape import double_braces, neutralise, restore

__all__ = ["OUTCOME_COLUMNS", "double_braces", "neutralise", "restore"]
