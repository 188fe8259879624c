"""Compare a body that was sent with the body that the history lists. Pure; used to decide whose request is whose.

`equal` is strict, `tidied` and `differences` allow for everything a service may do to a text before it lists it: change
its case, its spaces, its escapes or its Unicode form, cut its end, drop a URL's query.
"""

from __future__ import annotations

import html
import json
import unicodedata
import urllib.parse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_CUT = 40  # letters and digits: a prompt shown that long may be the start of the one that was sent


def equal(sent: Mapping[str, Any], listed: Mapping[str, Any] | None) -> bool:
    """Compare on the keys that were sent; scalars by what they say, so that 1 equals "1" and true "true"."""
    return listed is not None and all(
        key in listed and normal(value) == normal(listed[key]) for key, value in sent.items()
    )


def tidied(sent: Mapping[str, Any], listed: Mapping[str, Any] | None) -> bool:
    """Return whether a listed body may be what was sent after any tidying: what is missing or cannot be read may be anything."""
    return listed is None or all(
        key not in listed or not normal(listed[key]) or _tidy(normal(value), normal(listed[key]))
        for key, value in sent.items()
    )


def _tidy(sent: str, shown: str) -> bool:
    """Return whether one text may be the other, tidied: without its escapes, its case, its spaces, its end, its query."""
    if "://" in sent and "?" not in shown:
        sent = sent.partition("?")[0]
    one, other = letters(urllib.parse.unquote(sent)), letters(urllib.parse.unquote(shown))
    return (
        one == other or (len(other) >= LEAST_CUT and one.startswith(other)) or not _apart("seed", sent, shown)
    )


def differences(sent: Mapping[str, Any], listed: Mapping[str, Any]) -> set[str]:
    """Return in which of prompt and seed a listed body is another one than was sent, whatever a service tidies."""
    return {
        key
        for key in ("prompt", "seed")
        if key in sent and key in listed and _apart(key, normal(sent[key]), normal(listed[key]))
    }


def _apart(key: str, sent: str, shown: str) -> bool:
    """Return whether two values differ by more than a service's tidying: spaces, case, escapes, a cut end, 7.0 for 7."""
    if key == "prompt":
        sent, shown = letters(sent), letters(shown)
        return bool(shown) and sent != shown and not (len(shown) >= LEAST_CUT and sent.startswith(shown))
    if not shown or sent == shown:
        return False
    try:
        return float(sent) != float(shown)
    except ValueError:
        return True


def letters(text: str) -> str:
    """Return the letters and digits of a text, as any way of writing it has them."""
    plain = unicodedata.normalize("NFKC", html.unescape(text)).casefold()
    return "".join(filter(str.isalnum, plain))


def normal(value: Any) -> str:
    """Return a scalar as the text it says; anything else as canonical JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
