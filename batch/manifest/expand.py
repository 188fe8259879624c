"""Rows to payloads: defaults filled in, templates expanded, values checked, images identified, names given.

The steps of one row, in the order of `Expander`:

    given → id and templates → values → images → output name → Payload

Rule 1: row > overrides (command line, environment, job file) > manifest defaults > the model's own default.
Rule 2: all problems of a row are reported together. What is wrong for all rows (a default that is not valid, a template
with an unknown name, a required parameter that nothing gives) is reported once, before the first row. Rule 3: a stream
in, a stream out; only bounded caches of texts are kept, so the length of a manifest costs time and no memory.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from batch.core.config import DEFAULT_NAME
from batch.core.csv_format import bad_character, double_braces
from batch.core.links import unsigned, without_query
from batch.core.models import InvalidRow, Issue, Payload, Problem, Row, UncertainRow
from batch.core.parameters import BY_NAME, EXTENSIONS, IMAGE_PARAMETERS, PARAMETERS, Scalar
from batch.manifest.columns import ID, report_names
from batch.manifest.guesses import propose
from batch.manifest.input_images import (
    InputImageCache,
    InputImages,
    UnreadableFile,
    has_scheme,
    is_simple_url,
)
from batch.manifest.naming import MAX_ID_BYTES, derive_id, id_fault, is_url, name_fault, normal_name
from batch.manifest.values import (
    TYPED_NAMES,
    Template,
    TemplateError,
    is_template,
    parse_template,
    parse_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batch.core.errors import IssueError
    from batch.manifest.manifest import Manifest

EXT = "ext"
NAME_OPTION = "--name"
TEMPLATES = tuple(
    parameter.name
    for parameter in PARAMETERS
    if parameter.kind in ("image", "url") or (parameter.kind == "text" and not parameter.choices)
)
"""The parameters whose text is a template."""

_DEFAULT_TEXTS = {
    parameter.name: str(parameter.default).lower()
    if isinstance(parameter.default, bool)
    else str(parameter.default)
    for parameter in PARAMETERS
    if not parameter.required
}
_REQUIRED = tuple(parameter.name for parameter in PARAMETERS if parameter.required)
UNREAD = "?"
"""What the report has for a parameter that could not be read: no value of it, so that the row stays invalid until
somebody edits it. A required one is empty instead."""

_AXES = {"image_1": "product", "image_2": "texture"}
_OF_ALL_ROWS = "(given for all rows) "


class ManifestDefaults:
    """The defaults of one manifest under given overrides: what holds for every row before the row is read.

    `texts` has the default text of every parameter but the required ones that have none, `values` the typed defaults but
    for prompt, images and templates, `own` the defaults of the columns that are not parameters. A parameter whose default
    is not valid goes back to the model's own default and is `broken`: a row that does not give it fails without another
    message. `name` is the template of the images' names, `aliases` the columns that templates may call by their headings.
    """

    def __init__(self, manifest: Manifest, overrides: Mapping[str, str], name_template: str) -> None:
        self._manifest = manifest
        self._given: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.own = {name: text for name, text in manifest.defaults.items() if name not in BY_NAME}
        self.texts = dict(_DEFAULT_TEXTS)
        self.values: dict[str, Scalar] = {}
        for name, text in manifest.defaults.items():
            if name in BY_NAME and text.strip():
                self.texts[name], self._given[name] = text.strip(), f"defaults.{name}"
        for name, text in overrides.items():
            if text.strip():
                self.texts[BY_NAME[name].name], self._given[name] = text.strip(), name
        names = dict.fromkeys([*manifest.columns, *manifest.defaults, *BY_NAME, ID])
        headings = {manifest.heading(name): name for name in names}
        self.aliases = {
            heading: name for heading, name in headings.items() if name != heading and heading not in names
        }
        known = tuple(dict.fromkeys([*self.aliases, *names]))
        self._check_texts(known)
        self._check_required()
        self.name = self._template(NAME_OPTION, name_template, (*known, EXT))

    def __repr__(self) -> str:
        return f"<ManifestDefaults of {self._manifest.path}: {len(self._given)} given>"

    def _problem(self, name: str, issue: Issue | IssueError, row: int | None = None) -> None:
        """Note a problem; the parameter goes back to the model's own default."""
        self.broken.add(name)
        self.texts.pop(name, None)
        self.own.pop(name, None)
        if name in _DEFAULT_TEXTS:
            self.texts[name] = _DEFAULT_TEXTS[name]
        if name in TYPED_NAMES:
            self.values[name] = BY_NAME[name].default
        column = self._given.get(name, name)
        mark = _OF_ALL_ROWS if column == name and name in self._given else ""
        self.problems.append(
            Problem(str(self._manifest.path), row, column, mark + issue.reason, issue.remedy)
        )

    def _check_texts(self, known: Collection[str]) -> None:
        """Check characters, types and templates, in this order; take the typed values."""
        for name, text in (self.own | self.texts).items():
            if issue := bad_character(text):
                self._given.setdefault(name, f"defaults.{name}")
                self._problem(name, issue)
        for name in TYPED_NAMES:
            if name in TEMPLATES and is_template(self.texts[name]):
                continue  # known only in a row
            value = parse_value(name, self.texts[name])
            if isinstance(value, Issue):
                self._problem(name, value)
            else:
                self.values[name] = value
        for name in TEMPLATES:
            self._template(name, self.texts.get(name, ""), [other for other in known if other != name])
        self._given[ID] = f"defaults.{ID}"
        self._template(ID, self.own.get(ID, ""), [other for other in known if other != ID])

    def _template(self, name: str, text: str, known: Collection[str]) -> Template:
        """Return a text as a template of known names, an empty one where it is not; then there is a problem."""
        try:
            parsed = parse_template(text)
            parsed.render(dict.fromkeys(known, ""))  # only to see that every name is known
            parsed = parsed.renamed(self.aliases)
        except TemplateError as error:
            self._problem(name, error)
            return parse_template("")
        return parsed

    def _check_required(self) -> None:
        header, tabular = self._manifest.header_line, self._manifest.tabular
        if header is None and not self._manifest.columns:
            return  # a file without rows
        given = {*self.texts, *self._manifest.columns, *self.broken}
        missing = [name for name in _REQUIRED if name not in given]
        for name in missing:
            ways = (
                [f"Add a column {name}"]
                if tabular
                else [f"Give {name} in the rows or the matrix", f"set defaults.{name}"]
            )
            ways.append(f"give --{name.replace('_', '-')}{' for all rows' if tabular else ''}")
            remedy = f"{', '.join(ways[:-1])}{', or ' if ways[1:] else ''}{ways[-1]}."
            reason = "there is no such column." if tabular else "no row gives it."
            self._problem(name, Issue(reason, remedy), header)
        columns = {name: self._manifest.heading(name) for name in self._manifest.columns}
        if missing and tabular and (proposal := propose(sorted(missing), columns, self._manifest.rows())):
            self.problems.append(Problem(str(self._manifest.path), header, None, *proposal))


