"""Rows to payloads: defaults filled in, templates expanded, values checked, pictures looked at, names given.

The steps of one row, in the order of `Expander.payload`:

    given → id and texts expanded → typed → pictures → output name → Payload

Rule 1: row > overrides (command line, environment, job file) > manifest defaults > the model's own default.
Rule 2: all problems of a row are told at once. Rule 3: a stream in, a stream out; nothing is kept but bounded
memories of texts, so the length of a manifest costs time and no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.intake import template
from batch.intake.base import EXPANDED, EXT, Base
from batch.intake.columns import ID, report_names
from batch.intake.identity import MAX_ID_BYTES, derive_id, id_fault
from batch.intake.names import fault, normal_name
from batch.intake.pictures import Found, PictureCache, Pictures, is_plain_url
from batch.intake.template import TemplateError
from batch.intake.typed import NAMES, Fault, typed
from batch.model import Payload, Problem, Row
from batch.parameters import BY_NAME, EXTENSIONS, IMAGE_PARAMETERS, PARAMETERS, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from batch.intake.manifest import Manifest

DEFAULT_NAME = "{id}.{ext}"
_REQUIRED = tuple(parameter.name for parameter in PARAMETERS if parameter.required)
_AXES = {"image_1": "product", "image_2": "texture"}


def expand(
    manifest: Manifest,
    *,
    overrides: Mapping[str, str],
    name_template: str = DEFAULT_NAME,
    seen: PictureCache | None = None,
    rework: Callable[[dict[str, str], Mapping[str, str]], None] | None = None,
) -> Iterator[Payload | Problem]:
    """Yield a payload for every good row, and every problem, in the manifest's order.

    `overrides` are parameters' defaults as text, from the command line, the environment or a job file; an
    unknown name is a KeyError. Image paths in them start at the manifest's folder too. `rework` may change the texts of
    a row's parameters, once the row is identified; it also gets what templates may take, and may raise TemplateError.
    """
    base = Base(manifest, overrides, name_template)
    yield from base.problems
    expander = Expander(manifest, base, seen, rework)
    for row in manifest.rows():
        if isinstance(row, Problem):
            yield row
            continue
        payload = expander.payload(row)
        if expander.problems:
            yield from expander.problems
        if payload is not None:
            yield payload


class Expander:
    """Makes payloads of one manifest's rows; `problems` are those of the row last seen, warnings too."""

    def __init__(
        self,
        manifest: Manifest,
        base: Base,
        seen: PictureCache | None,
        rework: Callable[[dict[str, str], Mapping[str, str]], None] | None = None,
    ) -> None:
        self._manifest = manifest
        self._base = base
        self._rework = rework
        self._parameters = tuple(name for name in manifest.columns if name in BY_NAME)
        self._texts = dict.fromkeys(_REQUIRED, "") | base.texts
        self._values = base.values()
        self._checked = tuple(
            name for name in NAMES if rework or name in manifest.columns or name not in self._values
        )
        self._own = report_names(tuple(dict.fromkeys([*manifest.columns, *base.own])))
        self._renamed = tuple((column, shown) for column, shown in self._own.items() if column != shown)
        self._expanded = tuple(name for name in EXPANDED if name in manifest.columns or base.texts.get(name))
        self._look = Pictures(manifest.path.parent, seen).look
        self._simple_name = {ID, EXT}.issuperset(base.name.names)
        self._hosts: set[str] = set()
        self._row = Row(0, {})
        self._told: set[str] = set()
        self.problems: list[Problem] = []

    def __repr__(self) -> str:
        return f"<Expander of {self._manifest.path} at row {self._row.number}>"

    def payload(self, row: Row) -> Payload | None:
        """Return the payload of a row, None when it cannot have one; `problems` says why."""
        self._row, self.problems = row, []
        self._told = self._untold(row.cells) if self._base.broken else set()
        own = self._own_cells(row.cells)
        given = self._given(row.cells)
        identity, derived = self._identify(own, given)
        if self._rework is not None:
            try:
                self._rework(given, self._scope(own, given) | {ID: identity})
            except TemplateError as error:
                self._problem("prompt", error.reason, error.remedy)
        values = self._typed(given)
        for parameter in _REQUIRED:
            if not given[parameter] and parameter not in self._told:
                absence = "empty." if parameter in row.cells else "not given."
                self._problem(parameter, absence, self._how_to_give(parameter, own))
        parameters, files = self._pictured(given)
        if reason := id_fault(identity):
            self._problem(ID, f"{reason}.", f"Give a shorter id in one line, at most {MAX_ID_BYTES} bytes.")
        if self._told:
            return None
        parameters |= values
        output = self._output(identity, own, given, values)
        if self._told:
            return None
        if ID in own:
            own[ID] = identity
        return Payload(row.number, identity, derived, output, parameters, files, own)

    def _problem(self, column: str, reason: str, remedy: str) -> None:
        self._told.add(column)
        self._say(column, reason, remedy, warning=False)

    def _say(self, column: str, reason: str, remedy: str, *, warning: bool) -> None:
        number = self._row.number
        note = self._manifest.note(number, column)
        self.problems.append(
            Problem(str(self._manifest.path), number, column, note + reason, remedy, warning)
        )

    def _untold(self, cells: Mapping[str, str]) -> set[str]:
        """Return the broken defaults that this row would need; they were told for the file."""
        return {name for name in self._base.broken if not cells.get(name, "").strip()}

    def _own_cells(self, cells: Mapping[str, str]) -> dict[str, str]:
        """Return the columns that are no parameters, under their names in the report; untouched."""
        default = self._base.own.get
        return {shown: cells.get(name) or default(name, "") for name, shown in self._own.items()}

    def _given(self, cells: Mapping[str, str]) -> dict[str, str]:
        """Return the text of every parameter before expansion; an empty cell is not given."""
        given = self._texts.copy()
        for name in self._parameters:
            if (cell := cells.get(name)) and (cell := cell.strip()):
                given[name] = cell
        return given

    def _identify(self, own: dict[str, str], given: dict[str, str]) -> tuple[str, bool]:
        """Expand the templates in `given`; return the row's id and whether it was derived.

        A given id may be used by every template. A derived one is made from the expanded pictures, so pictures
        cannot use it.
        """
        identity = own.get(ID, "").strip()
        templated = [name for name in self._expanded if "{" in (text := given[name]) or "}" in text]
        if not templated and not template.is_template(identity):
            return (identity, False) if identity else (self._derived(given), True)
        scope = self._scope(own, given)
        scope.pop(ID, None)
        if identity:
            if template.is_template(identity):
                identity = self._rendered(ID, identity, scope)
            scope[ID] = identity
            given |= {name: self._rendered(name, given[name], scope) for name in templated}
            return identity, False
        pictures = [name for name in templated if name in IMAGE_PARAMETERS]
        given |= {name: self._rendered(name, given[name], scope) for name in pictures}
        scope[ID] = self._derived(given)
        others = [name for name in templated if name not in IMAGE_PARAMETERS]
        given |= {name: self._rendered(name, given[name], scope) for name in others}
        return scope[ID], True

    def _scope(self, own: dict[str, str], given: dict[str, str]) -> dict[str, str]:
        """Return what a template may take: the columns under the names the manifest gives them, the parameters."""
        if not self._renamed:
            return own | given
        return own | {column: own[shown] for column, shown in self._renamed} | given

    def _derived(self, given: Mapping[str, str]) -> str:
        return derive_id(self._row.cells, given["image_1"], given["image_2"])

    def _rendered(self, parameter: str, text: str, scope: Mapping[str, str]) -> str:
        try:
            parsed = template.parse(text)
            if parameter in parsed.names:
                parsed.check(scope.keys() - {parameter})
            rendered = parsed.render(scope).strip()
        except TemplateError as error:
            self._problem(parameter, error.reason, error.remedy)
            return ""
        if not all(map(scope.__getitem__, parsed.names)):
            for name in dict.fromkeys(name for name in parsed.names if not scope[name]):
                remedy = f"Give {name}, if a gap in the text is not meant."
                self._say(parameter, f"{{{name}}} is empty in this row.", remedy, warning=True)
        return rendered

    def _typed(self, given: Mapping[str, str]) -> dict[str, Scalar]:
        """Return the values of all parameters but prompt and images."""
        values = self._values.copy()
        for name in self._checked:
            if name in self._told:
                continue
            value = typed(name, given[name])
            if isinstance(value, Fault):
                self._problem(name, value.reason, value.remedy)
            else:
                values[name] = value
        return values

    def _pictured(self, given: Mapping[str, str]) -> tuple[dict[str, Scalar], dict[str, Path]]:
        """Return the prompt and the images as they go into the payload, and the files behind them."""
        parameters: dict[str, Scalar] = {"prompt": given["prompt"]}
        files: dict[str, Path] = {}
        for name in IMAGE_PARAMETERS:
            parameters[name] = ""
            if not given[name]:
                continue
            if is_plain_url(given[name]):  # not worth remembering: a manifest may have a million
                parameters[name] = given[name]
                continue
            found = self._look(given[name])
            if not isinstance(found, Found):
                self._problem(name, found.reason, found.remedy)
                continue
            parameters[name] = found.value
            if found.path is not None:
                files[found.value] = found.path
            if found.warning is not None and found.warning[0] not in self._hosts:
                self._hosts.add(found.warning[0])
                self._say(name, *found.warning[1:], warning=True)
        return parameters, files

    def _output(
        self, identity: str, own: dict[str, str], given: dict[str, str], values: Mapping[str, Scalar]
    ) -> str:
        """Return the picture's path below images/; note why it cannot be one."""
        extension = EXTENSIONS[str(values["image_format"])]
        pattern = self._base.name
        scope = {ID: identity, EXT: extension}
        if not self._simple_name:
            scope = self._scope(own, given) | scope
        output = normal_name(pattern.render(scope))
        if reason := fault(output, extension):
            self._problem(
                ID,
                f"the output name {output!r} {reason}.",
                "Change the id, or the template given with --name.",
            )
        return output

    def _how_to_give(self, parameter: str, own: Mapping[str, str]) -> str:
        """Say how to give a required parameter; a matrix value that names no picture gets a remedy of its own."""
        if parameter not in _AXES:
            return f"Give a {parameter}, or set defaults.{parameter}."
        axis = _AXES[parameter]
        if not self._manifest.tabular and own.get(axis):
            return (
                f"{axis} is only the text {own[axis]!r}: write {{{axis}: …, {parameter}: file}}, "
                f'or set {parameter}: "folder/{{{axis}}}.jpg" in the matrix or the defaults.'
            )
        return f"Give a file or an http(s) URL, or set defaults.{parameter}."
