"""Which columns a person probably means where a required parameter has none: proposed with the line to paste, never taken.

Rule 1: an image's column is known by its cells, paths or links of images; its heading only says which image it is. Rule 2: an
instruction and an id are known by their headings; an id only where no two rows share one. Rule 3: the headings are those of
the exports of common shop systems and the words of some languages; the likeliest are first.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING
from unicodedata import combining, normalize
from urllib.parse import urlsplit

from batch.core.models import Row
from batch.core.parameters import BY_NAME, IMAGE_PARAMETERS
from batch.manifest.columns import ID
from batch.manifest.headings import column_option, resembled
from batch.manifest.naming import id_fault, is_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batch.core.models import Problem

SAMPLE = 50
"""Rows that are looked at."""

_IMAGE = (
    "image|img|photo|pictur|pic|media|bild|foto|imagen|immagine|afbeelding|zdjecie|obraz|imagem|illustration"
)
_GOODS = "product|item|produkt|artikel|article|produit|prodotto|producto|produto|vara|towar|ware"
_TEXTURE = re.compile(
    "textur|tekstur|tessut|trama|material|matier|fabric|swatch|stoff|^stof|tissu|tela$|tejido|tecido|tyg|tkanin|weefsel|finish|"
    "pattern|muster|motif|leather|leder|oberflache|surface|dekor|decor"
)
_SECOND = re.compile(f"(?:{_IMAGE})2")
_PRODUCT = tuple(
    map(
        re.compile,
        (
            f"^(?:main|base|cover|primary|haupt|principal).*(?:{_IMAGE})",
            f"^(?:{_IMAGE})(?:src|url|urls|link|file|path|name|1)?$",
            f"(?:{_GOODS}).*(?:{_IMAGE})|(?:{_IMAGE}).*(?:{_GOODS})",
            f"(?:{_IMAGE})1",
            f"^(?!.*(?:thumb|small|alt|additional|other|gallery|variant)).*(?:{_IMAGE})",
            _IMAGE,
            "",
        ),
    )
)
_PROMPT = tuple(
    map(
        re.compile,
        (
            "^prompt|prompt$",
            "instruction|anweisung|instruktion|consigne|instruccion|istruzion|instrucao|opdracht|instructie|polecenie|instrukcj|uppmaning",
            "^(?:ki|ai)|(?:text|fur|fuer|for|die|the|pour|ia)(?:ki|ai|ia)$|^text(?:$|fur|fuer|for|an)",
        ),
    )
)
_NAMES = tuple(
    map(
        re.compile,
        (
            "^(?!parent|master|group).*sku$",
            "^(?:art|artikel|article|articolo|articulo|product|produkt|item|prod|variation|variant)(?:number|nummer|nr|no|num|code|nummern)$",
            "^(?:internal)?(?:reference|referenz|referencia|riferimento|referentie)$|^ref$",
            "^(?:codice|codigo|kod|kode|code|indeks|index)$",
            "^(?:handle|handleid|urlkey|slug|model)$",
            "^(?:external|product|item|variant)id$|^id",
            "^(?:gtin|ean|ean13|barcode)$",
        ),
    )
)
_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
_UNDECOMPOSED = str.maketrans("łøđß", "lods")


def is_guessable(heading: str) -> bool:
    """Return whether a heading is among those that shop systems and people use for what we need."""
    word = _word(heading)
    patterns = (*_PRODUCT[:-1], _TEXTURE, *_PROMPT, *_NAMES)
    return any(pattern.search(word) for pattern in patterns)


def propose(
    missing: Sequence[str],
    columns: Mapping[str, str],
    entries: Iterable[Row | Problem],
) -> tuple[str, str] | None:
    """Return which columns may be meant, and the options to paste, for required parameters that have no column.

    `columns` are the headings of a manifest's columns by the names that its rows have, `entries` its rows. None where no
    column is like any of them. What is still to be given is not among the options: a placeholder that is pasted would be
    sent and paid for.
    """
    rows = [row.cells for row in islice(entries, SAMPLE) if isinstance(row, Row)]
    own = [name for name in columns if name not in BY_NAME and name != ID]
    found: dict[str, str] = {}
    images = [name for name in own if _holds_images(_cells(rows, name))]
    for parameter in missing:
        left = [name for name in images if name not in found.values()]
        if misspelt := [name for name in own if parameter in resembled(columns[name])]:
            chosen = misspelt
        elif parameter == "image_2":
            chosen = [name for name in left if _TEXTURE.search(_word(name))]
            chosen += [name for name in left if _SECOND.search(_word(name))]
        elif parameter in IMAGE_PARAMETERS:
            chosen = _ranked(left, _PRODUCT)
            chosen = [name for name in chosen if not _TEXTURE.search(_word(name))]
        else:
            chosen = _ranked([name for name in own if name not in images], _PROMPT)
        if chosen:
            found[parameter] = chosen[0]
    if not found:
        return None
    if ID not in columns:
        names = [
            name
            for name in _ranked(own, _NAMES)
            if name not in found.values() and _are_ids(_cells(rows, name), len(rows))
        ]
        found = ({ID: names[0]} if names else {}) | found
    shown = ", ".join(f"{columns[name]!r} as {parameter}" for parameter, name in found.items())
    options = [column_option(parameter, columns[name]) for parameter, name in found.items()]
    return f"these columns may be meant: {shown}.", f"Add: {' '.join(options)}"


def _word(heading: str) -> str:
    """Return a heading as letters and digits alone, without accents."""
    plain = normalize("NFKD", heading.casefold().translate(_UNDECOMPOSED))
    return "".join(letter for letter in plain if letter.isalnum() and not combining(letter))


def _cells(rows: Iterable[Mapping[str, str]], name: str) -> list[str]:
    return [text for row in rows if (text := row.get(name, "").strip())]


def _ranked(names: Iterable[str], patterns: Sequence[re.Pattern[str]]) -> list[str]:
    """Return the names that match a pattern, those of the first one first."""
    places = {
        name: next((index for index, pattern in enumerate(patterns) if pattern.search(_word(name))), None)
        for name in names
    }
    ranks = {name: place for name, place in places.items() if place is not None}
    return sorted(ranks, key=ranks.__getitem__)


def _holds_images(cells: Sequence[str]) -> bool:
    """Return whether most cells are paths or links of images."""
    return sum(map(_is_image, cells)) * 2 > len(cells)


def _is_image(text: str) -> bool:
    first = text.partition(",")[0] if is_url(text) else text
    return "\n" not in text and (urlsplit(first).path if is_url(first) else first).lower().endswith(_SUFFIXES)


def _are_ids(cells: Sequence[str], rows: int) -> bool:
    """Return whether cells can be ids: at least half of the rows have one, each another."""
    return len(cells) * 2 >= rows and len(set(cells)) == len(cells) and not any(map(id_fault, cells))
