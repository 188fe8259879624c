"""`${NAME}` and `${NAME:-default}` in the values of a job file, as a shell means them; `$${` is a plain `${`.

For what differs from machine to machine: folders, caps. Never for secrets: a name that looks like one is refused,
because a value that was put into an option may be shown, logged and written down.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|\$\{")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_SECRET = re.compile(
    r"(^|_)(API_?KEY|ACCESS_KEY|PRIVATE_KEY|SECRET_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE
)


class CannotExpand(ValueError):
    """A value refers to a variable that cannot be put there; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Return `text` with its variables filled in; what they hold is not expanded again. Raises CannotExpand."""
    return _REFERENCE.sub(lambda found: _value(found, environment), text)


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found[0] == "$${":
        return "${"
    inside = _INSIDE.fullmatch(found["inside"] or "")
    if inside is None:
        raise CannotExpand(
            f"{found[0]!r} names no variable.",
            "Write ${NAME} or ${NAME:-default}; a plain ${ is written $${.",
        )
    name, default = inside["name"], inside["default"]
    if _SECRET.search(name):
        raise CannotExpand(
            f"${{{name}}} looks like a secret, which no option takes.",
            "The key is read from SEGMIND_API_KEY, or from the file that api-key-file names.",
        )
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise CannotExpand(f"the variable {name} is not set.", f"Set it, or give a default: ${{{name}:-…}}.")
    return value
