"""The columns of manifests and reports: which are the model's, which are ours, which are the user's.

Rule 1: a column with a parameter's name, in any spelling (see `fold`), is that parameter; what else makes a column a
parameter is in headings.py. Rule 2: a file that has both `payload_key` and `run_id` is texbatch's own, and its outcome
columns are dropped on reading. Rule 3: in any other file a column with an outcome's name is the user's and becomes
`manifest_<name>`, so that it is never mistaken for the report's own, and so does an own column with the very name of a
parameter; one with the name of an outcome added later keeps it, and ours is `texbatch_<name>`. This module knows no file
format.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from unicodedata import category, normalize

from batch.core.csv_format import ADDED_LATER, OUTCOME_COLUMNS, OWN_PREFIX
from batch.core.parameters import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence


ID = "id"
MAX_COLUMNS = 16_384
"""As many as Excel has."""
OUTCOME_NAMES = frozenset(OUTCOME_COLUMNS) - ADDED_LATER | {OWN_PREFIX + name for name in ADDED_LATER}
_MARKS = str.maketrans("", "", "-_")


is_own = frozenset({"payload_key", "run_id"}).issubset
"""Whether texbatch wrote a file with these columns."""


@lru_cache(maxsize=4096)
def fold(heading: str) -> str:
    """Return a heading without what does not matter in it: letter case, blanks of any kind, hyphens and underscores, what is invisible."""
    plain = normalize("NFKC", heading).casefold().translate(_MARKS)
    return "".join(letter for letter in plain if not letter.isspace() and category(letter) != "Cf")


SPELLINGS = {fold(name): name for name in (*BY_NAME, ID)}
"""The parameters, and `id`, by their folded names."""


def spelt(heading: str) -> str | None:
    """Return the parameter, or `id`, that a heading is a spelling of; None for any other heading."""
    return SPELLINGS.get(fold(heading))


def own_name(heading: str) -> str:
    """Return the name of a column that is not a parameter, under which its rows have it."""
    return f"manifest_{heading}" if heading in BY_NAME or heading == ID else heading


def report_heading(heading: str) -> str:
    """Return what the report writes above a column of the manifest: its heading, but never an outcome's name."""
    return f"manifest_{heading}" if heading in OUTCOME_NAMES else heading


def report_names(columns: Sequence[str]) -> dict[str, str]:
    """Return the columns that are not parameters, in order, each with its name in the report."""
    return {column: report_heading(column) for column in columns if column not in BY_NAME}
