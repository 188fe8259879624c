"""A number or a text as a spreadsheet's format shows it: `"SKU-"00000` makes SKU-00123 of 123, `0%` makes 20% of 0.2.

Understood are literal text, the digits 0 # ?, decimals, thousands, the comma that divides by a thousand, %, E+, fractions,
General, @, currencies, colours, conditions, and up to four sections. Rule 1: a format that is not understood, or shows
nothing at all, gives None, never a guess. Rule 2: a point and commas as in English, since a file does not hold the
language of its readers. Rule 3: rounded as Excel does, from its 15 digits, halves away from zero.
Dates are not handled here. Source: ECMA-376 part 1, 18.8.31.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

EXCEL_DIGITS = 15
MOST_SECTIONS = 4
_MOST_DECIMALS = 30  # as many as Excel has
_LONGEST = 255  # letters of a format
_EXACT = Context(prec=400)  # 1e308 with all decimals
_PER_CENT = 100
_GROUP = 3
_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|_(?P<gap>.)|\*(?P<fill>.)|\[(?P<bracket>[^\]]*)\]|(?P<general>General)'
    r"|(?P<exponent>E[+-])|(?P<digit>[0#?])|(?P<mark>[.,%@/;])|(?P<literal>[^A-Za-z\"\\_*\[\]])",
    re.IGNORECASE | re.DOTALL,
)
_COLOUR = re.compile(r"black|blue|cyan|green|magenta|red|white|yellow|color ?\d{1,2}", re.IGNORECASE)
_CONDITION = re.compile(r"(<=|>=|<>|<|>|=)(-?\d+(?:\.\d+)?)")
_COMPARED = {
    "<=": operator.le, ">=": operator.ge, "<>": operator.ne, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip


class Token(NamedTuple):
    """A piece of a format: a `digit`, a `mark` (. , % @ /), an `exponent`, `general`, or a `literal`."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a format, with the condition on its numbers where it has one."""

    tokens: tuple[Token, ...]
    condition: tuple[str, Decimal] | None

    @property
    def of_text(self) -> bool:
        """Whether it applies to text."""
        return Token("mark", "@") in self.tokens

    def takes(self, number: Decimal) -> bool:
        """Return whether its condition holds."""
        return self.condition is not None and bool(_COMPARED[self.condition[0]](number, self.condition[1]))


def text_shown(text: str, form: str) -> str | None:
    """Return a text as a format shows it, None where the format is not understood."""
    sections = _sections(form)
    if sections is None:
        return None
    if len(sections) == MOST_SECTIONS or sections[-1].of_text:
        pieces = sections[-1].tokens
        if any(token.kind not in {"literal", "mark"} for token in pieces):
            return None
        return "".join(text if token == ("mark", "@") else token.text for token in pieces) or None
    return text


def number_shown(number: float, form: str) -> str | None:
    """Return a number as a format shows it, None where the format is not understood."""
    sections = _sections(form)
    value = Decimal(f"{number:.{EXCEL_DIGITS}g}")
    if sections is None or not value.is_finite():
        return None
    numeric = sections[:-1] if sections[-1].of_text else sections[: MOST_SECTIONS - 1]
    if not numeric:
        return _general(value)
    section, signed = _section_for(value, numeric)
    shown = _rendered(abs(value), section.tokens)
    if shown is None or not shown.strip():
        return None
    return ("-" if value < 0 and signed else "") + shown.strip()


def _section_for(value: Decimal, sections: tuple[Section, ...]) -> tuple[Section, bool]:
    """Return the section of a number, and whether its sign is shown beside it."""
    if any(section.condition for section in sections):
        found = next((section for section in sections if section.takes(value)), None)
        others = [section for section in sections if section.condition is None]
        return found or (others or sections)[-1], True
    if value < 0 and len(sections) > 1:
        return sections[1], False
    return sections[2 if value == 0 and len(sections) > 2 else 0], True


@lru_cache(maxsize=1024)
def _sections(form: str) -> tuple[Section, ...] | None:
    """Return the sections of a format, None where a part of it is not understood."""
    if len(form) > _LONGEST:
        return None
    sections: list[Section] = []
    tokens: list[Token] = []
    condition: tuple[str, Decimal] | None = None
    end = 0
    for match in _TOKEN.finditer(form):
        token = _token(str(match.lastgroup), match[str(match.lastgroup)]) if match.start() == end else None
        if token is None:
            return None
        end = match.end()
        if token == ("mark", ";"):
            sections.append(Section(tuple(tokens), condition))
            tokens, condition = [], None
        elif token.kind == "condition" and (compared := _CONDITION.fullmatch(token.text)):
            condition = (compared[1], Decimal(compared[2]))
        elif token.text:
            tokens.append(token)
    sections.append(Section(tuple(tokens), condition))
    return tuple(sections) if end == len(form) and len(sections) <= MOST_SECTIONS else None


def _token(kind: str, text: str) -> Token | None:
    """Return a token, an empty one where it shows nothing, None where it is not understood."""
    if kind in {"quoted", "escaped", "literal"}:
        return Token("literal", text)
    if kind == "gap":
        return Token("literal", " ")
    if kind == "fill":
        return Token("literal", "")
    if kind != "bracket":
        return Token(kind, text)
    if _CONDITION.fullmatch(text):
        return Token("condition", text)
    if text.startswith("$"):
        return Token("literal", text[1:].partition("-")[0])
    return Token("literal", "") if _COLOUR.fullmatch(text) else None


