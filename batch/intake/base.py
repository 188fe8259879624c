"""What holds for every row of a manifest before the row is read: defaults, and which names templates know.

Rule 1: what is wrong here is told once, here, not once a row: a default that does not validate, a template that
names no column, a required parameter that nothing gives. Rule 2: a parameter so broken goes back to the model's
default and is listed in `broken`: a row that does not give it fails without another word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.intake import template
from batch.intake.columns import ID
from batch.intake.template import TemplateError
from batch.intake.typed import NAMES, Fault, as_text, typed
from batch.model import Problem
from batch.parameters import BY_NAME, IMAGE_PARAMETERS, PARAMETERS, Scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.intake.manifest import Manifest

EXT = "ext"
NAME_OPTION = "--name"
EXPANDED = tuple(
    parameter.name
    for parameter in PARAMETERS
    if parameter.kind in ("image", "url") or (parameter.kind == "text" and not parameter.choices)
)
_OF_ALL_ROWS = "(given for all rows) "


class Base:
    """The defaults of one manifest under given overrides.

    `texts` has the default text of every parameter but the required ones that have none, `own` of the columns
    that are no parameters; `broken` are the parameters already complained of; `name` is the template of the
    pictures' names; `known` are the names a template may use.
    """

    def __init__(self, manifest: Manifest, overrides: Mapping[str, str], name_template: str) -> None:
        self._manifest = manifest
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.own = {name: text for name, text in manifest.defaults.items() if name not in BY_NAME}
        self.known = tuple(dict.fromkeys([*manifest.columns, *manifest.defaults, *BY_NAME, ID]))
        self._places: dict[str, str] = {}
        self.texts = {p.name: as_text(p.default) for p in PARAMETERS if not p.required}
        for name, text in manifest.defaults.items():
            if name in BY_NAME and text.strip():
                self._set(name, text, f"defaults.{name}")
        for name, text in overrides.items():
            if text.strip():
                self._set(BY_NAME[name].name, text, name)
        self._check_types()
        for name in EXPANDED:
            self._check_template(name, self.texts.get(name, ""))
        self._places[ID] = f"defaults.{ID}"
        self._check_template(ID, self.own.get(ID, ""))
        self._check_required()
        self.name = self._name(name_template)

    def __repr__(self) -> str:
        return f"<Base of {self._manifest.path} with {len(self._places)} defaults>"

    def values(self) -> dict[str, Scalar]:
        """Return the typed defaults of all parameters but prompt, images and what is a template."""
        values: dict[str, Scalar] = {}
        for name in NAMES:
            value = typed(name, self.texts[name])
            if not isinstance(value, Fault) and not self._is_template(name):
                values[name] = value
        return values

    def _is_template(self, name: str) -> bool:
        return name in EXPANDED and template.is_template(self.texts[name])

    def _set(self, name: str, text: str, place: str) -> None:
        self.texts[name] = text.strip()
        self._places[name] = place

    def _problem(self, name: str, reason: str, remedy: str, row: int | None = None) -> None:
        self.broken.add(name)
        self.texts.pop(name, None)
        self.own.pop(name, None)
        if name in BY_NAME and not BY_NAME[name].required:
            self.texts[name] = as_text(BY_NAME[name].default)
        place = self._places.get(name, name)
        mark = _OF_ALL_ROWS if place == name and name in self._places else ""
        self.problems.append(Problem(str(self._manifest.path), row, place, mark + reason, remedy))

    def _check_types(self) -> None:
        for name in NAMES:
            if self._is_template(name):
                continue  # known only in a row
            value = typed(name, self.texts[name])
            if isinstance(value, Fault):
                self._problem(name, value.reason, value.remedy)

    def _check_template(self, name: str, text: str) -> None:
        try:
            template.parse(text).check([known for known in self.known if known != name])
        except TemplateError as error:
            self._problem(name, error.reason, error.remedy)

    def _check_required(self) -> None:
        header = self._manifest.header_line
        if header is None and not self._manifest.columns:
            return  # a file without rows
        for parameter in PARAMETERS:
            name = parameter.name
            present = name in self.texts or name in self._manifest.columns or name in self.broken
            if parameter.required and not present:
                places = (
                    [f"Add a column {name}"]
                    if self._manifest.tabular
                    else [f"Give {name} in the rows or the matrix", f"set defaults.{name}"]
                )
                if name not in IMAGE_PARAMETERS:  # a picture has no option
                    option = "--" + name.replace("_", "-")
                    places.append(f"give {option}{' for all rows' if self._manifest.tabular else ''}")
                remedy = f"{', '.join(places[:-1])}{', or ' if places[1:] else ''}{places[-1]}."
                reason = "there is no such column." if self._manifest.tabular else "no row gives it."
                self._problem(name, reason, remedy, header)

    def _name(self, text: str) -> template.Template:
        try:
            parsed = template.parse(text)
            parsed.check((*self.known, EXT))
        except TemplateError as error:
            self._problem(NAME_OPTION, error.reason, error.remedy)
            return template.parse("")
        return parsed
