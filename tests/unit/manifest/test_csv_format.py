"""What goes into a report comes back unchanged, and nothing in it runs in a spreadsheet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.csv_format import double_braces, escape_formula, unescape_formula
from batch.manifest.values import parse_template

# Texts made of the characters that matter, so that the interesting ones are found quickly.
NASTY = st.text(alphabet="'=+-@\t\r01.eE{}a \n", max_size=8) | st.text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("=1+1", "'=1+1", id="formula"),
        pytest.param("@SUM(A1)", "'@SUM(A1)", id="at"),
        pytest.param("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0", id="plus"),
        pytest.param("\tx", "'\tx", id="tab"),
        pytest.param("\rx", "'\rx", id="carriage return"),
        pytest.param("-", "'-", id="a dash alone is no number"),
        pytest.param("-1", "-1", id="negative number"),
        pytest.param("+3.5e-7", "+3.5e-7", id="signed number with exponent"),
        pytest.param("-1-2", "'-1-2", id="a sum is no number"),
        pytest.param("'=x", "''=x", id="what looks escaped is escaped"),
        pytest.param("''=x", "'''=x", id="twice"),
        pytest.param("'tis", "'tis", id="an apostrophe before a letter"),
        pytest.param("oak", "oak", id="plain"),
        pytest.param("", "", id="empty"),
    ],
)
def test_neutralise(text, expected):
    assert expected == escape_formula(text)
    assert text == unescape_formula(expected)


@given(NASTY)
def test_restore_undoes_neutralise(text):
    assert text == unescape_formula(escape_formula(text))


@given(NASTY)
def test_neutralised_text_never_starts_a_formula(text):
    written = escape_formula(text)
    if written[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        assert float(written) is not None


@given(NASTY)
def test_doubled_braces_expand_to_the_text(text):
    assert text == parse_template(double_braces(text)).render({})
