"""Control characters in text of others are shown, and nothing else is touched."""

from __future__ import annotations

import pytest

from batch.core.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\ntwo\r\n\tthree", "one\\ntwo\\r\\n\\tthree"),
        ("\x00\x7f\x80\x9b\x9f", "\\x00\\x7f\\x80\\x9b\\x9f"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("abc\u202egpj\u202c", "abc\\u202egpj\\u202c"),
        ("\u2066\u2069", "\\u2066\\u2069"),
        ("half \ud83d pair", "half \\ud83d pair"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "Chair, oak", "café \u00a0 naïve", "椅子 🪑 \\n", "\u200d\ufeff"])
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert visible(text) == text
