"""The links of a manifest: collected while its rows are checked, and what was found behind them as problems with a place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batch.core.models import Problem
from batch.core.parameters import IMAGE_PARAMETERS, URL_PARAMETERS
from batch.core.units import counted
from batch.core.visible import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.client.link_check import LinkFault
    from batch.core.models import Payload
    from batch.manifest.manifest import Manifest

MOST_LINKS = 200_000
"""Distinct links that are checked: more would not be polite, nor fit into a day."""

_LONGEST_SHOWN = 160


class LinkPlace(NamedTuple):
    """The first cell with a link, and in how many rows it is; `is_image` is false for the weights of a LoRA.

    `column` is what the file calls it, `note` a prefix for messages as in `Manifest.note`.
    """

    row: int
    column: str
    note: str
    is_image: bool
    rows: int = 1


@dataclass(slots=True)
class ManifestLinks:
    """The distinct links of a manifest's good rows, in their order; of more than MOST_LINKS the others are only counted."""

    places: dict[str, LinkPlace] = field(default_factory=dict)
    left_out: int = 0

    def note(self, payload: Payload, manifest: Manifest) -> None:
        """Note the links of one row of a manifest."""
        for name in URL_PARAMETERS:
            url = str(payload.parameters[name])
            if not url or url in payload.files:
                continue
            place = self.places.get(url)
            if place is not None:
                self.places[url] = place._replace(rows=place.rows + 1)
            elif len(self.places) < MOST_LINKS:
                self.places[url] = LinkPlace(
                    payload.number,
                    manifest.heading(name),
                    manifest.note(payload.number, name),
                    name in IMAGE_PARAMETERS,
                )
            else:
                self.left_out += 1

    def problems(self, file: str, faults: Mapping[str, LinkFault]) -> Iterator[Problem]:
        """Yield the faults as problems of the first cell with each link, in the manifest's order."""
        for url, place in self.places.items():
            if (fault := faults.get(url)) is not None:
                others = f" (in {counted(place.rows, 'row')})" if place.rows > 1 else ""
                reason = f"{place.note}{_shown(url)}: {fault.reason.removesuffix('.')}{others}."
                yield Problem(file, place.row, place.column, reason, fault.remedy, fault.warning)
        if self.left_out:
            reason = f"{MOST_LINKS:,} links were checked, {counted(self.left_out, 'further link')} were not."
            yield Problem(file, None, None, reason, "Check a part of the manifest at a time.", warning=True)


def _shown(url: str) -> str:
    """Return a URL for a message: without a password, and not longer than a line or two."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    whole = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return shortened(whole, _LONGEST_SHOWN)