class Expander:
    """The rows of a manifest as payloads: iterate over it.

    Yields in the manifest's order a payload for every good row, an InvalidRow for one that cannot be sent, and each problem
    of another kind: warnings about good rows, and what concerns the whole manifest. `overrides` are parameters' defaults as
    text, from the command line, the environment or a job file; an unknown name is a KeyError. Image paths in them are
    relative to the manifest's folder too. `rework` may change the texts of a row's parameters, once the row is identified;
    it also gets the values for templates, and may raise TemplateError. `lost` returns the contents that a missing file is
    known to have had. A row with such a file, and one that an earlier version read differently, is an UncertainRow. With
    `ignore_url_query` an image's query is not part of a derived id; with `uploads_links` this machine fetches private links.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        overrides: Mapping[str, str],
        name_template: str = DEFAULT_NAME,
        seen: InputImageCache | None = None,
        rework: Callable[[dict[str, str], Mapping[str, str]], None] | None = None,
        lost: Callable[[str], Sequence[str]] = lambda path: (),  # noqa: ARG005
        ignore_url_query: bool = False,
        uploads_links: bool = False,
    ) -> None:
        defaults = ManifestDefaults(manifest, overrides, name_template)
        self._manifest = manifest
        self._defaults = defaults
        self._rework = rework
        self._parameters = tuple(name for name in manifest.columns if name in BY_NAME)
        self._texts = dict.fromkeys(_REQUIRED, "") | defaults.texts
        self._checked = tuple(
            name for name in TYPED_NAMES if rework or name in manifest.columns or name not in defaults.values
        )
        self._aliases = defaults.aliases
        self._own = report_names(tuple(dict.fromkeys([*manifest.columns, *defaults.own])))
        self._renamed = tuple((column, shown) for column, shown in self._own.items() if column != shown)
        self._templates = tuple(
            name for name in TEMPLATES if name in manifest.columns or defaults.texts.get(name)
        )
        self._find_image = InputImages(manifest.path.parent, seen, uploads_links=uploads_links).find
        self._simple_name = {ID, EXT}.issuperset(defaults.name.names)
        self._hosts: set[str] = set()
        self._long_id = ""
        self._row = Row(0, {})
        self._failed: set[str] = set()
        self._contents_of = lost
        self._ignore_url_query = ignore_url_query
        self._problems: list[Problem] = []
        """Of the last row, warnings too."""
        self._identity: tuple[str, bool] = "", False
        self._cells: Mapping[str, str] = {}
        self._given: Mapping[str, str] = {}
        """The last row's id, own columns and texts of parameters."""
        self._missing: list[tuple[str, Path, Sequence[str], Problem]] = []
        """The last row's images whose files are gone and were known: its payload is then uncertain."""

    def __repr__(self) -> str:
        return f"<Expander of {self._manifest.path} at row {self._row.number}>"

    def __iter__(self) -> Iterator[Payload | InvalidRow | Problem | UncertainRow]:
        yield from self._defaults.problems
        for row in self._manifest.rows():
            if isinstance(row, Problem):
                yield row
                continue
            if row.problems:
                yield self._misread(row)
                continue
            if row.formerly or row.unless_paid:
                yield self._as_read_formerly(row)
                continue
            payload = self._payload(row)
            if self._missing:
                yield UncertainRow((), (), self._lost(payload), self._invalid(), self._warnings())
                continue
            if payload is None:
                yield self._invalid()
                continue
            yield from self._problems
            yield payload

    def _payload(self, row: Row) -> Payload | None:
        """Return the payload of a row, None when it cannot have one; `_problems` has the reasons."""
        self._row, self._problems, self._missing = row, [], []
        cells, default = row.cells, self._defaults.own.get
        self._failed = {name for name in self._defaults.broken if not cells.get(name, "").strip()}
        own = {shown: cells.get(name) or default(name, "") for name, shown in self._own.items()}
        given = self._texts | {
            name: text for name in self._parameters if (text := cells.get(name, "").strip())
        }
        identity, derived = self._identity = self._identify(own, given)
        self._cells, self._given = own, given
        if self._rework is not None:
            self._given = given.copy()
            try:
                scope = self._scope(own, given) | {ID: identity}
                scope |= {heading: scope.get(name, "") for heading, name in self._aliases.items()}
                self._rework(given, scope)
            except TemplateError as error:
                self._problem("prompt", error)
        values = self._parse_values(given)
        for parameter in _REQUIRED:
            if not given[parameter] and parameter not in self._failed:
                absence = "empty." if parameter in cells else "not given."
                self._problem(parameter, Issue(absence, self._how_to_give(parameter, own)))
        parameters, files = self._with_images(given)
        if reason := id_fault(identity):
            remedy = f"Give a shorter id in one line, at most {MAX_ID_BYTES} bytes."
            self._problem(ID, Issue(f"{reason}.", remedy))
        if self._failed:
            return None
        parameters |= values
        output = self._output(identity, own, given, values)
        if self._failed:
            return None
        if ID in own:
            own[ID] = identity
        long_id = self._long_id if derived and self._long_id != identity else ""
        return Payload(row.number, identity, derived, output, parameters, files, own, long_id)

    def _all_problems(self) -> tuple[Problem, ...]:
        """Return the problems of the last row, its missing files included."""
        return (*self._problems, *(problem for *_, problem in self._missing))

    def _warnings(self) -> tuple[Problem, ...]:
        """Return the warnings about the last row."""
        return tuple(problem for problem in self._problems if problem.warning)

    def _misread(self, row: Row) -> InvalidRow:
        """Return a row that was not read as it is meant, with what else is wrong with it, as far as that shows."""
        self._payload(row._replace(problems=()))
        broken = {problem.column for problem in row.problems}
        others = () if None in broken else self._all_problems()
        found = (*row.problems, *(problem for problem in others if problem.column not in broken))
        return self._invalid(found, emptied=broken)

    def _invalid(
        self, problems: tuple[Problem, ...] | None = None, emptied: Collection[str | None] = ()
    ) -> InvalidRow:
        """Return the last row as one that cannot be sent; the cells below the headings `emptied` are not what the manifest shows."""
        row, (identity, derived) = self._row, self._identity
        named = bool(identity) and (not derived or any(map(str.strip, row.cells.values())))
        if not named or id_fault(identity):
            identity, derived = f"row {row.number}", True
        heading = self._manifest.heading
        unread = {name for name in BY_NAME if heading(name) in emptied}
        if None in emptied:  # the whole line: what is given for all rows must not make it a good one
            unread.update(name for name in _REQUIRED if name not in row.cells)
        texts = {name: _unread(name) if name in unread else self._as_written(name) for name in BY_NAME}
        cells = {
            name: "" if heading(column) in emptied or bad_character(self._cells[name]) else self._cells[name]
            for column, name in self._own.items()
            if column != ID
        }
        return InvalidRow(row.number, identity, derived, cells, texts, problems or self._all_problems())

    def _as_written(self, name: str) -> str:
        """Return the last row's text of a parameter as a manifest in any folder writes it."""
        raw = self._row.cells.get(name, "").strip() or self._texts.get(name, "")
        text = self._given.get(name, "")
        rendered = bool(text) and name in TEMPLATES
        if not text:  # perhaps a template that could not be expanded
            text = raw
        if bad_character(text):
            return _unread(name)
        is_path = name in IMAGE_PARAMETERS and text not in {"", UNREAD} and not has_scheme(text)
        if is_path and (rendered or text[0] != "{"):
            text = os.path.abspath(self._manifest.path.parent / text)  # noqa: PTH100  `..` only, links stay
        return double_braces(text) if rendered else text

    def _lost(self, payload: Payload | None) -> tuple[Payload, ...]:
        """Return the payload of the last row with each content that its missing files may have had."""
        if payload is None:
            return ()
        every = []
        for contents in itertools.product(*(contents for _, _, contents, _ in self._missing)):
            parameters, files = dict(payload.parameters), dict(payload.files)
            for (name, path, _, _), content in zip(self._missing, contents, strict=True):
                parameters[name], files[content] = content, path
            every.append(payload._replace(parameters=parameters, files=files))
        return tuple(every)

    def _as_read_formerly(self, row: Row) -> UncertainRow:
        """Return a row as it is read today, and as an earlier version read it."""
        payload = self._payload(row._replace(formerly={}, unless_paid=()))
        lost, notes = self._lost(payload) if self._missing else (), self._warnings()
        now: Payload | InvalidRow
        if payload is None or self._missing or row.unless_paid:
            found = (*self._all_problems(), *row.unless_paid)
            now = self._invalid(found, emptied={problem.column for problem in row.unless_paid})
        else:
            now = payload
        before = self._payload(Row(row.number, {**row.cells, **row.formerly}))
        formerly = self._lost(before) if self._missing else (() if before is None else (before,))
        return UncertainRow(formerly, self._warnings(), lost, now, notes)

    def _problem(self, column: str, issue: Issue | IssueError) -> None:
        self._failed.add(column)
        self._problems.append(self._placed(column, issue.reason, issue.remedy))

    def _placed(self, column: str, reason: str, remedy: str, *, warning: bool = False) -> Problem:
        number = self._row.number
        note, heading = self._manifest.note(number, column), self._manifest.heading(column)
        return Problem(str(self._manifest.path), number, heading, note + reason, remedy, warning)

    def _identify(self, own: dict[str, str], given: dict[str, str]) -> tuple[str, bool]:
        """Expand the templates in `given`; return the row's id and whether it was derived.

        Every template may use a given id. A derived one is made from the expanded images, so images cannot use it.
        """
        identity = own.get(ID, "").strip()
        templated = [name for name in self._templates if "{" in (text := given[name]) or "}" in text]
        if not templated and not is_template(identity):
            return (identity, False) if identity else (self._derived(given), True)
        scope = self._scope(own, given)
        scope.pop(ID, None)
        if identity:
            if is_template(identity):
                identity = self._rendered(ID, identity, scope)
            scope[ID] = identity
            given |= {name: self._rendered(name, given[name], scope) for name in templated}
            return identity, False
        images = [name for name in templated if name in IMAGE_PARAMETERS]
        given |= {name: self._rendered(name, given[name], scope) for name in images}
        scope[ID] = self._derived(given)
        others = [name for name in templated if name not in IMAGE_PARAMETERS]
        given |= {name: self._rendered(name, given[name], scope) for name in others}
        return scope[ID], True

    def _scope(self, own: dict[str, str], given: dict[str, str]) -> dict[str, str]:
        """Return the values for templates: the columns under their names in the manifest, and the parameters."""
        if not self._renamed:
            return own | given
        return own | {column: own[shown] for column, shown in self._renamed} | given

    def _derived(self, given: Mapping[str, str]) -> str:
        """Return the id of the row's content, without the parts of its links that do not name a file."""
        images = given["image_1"], given["image_2"]
        self._long_id = identity = derive_id(self._row.cells, *images)
        if any("?" in cell and is_url(cell.strip()) for cell in self._row.cells.values()):
            queried = {given[name] for name in IMAGE_PARAMETERS} if self._ignore_url_query else set()
            cells = {name: self._plain(name, cell.strip(), queried) for name, cell in self._row.cells.items()}
            identity = derive_id(cells, *images)
        return identity

    def _plain(self, name: str, cell: str, images: set[str]) -> str:
        if not is_url(cell):
            return cell
        if self._ignore_url_query and (name in IMAGE_PARAMETERS or cell in images):
            return without_query(cell)
        return unsigned(cell)

    def _rendered(self, parameter: str, text: str, scope: Mapping[str, str]) -> str:
        try:
            parsed = parse_template(text)
            if self._aliases:
                parsed = parsed.renamed(self._aliases)
            if parameter in parsed.names:  # not known to itself
                scope = {name: value for name, value in scope.items() if name != parameter}
            rendered = parsed.render(scope).strip()
        except TemplateError as error:
            self._problem(parameter, error)
            return ""
        if not all(map(scope.__getitem__, parsed.names)):
            for name in dict.fromkeys(name for name in parsed.names if not scope[name]):
                remedy = f"Give {name}, if a gap in the text is not meant."
                reason = f"{{{name}}} is empty in this row."
                self._problems.append(self._placed(parameter, reason, remedy, warning=True))
        return rendered

    def _parse_values(self, given: Mapping[str, str]) -> dict[str, Scalar]:
        """Return the values of all parameters but prompt and images."""
        values = self._defaults.values.copy()
        for name in self._checked:
            if name in self._failed:
                continue
            value = parse_value(name, given[name])
            if isinstance(value, Issue):
                self._problem(name, value)
            else:
                values[name] = value
        return values

    def _with_images(self, given: Mapping[str, str]) -> tuple[dict[str, Scalar], dict[str, Path]]:
        """Return the prompt and the images as they go into the payload, and the files behind them."""
        parameters: dict[str, Scalar] = {"prompt": given["prompt"]}
        files: dict[str, Path] = {}
        for name in IMAGE_PARAMETERS:
            parameters[name] = ""
            if not given[name]:
                continue
            if is_simple_url(given[name]):  # not worth caching: a manifest may have a million
                parameters[name] = given[name]
                continue
            found = self._find_image(given[name])
            if isinstance(found, UnreadableFile) and (contents := self._contents_of(str(found.path))):
                problem = self._placed(name, found.reason, found.remedy)
                self._missing.append((name, found.path, contents, problem))
                continue
            if isinstance(found, Issue):
                self._problem(name, found)
                continue
            parameters[name] = found.value
            if found.path is not None:
                files[found.value] = found.path
            if found.warning is not None and found.warning[0] not in self._hosts:
                self._hosts.add(found.warning[0])
                self._problems.append(self._placed(name, *found.warning[1:], warning=True))
        return parameters, files

    def _output(
        self, identity: str, own: dict[str, str], given: dict[str, str], values: Mapping[str, Scalar]
    ) -> str:
        """Return the image's path below images/; note why a file cannot have that name."""
        extension = EXTENSIONS[str(values["image_format"])]
        scope = {ID: identity, EXT: extension}
        if not self._simple_name:
            scope = self._scope(own, given) | scope
        output = self._defaults.name.render(scope)
        if not output.isascii():
            output = normal_name(output)
        if reason := name_fault(output, extension):
            remedy = "Change the id, or the template given with --name."
            self._problem(ID, Issue(f"the output name {output!r} {reason}.", remedy))
        return output

    def _how_to_give(self, parameter: str, own: Mapping[str, str]) -> str:
        """Return how to give a required parameter; a matrix value that does not name an image has a remedy of its own."""
        if parameter not in _AXES:
            default = f"give --{parameter}" if self._manifest.tabular else f"set defaults.{parameter}"
            return f"Give a {parameter}, or {default} for all rows without one."
        axis = _AXES[parameter]
        if not self._manifest.tabular and own.get(axis):
            return (
                f"{axis} is only the text {own[axis]!r}: write {{{axis}: …, {parameter}: file}}, "
                f'or set {parameter}: "folder/{{{axis}}}.jpg" in the matrix or the defaults.'
            )
        default = (
            f"give --{parameter.replace('_', '-')}" if self._manifest.tabular else f"set defaults.{parameter}"
        )
        return f"Give a file or an http(s) URL, or {default} for all rows without one."


def _unread(name: str) -> str:
    return "" if name in _REQUIRED else UNREAD
