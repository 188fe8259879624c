"""One frozen type for each stage of a row (Row and Payload are tuples: a run may make a million of them).

Issue         why a value cannot be used, and what to do
Problem       an issue with its place in a manifest
Row           a line of a manifest, as read
Payload       a row expanded and checked: what will be sent, under which name, known by which key
InvalidRow    a row that cannot be sent, and why
UncertainRow  a row whose payload depends on what the folder knows
Task          a job taken from the ledger, ready to be processed
Result        the service's report of a finished job
StoredImage   the bytes of a finished image that decodes
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from json.encoder import encode_basestring
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from batch.core.links import unsigned, without_query
from batch.core.parameters import BY_NAME, IMAGE_PARAMETERS, URL_PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batch.core.parameters import Scalar

KEY_PREFIX = "tb1-"
_CANONICAL = tuple((name, f'"{name}":') for name in sorted(BY_NAME) if name != "base64")
CONTENT_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Issue:
    """Why a value cannot be used, and what to do; the caller knows its place."""

    reason: str
    remedy: str


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
    """A line of a manifest, as read: `cells` in the manifest's column order, values not yet typed.

    `formerly` holds the cells that an earlier version of texbatch read differently, as it read them: a row that it paid
    for stays the work that was paid for. `unless_paid` are problems of the line that such a row is forgiven. A row with
    `problems` was not read as it is meant: it is never sent, and a cell that they name is empty in `cells`.
    """

    number: int
    cells: Mapping[str, Any]
    formerly: Mapping[str, Any] = MappingProxyType({})
    unless_paid: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()


class Payload(NamedTuple):
    """A row expanded and checked.

    `parameters` holds every parameter of the model, defaults filled in; a local image is
    `sha256:<hex>` of its bytes there, and `files` maps that text to the file. `cells` are the row's own columns that
    are not parameters. `output` is the image's path below `images/`, with forward slashes. `derived_id` is True
    where the manifest gave no id and it was made from the row's content. `long_id` is that id made from the URLs'
    whole queries, where the id leaves a part of them out: for rows that differ in nothing else.
    """

    number: int
    id: str
    derived_id: bool
    output: str
    parameters: Mapping[str, Scalar]
    files: Mapping[str, Path]
    cells: Mapping[str, str]
    long_id: str = ""


class InvalidRow(NamedTuple):
    """A row that cannot be sent: `problems` has the reasons, and the warnings about it.

    `id` is the one that was given, or was made from the row's content as for a good row (`derived_id`), or `row N` where
    there is nothing to make it from. `cells` are the row's own columns without the id. `texts` are its parameters as a
    manifest writes them, defaults filled in: templates expanded as far as they could be, braces doubled, paths absolute. A
    cell that could not be read is empty in both, or `?` where the row would be valid without it.
    """

    number: int
    id: str
    derived_id: bool
    cells: Mapping[str, str]
    texts: Mapping[str, str]
    problems: tuple[Problem, ...]

    @property
    def reasons(self) -> str:
        """Why it cannot be sent, in one text: each problem with its place and remedy."""
        return "; ".join(str(problem) for problem in self.problems if not problem.warning)


class UncertainRow(NamedTuple):
    """A row that is one payload or another, depending on what the folder knows.

    It is `formerly`, the row as an earlier version read it, where that version paid for it. Else it is the first of `lost` whose work need not be sent: the row with each content that a missing
    file may have had, likeliest first. Else it is `now`. `warnings` and `notes` are the warnings of the two readings.
    """

    formerly: tuple[Payload, ...]
    warnings: tuple[Problem, ...]
    lost: tuple[Payload, ...]
    now: Payload | InvalidRow
    notes: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one row wants its image: `output` below `images/`; `kept` is its present file there, if any.

    `kept_sha256` is the hash of that image: another row's may have taken its name since. `asked` is the output that the
    row asks for, where its image came in another format and `output` therefore has another suffix.
    """

    id: str
    output: str
    kept: str | None
    kept_sha256: str | None = None
    asked: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One job taken from the ledger: `parameters` and `files` as in Payload, `state` as in the ledger.

    `name` is what a log calls the job: the id of its first row, or its key where no row wants it. A candidate is called
    after its row and its seed, and `aside` is the name below `.previous/` that its image gets, without a suffix.
    `targets` are the rows that share this job and have no image of it yet; none when no row wants it any more.
    `sources` are files below `images/` that already hold the finished image. `request_id`, `output_url` and
    `submitted_at` (seconds since the epoch, UTC) are known from the state accepted on, `sha256` once it was saved.
    `estimate` is the amount set aside when it was reserved, in micro-dollars, `attempts` how often it was reserved.
    """

    job: int
    key: str
    name: str
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
    aside: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The service's report of a COMPLETED job: a URL or the image itself, and the service's own figures.

    Times in seconds; cost in micro-dollars, None where the service named none.
    """

    output: str
    cost: int | None
    queue_s: float | None
    inference_s: float | None
    total_s: float | None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The bytes of a finished image that decodes; width and height in pixels, never 0.

    `came_as` is its format (as in `image_format`) where another was asked for.
    """

    data: bytes
    width: int
    height: int
    sha256: str
    came_as: str | None = None


def seed_name(row_id: str, seed: object) -> str:
    """Return what people call one of several images of a row."""
    return f"{row_id} (seed {seed})"


def aside_name(output: str, seed: object) -> str:
    """Return the name below `.previous/`, without its suffix, of a row's image of this seed; `output` is the row's own name."""
    return f"{output.rpartition('.')[0] or output}.seed-{seed}"


def payload_key(parameters: Mapping[str, Scalar], *, ignore_url_query: bool = False) -> str:
    """Return the identity of a piece of work: "tb1-" + SHA-256 (hex) of the canonical JSON of all parameters.

    Canonical: keys sorted, no spaces, UTF-8. Local images are `sha256:<hex of their bytes>`, so a renamed
    file is the same work and an edited one is not. `base64` is left out: it changes the way, not the image. So is the
    signature of a URL (see `links`): a link that is signed again every night is the same work. With `ignore_url_query`
    the whole query strings of image URLs are left out.
    """
    return key_and_json(parameters, ignore_url_query=ignore_url_query)[0]


def key_and_json(parameters: Mapping[str, Scalar], *, ignore_url_query: bool = False) -> tuple[str, str]:
    """Return the key of a piece of work and all its parameters as JSON; quicker than one after the other."""
    canonical = identity = _canonical(parameters)
    if queried := [name for name in URL_PARAMETERS if "?" in str(parameters[name])]:
        cut = {
            name: without_query(str(parameters[name]))
            if ignore_url_query and name in IMAGE_PARAMETERS
            else unsigned(str(parameters[name]))
            for name in queried
        }
        identity = _canonical({**parameters, **cut})
    key = KEY_PREFIX + hashlib.sha256(identity.encode()).hexdigest()
    return key, f'{canonical[:-1]},"base64":{str(parameters["base64"]).lower()}}}'


def texts_json(texts: Mapping[str, str]) -> str:
    """Return the JSON of an object of texts; as json.dumps does, in a third of its time."""
    inside = ", ".join(
        f"{encode_basestring(name)}: {encode_basestring(text)}" for name, text in texts.items()
    )
    return f"{{{inside}}}"


def _canonical(parameters: Mapping[str, Scalar]) -> str:
    """Return the canonical JSON of all parameters but base64; by hand, since a long plan is mostly this."""
    parts = [
        head + (encode_basestring(value) if type(value := parameters[name]) is str else str(value).lower())
        for name, head in _CANONICAL
    ]
    return f"{{{','.join(parts)}}}"
