"""Job files: a YAML mapping with `manifest:` and any option of `run`.

Rule 1: keys may be written with dashes or underscores and come back as the command line spells them. Rule 2:
values stay text, so that `90s`, `1h`, `007` and `4:5` mean what the same text means on the command line; only
true and false become flags; `columns` alone is a mapping (--column). Rule 3: a key that is not an option is a problem, never ignored. Rule 4: `${NAME}` and
`${NAME:-default}` in a value are filled in from the environment that the caller passes, as in a shell; `$${` is a plain
`${`. They are for what differs from machine to machine (folders, caps), never for secrets: a value in an option may be
shown, logged and written down, so a name that looks like a secret is refused. Rule 5: an unquoted value that is empty,
or becomes so, is not given; where that would lift a bound on what is paid it is a problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.core.errors import IssueError
from batch.manifest.problems import ProblemLog, did_you_mean
from batch.manifest.readers.yaml_document import (
    COLUMNS_KEY,
    Fields,
    Items,
    Node,
    ScalarNode,
    read_columns,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from batch.core.models import Issue, Problem


MANIFEST_KEY = "manifest"
_FLAGS = {"true": True, "false": False}

OptionValue = str | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as read: `manifest` is resolved from the job file's folder, `options` are still texts and flags.

    `columns` has the manifest's heading of a parameter or `id`, "" where no column is it.
    """

    path: Path
    manifest: Path
    options: Mapping[str, OptionValue]
    columns: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


def read_job_file(
    path: Path,
    allowed: Collection[str],
    environment: Mapping[str, str] | None = None,
    *,
    refused: Mapping[str, Issue] | None = None,
    never_empty: Collection[str] = (),
) -> JobFile:
    """Return a job; raise ManifestError with every problem.

    `allowed` are the options' names, without leading dashes; `environment` holds the variables for `${NAME}`; `refused`
    are options that a job file may not hold, with reason and remedy. Those in `never_empty`, with underscores, must have a
    value where they are given.
    """
    found = ProblemLog(path)
    root = read_document(path, None, found)
    options: dict[str, OptionValue] = {}
    manifest: str | None = None
    broken: set[str] = set()
    spelt = {_plain(name): name for name in allowed}
    reasons = {_plain(name): issue for name, issue in (refused or {}).items()}
    nodes = dict(root.nodes) if isinstance(root, Fields) else {}
    columns = read_columns(nodes.pop(COLUMNS_KEY, None), found)
    for name, node in nodes.items():
        line = root.lines[name] if isinstance(root, Fields) else None
        if _plain(name) in reasons:
            found.problem(line, name, reasons[_plain(name)].reason, reasons[_plain(name)].remedy)
            continue
        try:
            node = _filled(node, environment or {})  # noqa: PLW2901  the same node, filled in
        except VariableError as exc:
            found.problem(node.line, name, exc.reason, exc.remedy)
            broken.add(name)
            continue
        value = _value(node)
        if value is None and not (isinstance(node, ScalarNode) and node.text is None):
            remedy = "Write it as on the command line."
            found.problem(line, name, "is neither a value nor a list of values.", remedy)
        elif name == MANIFEST_KEY:
            manifest = value if isinstance(value, str) else None
        elif _plain(name) not in spelt:
            known = [MANIFEST_KEY, *allowed, COLUMNS_KEY]
            remedy = did_you_mean(name, known) or f"Known are {', '.join(known)}."
            found.problem(line, name, "is not an option of run.", remedy)
        elif _plain(name) in never_empty and not value:
            reason = "is empty, and would bound nothing."
            found.problem(line, name, reason, "Give a value, or remove the line to go without.")
        elif value is not None:
            options[spelt[_plain(name)]] = value
    if not manifest and MANIFEST_KEY not in broken:
        found.problem(root.line, MANIFEST_KEY, "is missing.", "Name the manifest: `manifest: pairs.csv`.")
    found.raise_if_any()
    return JobFile(path, path.parent / str(manifest), options, columns, tuple(found.warnings))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _filled(node: Node, environment: Mapping[str, str]) -> Node:
    """Return a value, or a list of values, with its variables filled in; raises VariableError."""
    if isinstance(node, Items):
        items = [_filled(item, environment) if isinstance(item, ScalarNode) else item for item in node.nodes]
        return replace(node, nodes=items)
    if not isinstance(node, ScalarNode) or node.text is None:
        return node
    text = expand_variables(node.text, environment)
    return replace(node, text=None if node.plain and not text else text)


def _value(node: Node) -> OptionValue | None:
    """Return a text, a flag or some texts; None for null and for anything else."""
    if isinstance(node, ScalarNode):
        return _FLAGS.get(node.text, node.text) if node.plain and node.text is not None else node.text
    if isinstance(node, Items):
        texts = [item.text for item in node.nodes if isinstance(item, ScalarNode) and item.text is not None]
        return tuple(texts) if len(texts) == len(node.nodes) else None
    return None


_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|\$\{")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)
_SECRET = re.compile(
    r"(^|_)(API_?KEY|ACCESS_KEY|PRIVATE_KEY|SECRET_KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE
)


class VariableError(IssueError):
    """A value refers to a variable that cannot be filled in."""


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """Return `text` with its variables filled in; their values are not expanded again. Raises VariableError."""
    return _REFERENCE.sub(lambda found: _variable(found, environment), text)


def _variable(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found[0] == "$${":
        return "${"
    inside = _INSIDE.fullmatch(found["inside"] or "")
    if inside is None:
        raise VariableError(
            f"{found[0]!r} names no variable.",
            "Write ${NAME} or ${NAME:-default}; a plain ${ is written $${.",
        )
    name, default = inside["name"], inside["default"]
    if _SECRET.search(name):
        raise VariableError(
            f"${{{name}}} looks like a secret, which no option takes.",
            "The key is read from SEGMIND_API_KEY, or from the file that api-key-file names.",
        )
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise VariableError(f"the variable {name} is not set.", f"Set it, or give a default: ${{{name}:-…}}.")
    return value