def _general(value: Decimal) -> str:
    """Return a number as every format of manifests writes it: `cells.as_cell`, without its exponent."""
    return str(int(value)) if value == value.to_integral_value() else repr(float(value))


def _rendered(value: Decimal, tokens: tuple[Token, ...]) -> str | None:
    """Return a number that is not negative under one section."""
    kinds = [token.kind for token in tokens]
    if "digit" not in kinds:
        return "".join(_general(value) if token.kind == "general" else token.text for token in tokens)
    first, last = kinds.index("digit"), len(kinds) - 1 - kinds[::-1].index("digit")
    if first and tokens[first - 1] == ("mark", "."):
        first -= 1
    head, body, tail = tokens[:first], list(tokens[first : last + 1]), list(tokens[last + 1 :])
    if "general" in kinds:
        return None
    value *= _PER_CENT ** tokens.count(Token("mark", "%"))
    if Token("mark", "/") in tokens:
        # a denominator may be written out: ?/8
        while tail and Token("mark", "/") in [*body, *tail] and tail[0].text.strip("/0123456789") == "":
            body.append(tail.pop(0))
        shown = _fraction(value, body)
    elif "exponent" in kinds:
        shown = _scientific(value, body)
    else:
        while tail and tail[0] == ("mark", ","):
            value /= 1000
            tail.pop(0)
        if tail and tail[0] == ("mark", "."):
            body.append(tail.pop(0))
        shown = _digits(value, body)
    if shown is None:
        return None
    return "".join(token.text for token in head) + shown + "".join(token.text for token in tail)


def _digits(value: Decimal, body: list[Token]) -> str | None:
    """Return the digits of a number in their places, with the text between them."""
    point = body.index(Token("mark", ".")) if Token("mark", ".") in body else len(body)
    whole, decimals = body[:point], body[point:]
    while whole and whole[-1] == ("mark", ","):
        value /= 1000
        whole.pop()
    places = sum(token.kind == "digit" for token in decimals)
    if places > _MOST_DECIMALS or any(token.kind == "mark" and token.text not in ".,%" for token in body):
        return None
    digits = f"{_rounded(value, places):f}"
    before, _, after = digits.partition(".")
    return _whole(before.lstrip("0"), whole) + _decimals(after, decimals)


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _EXACT)


def _whole(digits: str, tokens: list[Token]) -> str:
    """Put digits into places from right to left; the leftmost place takes all that are left."""
    left, written, shown = list(digits), 0, []
    commas = Token("mark", ",") in tokens
    places = sum(token.kind == "digit" for token in tokens)
    for token in reversed(tokens):
        if token == ("mark", ","):
            continue
        if token.kind != "digit":
            shown.append(token.text)
            continue
        places -= 1
        taken = [left.pop()] if left else []
        while left and not places:
            taken.append(left.pop())
        for digit in taken or {"0": ["0"], "?": [" "], "#": []}[token.text]:
            if commas and digit != " " and written and written % _GROUP == 0:
                shown.append(",")
            shown.append(digit)
            written += digit != " "
    return "".join(left) + "".join(reversed(shown))


def _decimals(digits: str, tokens: list[Token]) -> str:
    """Put digits into places from left to right; # and ? show no zeros at the end."""
    shown, at = [], 0
    for token in tokens:
        if token.kind != "digit":
            shown.append(token.text)
            continue
        if token.text == "0" or digits[at:].strip("0"):
            shown.append(digits[at])
        elif token.text == "?":
            shown.append(" ")
        at += 1
    return "".join(shown)


def _scientific(value: Decimal, body: list[Token]) -> str | None:
    at = next(index for index, token in enumerate(body) if token.kind == "exponent")
    mantissa, power = body[:at], body[at + 1 :]
    point = mantissa.index(Token("mark", ".")) if Token("mark", ".") in mantissa else at
    if sum(token.kind == "digit" for token in mantissa[:point]) != 1:
        return None  # the exponents of engineers
    places = sum(token.kind == "digit" for token in mantissa[point:])
    exponent = value.adjusted() if value else 0
    scaled = _rounded(value.scaleb(-exponent), places)
    if scaled >= 10:
        scaled, exponent = scaled / 10, exponent + 1
    shown = _digits(scaled, mantissa)
    if shown is None or any(token.kind != "digit" for token in power):
        return None
    sign = "-" if exponent < 0 else body[at].text[1].replace("-", "")
    return f"{shown}E{sign}{_whole(str(abs(exponent)), power)}"


def _fraction(value: Decimal, body: list[Token]) -> str | None:
    at = body.index(Token("mark", "/"))
    over, under = body[:at], "".join(token.text for token in body[at + 1 :])
    begins = at
    while begins and over[begins - 1].kind == "digit":
        begins -= 1
    apart = any(token.kind == "digit" for token in over[:begins])
    whole = int(value) if apart else 0
    rest = Fraction(value) - whole
    if under.isdecimal() and int(under):
        parts, of = round(rest * int(under)), int(under)
    elif under and not under.strip("0#?"):
        near = rest.limit_denominator(10 ** min(len(under), EXCEL_DIGITS) - 1)
        parts, of = near.numerator, near.denominator
    else:
        return None
    if apart and parts == of:
        whole, parts = whole + 1, 0
    if apart and not parts:
        return str(whole)
    return f"{whole} {parts}/{of}" if apart and whole else f"{parts}/{of}"
