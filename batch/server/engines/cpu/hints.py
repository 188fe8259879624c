"""Plain wishes in the prompt: size of the pattern, its direction, the finish.

Understood: "small pattern", "large tiles" (and near words), "rotate 45 degrees" (also "rotated by 45°",
"counterclockwise", "diagonal"), "glossy", "matte". A wish right after "not", "no" or "non-" is not a wish.
Everything else in the prompt is ignored: this engine does not understand language.
"""

import re
from dataclasses import dataclass

_THING = (
    r"(?:[\w-]+ ){0,2}?(?:pattern|patterns|tile|tiles|print|prints|repeat|repeats|weave|scale|motif|motifs)\b"
)
_NEGATED = r"(?<!\bnot )(?<!\bno )(?<!\bnon-)(?<!\bnon )"
_SMALL = re.compile(rf"{_NEGATED}\b(?:small|smaller|tiny|fine|finer|little)\b,? {_THING}")
_LARGE = re.compile(rf"{_NEGATED}\b(?:large|larger|big|bigger|huge|bold|oversized|wide)\b,? {_THING}")
_ROTATE = re.compile(r"\brotat\w*\b[^.;\d-]{0,30}?(-?\d{1,3}(?:\.\d+)?) ?(?:°|deg)([^.;]{0,24})")
_BACKWARDS = re.compile(r"\b(?:counter|anti)-?clockwise\b")
_DIAGONAL = re.compile(rf"{_NEGATED}\bdiagonal")
_GLOSSY = re.compile(rf"{_NEGATED}\b(?:glossy|shiny|polished|lacquered|satin)\b")
_MATTE = re.compile(rf"{_NEGATED}\b(?:matte?|dull)\b|\bnot (?:glossy|shiny|polished)\b")


@dataclass(frozen=True, slots=True)
class Hints:
    """What the prompt asks for, in the engine's own terms."""

    # Factor on the size of a tile.
    pattern_scale: float = 1.0
    # Clockwise rotation of the pattern.
    degrees: float = 0.0
    # -1 matte, 0 as photographed, +1 glossy.
    gloss: float = 0.0


def read_hints(prompt: str) -> Hints:
    """Find the plain wishes in a prompt; case and extra white space do not matter."""
    text = " ".join(prompt.lower().split())
    scale = 1.0
    if _SMALL.search(text):
        scale = 0.5
    elif _LARGE.search(text):
        scale = 1.8
    gloss = 0.0
    if _MATTE.search(text):
        gloss = -1.0
    elif _GLOSSY.search(text):
        gloss = 1.0
    return Hints(pattern_scale=scale, degrees=_degrees(text), gloss=gloss)


def _degrees(text: str) -> float:
    found = _ROTATE.search(text)
    if found is None:
        return 45.0 if _DIAGONAL.search(text) else 0.0
    angle = float(found.group(1))
    if _BACKWARDS.search(found.group(0)):
        angle = -angle
    return angle % 360
