"""What a row is at each stage of its journey: one frozen type a stage (Row and Payload as tuples: made a million times).

Problem  what is wrong with a manifest, and where
Row      a line of a manifest, as read
Payload  a row expanded and checked: what will be sent, under which name, known by which key
Task     a payload taken from the ledger, ready to be carried to the end
Result   what the service says of a finished job
Picture  the bytes of a finished picture, looked at and found good
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.parameters import BY_NAME, IMAGE_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch.parameters import Scalar

KEY_PREFIX = "tb1-"
_CANONICAL = tuple((name, f'"{name}":') for name in sorted(BY_NAME) if name != "base64")
CONTENT_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a manifest: place, reason, remedy.

    `row` is the line of a text file as an editor counts it (1-based), or the number of the YAML row;
    None when the whole file is meant. A warning does not stop a run.
    """

    file: str
    row: int | None
    column: str | None
    reason: str
    remedy: str
    warning: bool = False

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.row, self.column) if part is not None)
        return f"{place}: {'warning: ' if self.warning else ''}{self.reason} {self.remedy}".rstrip()


class Row(NamedTuple):
    """A line of a manifest, as read: `cells` in the manifest's column order, values not yet typed."""

    number: int
    cells: Mapping[str, Any]


class Payload(NamedTuple):
    """A row expanded and checked.

    `parameters` holds every parameter of the model, defaults filled in; a local image stands there as
    `sha256:<hex>` of its bytes, and `files` maps that text to the file. `cells` are the row's own columns that
    are no parameters. `output` is the picture's path below `images/`, with forward slashes. `derived_id` says
    that the manifest gave no id and it was made from the row's content.
    """

    number: int
    id: str
    derived_id: bool
    output: str
    parameters: Mapping[str, Scalar]
    files: Mapping[str, Path]
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one row wants its picture: `output` below `images/`; `kept` is what lies there for it now, if anything.

    `kept_sha256` is the hash of that picture: another row's may have taken its name since.
    """

    id: str
    output: str
    kept: str | None
    kept_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One job taken from the ledger: `parameters` and `files` as in Payload, `state` as in the ledger.

    `targets` are the rows that share this job and have no picture of it yet; none when no row wants it any more.
    `sources` are files below `images/` that already hold the finished picture. `request_id`, `output_url` and
    `submitted_at` (seconds since the epoch, UTC) are known from the state accepted on, `sha256` once it was saved.
    `estimate` is what was set aside for it when it was reserved, in micro-dollars, `attempts` how often it was reserved.
    """

    job: int
    key: str
    state: str
    targets: tuple[Target, ...]
    sources: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    files: Mapping[str, Path]
    request_id: str | None
    output_url: str | None
    submitted_at: float | None
    estimate: int | None
    sha256: str | None
    attempts: int = 0

    @property
    def name(self) -> str:
        """What a log calls this job: the id of its first row, or its key."""
        return self.targets[0].id if self.targets else self.key


@dataclass(frozen=True, slots=True)
class Result:
    """What the service says of a COMPLETED job: a URL or the picture itself, and the service's own figures.

    Times in seconds; cost in micro-dollars, None where the service named none.
    """

    output: str
    cost: int | None
    queue_s: float | None
    inference_s: float | None
    total_s: float | None


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of a finished picture that decode to the asked format; pixels, never 0."""

    data: bytes
    width: int
    height: int
    sha256: str


def payload_key(parameters: Mapping[str, Scalar], *, ignore_url_query: bool = False) -> str:
    """Return the identity of a piece of work: "tb1-" + SHA-256 (hex) of the canonical JSON of all parameters.

    Canonical: keys sorted, no spaces, UTF-8. Local images stand as `sha256:<hex of their bytes>`, so a renamed
    file is the same work and an edited one is not. `base64` is left out: it changes the way, not the picture. With
    `ignore_url_query` so are the query strings of image URLs: a link that is signed anew every night is the same work.
    """
    if ignore_url_query:
        cut = {name: str(parameters[name]).partition("?")[0] for name in IMAGE_PARAMETERS}
        parameters = {**parameters, **cut}
    return _key_of(_canonical(parameters))


def keyed(parameters: Mapping[str, Scalar], *, ignore_url_query: bool = False) -> tuple[str, str]:
    """Return the key of a piece of work and all its parameters as JSON; quicker than one after the other."""
    canonical = _canonical(parameters)
    key = payload_key(parameters, ignore_url_query=True) if ignore_url_query else _key_of(canonical)
    return key, f'{canonical[:-1]},"base64":{_number(parameters["base64"])}}}'


def texts_json(texts: Mapping[str, str]) -> str:
    """Return the JSON of an object of texts; as json.dumps does, in a third of its time."""
    inside = ", ".join(
        f"{encode_basestring(name)}: {encode_basestring(text)}" for name, text in texts.items()
    )
    return f"{{{inside}}}"


def _canonical(parameters: Mapping[str, Scalar]) -> str:
    """Return the canonical JSON of all parameters but base64; by hand, since a long plan is mostly this."""
    parts = [
        head + encode_basestring(value) if type(value := parameters[name]) is str else head + _number(value)
        for name, head in _CANONICAL
    ]
    return f"{{{','.join(parts)}}}"


@lru_cache(typed=True)
def _number(value: Scalar) -> str:
    """Return the JSON of an int or a truth value."""
    return str(value).lower()


def _key_of(canonical: str) -> str:
    return KEY_PREFIX + hashlib.sha256(canonical.encode()).hexdigest()
