"""Job files: a YAML mapping with `manifest:` and any option of `run`.

Rule 1: keys may be written with dashes or underscores and come back as the command line spells them. Rule 2:
values stay text, so that `90s`, `1h`, `007` and `4:5` mean what the same text means on the command line; only
true and false become flags. Rule 3: a key that is no option is a problem, never ignored. Rule 4: `${NAME}` in a
value is filled in from the environment that the caller hands in; an unquoted value that thereby becomes empty is not given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batch.errors import ManifestError
from batch.intake.document import Fields, Items, Node, Scalar, read_document, read_source
from batch.intake.findings import Findings
from batch.intake.spelling import did_you_mean
from batch.intake.variables import CannotExpand, expand_variables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

MANIFEST = "manifest"
_FLAGS = {"true": True, "false": False}
_SUFFIXES = (".yaml", ".yml")

Option = str | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as read: `manifest` is found from the job file's folder, `options` are still texts and flags."""

    path: Path
    manifest: Path
    options: Mapping[str, Option]


def is_job_file(path: Path) -> bool:
    """Tell a job from a manifest: YAML with `manifest:` at the top. A file that cannot be read is none.

    Reads no further than the first `rows:` or `matrix:`, so that a long manifest is not read twice.
    """
    if path.suffix.lower() not in _SUFFIXES or not path.is_file():
        return False
    import yaml  # noqa: PLC0415  start-up time

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth, key = 0, True
    try:
        event: Any
        for event in yaml.parse(read_source(path, None), Loader=loader):
            kind = type(event).__name__
            if depth == 1 and kind != "MappingEndEvent":
                if key and kind == "ScalarEvent" and event.value in (MANIFEST, "rows", "matrix"):
                    return bool(event.value == MANIFEST)
                key = not key
            if kind in ("MappingStartEvent", "SequenceStartEvent"):
                if depth == 0 and kind == "SequenceStartEvent":
                    return False
                depth += 1
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                depth -= 1
    except (yaml.YAMLError, ManifestError):
        return False  # opening it as a manifest will say what is wrong
    return False


def read_job_file(
    path: Path, allowed: Collection[str], environment: Mapping[str, str] | None = None
) -> JobFile:
    """Return a job; raise ManifestError with every problem.

    `allowed` are the options' names, without dashes before; `environment` is what `${NAME}` may refer to.
    """
    found = Findings(path)
    root = read_document(path, None, found)
    options: dict[str, Option] = {}
    manifest: str | None = None
    broken: set[str] = set()
    spelt = {_plain(name): name for name in allowed}
    nodes = root.nodes if isinstance(root, Fields) else {}
    for name, node in nodes.items():
        line = root.lines[name] if isinstance(root, Fields) else None
        try:
            node = _filled(node, environment or {})  # noqa: PLW2901  the same node, filled in
        except CannotExpand as exc:
            found.problem(node.line, name, str(exc), exc.remedy)
            broken.add(name)
            continue
        value = _value(node)
        if value is None and not (isinstance(node, Scalar) and node.text is None):
            found.problem(
                line, name, "is no value and no list of values.", "Write it as on the command line."
            )
        elif name == MANIFEST:
            manifest = value if isinstance(value, str) else None
        elif _plain(name) not in spelt:
            remedy = (
                did_you_mean(name, [MANIFEST, *allowed]) or f"Known are {', '.join([MANIFEST, *allowed])}."
            )
            found.problem(line, name, "is no option of run.", remedy)
        elif value is not None:
            options[spelt[_plain(name)]] = value
    if not manifest and MANIFEST not in broken:
        found.problem(root.line, MANIFEST, "is missing.", "Name the manifest: `manifest: pairs.csv`.")
    found.settle()
    return JobFile(path, path.parent / str(manifest), options)


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _filled(node: Node, environment: Mapping[str, str]) -> Node:
    """Return a value, or a list of values, with its variables filled in; raises CannotExpand."""
    if isinstance(node, Items):
        items = [_filled(item, environment) if isinstance(item, Scalar) else item for item in node.nodes]
        return replace(node, nodes=items)
    if not isinstance(node, Scalar) or node.text is None:
        return node
    text = expand_variables(node.text, environment)
    return replace(node, text=None if node.plain and not text else text)


def _value(node: Node) -> Option | None:
    """Return a text, a flag or some texts; None for null and for what is neither."""
    if isinstance(node, Scalar):
        return _FLAGS.get(node.text, node.text) if node.plain and node.text is not None else node.text
    if isinstance(node, Items):
        texts = [item.text for item in node.nodes if isinstance(item, Scalar) and item.text is not None]
        return tuple(texts) if len(texts) == len(node.nodes) else None
    return None
