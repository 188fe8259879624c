"""Templates take columns and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.manifest.values import TemplateError, parse_template

VALUES = {"product": "chair", "texture": "{oak}", "id": "7", "net weight": "5 kg", "share": "10%"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="no braces"),
        pytest.param("{product} in {id}", "chair in 7", id="two columns"),
        pytest.param("{product}{product}", "chairchair", id="one twice"),
        pytest.param("{{product}}", "{product}", id="literal braces"),
        pytest.param("{{{product}}}", "{chair}", id="braces around a value"),
        pytest.param("{texture}", "{oak}", id="values are not expanded again"),
        pytest.param("100% {share} %s %%", "100% 10% %s %%", id="percent signs"),
        pytest.param("{net weight}", "5 kg", id="a name with a blank"),
        pytest.param("", "", id="empty"),
    ],
)
def test_render(text, expected):
    assert expected == parse_template(text).render(VALUES)


@pytest.mark.parametrize(
    ("text", "reason", "remedy"),
    [
        pytest.param("a { b", "a { at character 3 has no partner.", "{{ for the brace itself", id="open"),
        pytest.param("a } b", "a } at character 3 has no partner.", "}} for the brace itself", id="close"),
        pytest.param(
            "{a{b}}", "a { at character 1 has no partner.", "Write {column} for a value", id="nested"
        ),
        pytest.param("{}", "{} names no column.", "Write the column's name", id="empty name"),
        pytest.param("{textur}", "{textur} is not a column.", "Did you mean {texture}?", id="misspelt"),
        pytest.param("{zzz}", "{zzz} is not a column.", "Known are product, texture", id="unknown"),
        pytest.param("{id:05d}", "{id:05d} is not a column.", "Write {id}:", id="format"),
        pytest.param("{id!r}", "{id!r} is not a column.", "Write {id}:", id="conversion"),
        pytest.param("{id.__class__}", "{id.__class__} is not a column.", "Write {id}:", id="attribute"),
        pytest.param("{product[0]}", "{product[0]} is not a column.", "Write {product}:", id="element"),
        pytest.param("{ id }", "{ id } is not a column.", "Write {id}:", id="blanks"),
    ],
)
def test_refused_with_reason_and_remedy(text, reason, remedy):
    with pytest.raises(TemplateError) as caught:
        parse_template(text).render(VALUES)
    assert reason == caught.value.reason
    assert remedy in caught.value.remedy


@given(st.text(alphabet="{}a%s.[]!:0 "), st.text())
def test_any_text_either_renders_or_is_refused(text, value):
    try:
        rendered = parse_template(text).render({"a": value})
    except TemplateError:
        return
    assert isinstance(rendered, str)
