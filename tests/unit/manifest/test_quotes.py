"""Quotes in a CSV that do not say what is text: a problem with its line, forgiven where the row was paid for.

The expected cells are what texbatch read before these were problems: a row that it paid for stays that work.
"""

from __future__ import annotations

import pytest
from manifest_reading import read

from batch.manifest.manifest import open_manifest

AFTER = 'there is text after a closing quote; a quote inside text is written twice ("").'
BEFORE = "there is a blank before the opening quote"


@pytest.fixture
def entries(tmp_path):
    """Read a file of three columns whose second is a cell as written; give its rows and problems."""

    def read_cells(*written: str, separator: str = ",", name: str = "pairs.csv"):
        lines = [separator.join(["image_1", "prompt", "note"])]
        lines += [separator.join(["1", cell, "n"]) for cell in written]
        (tmp_path / name).write_text("\n".join(lines) + "\n", newline="")
        return list(open_manifest(tmp_path / name).rows())

    return read_cells


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("written", "formerly", "reason"),
    [
        pytest.param('"Keep the \\"rough\\" look"', 'Keep the \\rough\\" look"', AFTER, id="backslashes"),
        pytest.param('"Vintage" oak with a "worn" edge', 'Vintage oak with a "worn" edge', AFTER, id="words in quotes"),
        pytest.param('"Vintage" oak', "Vintage oak", AFTER, id="one word in quotes"),
        pytest.param('"a"b"c"', 'ab"c"', AFTER, id="quotes not doubled"),
        pytest.param('"a" "b"', 'a "b"', AFTER, id="two quoted texts"),
        pytest.param('"a""b"c', 'a"bc', AFTER, id="a letter too many"),
        pytest.param('""a""', 'a""', AFTER, id="quoted twice"),
        pytest.param('"a\nb" c', "a\nb c", AFTER, id="over two lines"),
        pytest.param(' "oak"', ' "oak"', BEFORE, id="a blank before the quote"),
        pytest.param('  "Vintage" oak', '  "Vintage" oak', BEFORE, id="blanks before a quoted word"),
    ],
)  # fmt: skip
def test_quotes_that_do_not_say_what_is_text_are_a_problem(entries, separator, written, formerly, reason):
    row, plain = entries(written, "plain", separator=separator)
    (problem,) = row.unless_paid
    assert (row.number, dict(row.formerly), row.cells["note"]) == (2, {"prompt": formerly}, "n")
    assert (problem.row, problem.column, problem.warning) == (2, "prompt", False)
    assert problem.reason.startswith(reason)
    assert problem.remedy
    assert (plain.formerly, plain.unless_paid) == ({}, ())


@pytest.mark.parametrize(
    ("written", "text"),
    [
        pytest.param('"Keep the ""rough"" look"', 'Keep the "rough" look', id="doubled"),
        pytest.param('5" x 7"', '5" x 7"', id="inches"),
        pytest.param('a "b" c', 'a "b" c', id="in the middle"),
        pytest.param('"oak" ', "oak ", id="a blank after the closing quote"),
        pytest.param('"oak"', "oak", id="quoted"),
        pytest.param('"C:\\"', "C:\\", id="a backslash at the end"),
        pytest.param("'oak' x", "'oak' x", id="apostrophes"),
    ],
)
def test_quotes_that_say_what_is_text_are_none(entries, written, text):
    (row,) = entries(written)
    assert (row.cells["prompt"], row.formerly, row.unless_paid) == (text, {}, ())


def test_a_record_that_its_quotes_cut_elsewhere_is_told_of_its_quotes(entries):
    """Not of its number of cells, which is no fault of the commas."""
    cut, row = entries('"Keep, the \\"rough, big\\" look"', "plain")
    (problem,) = cut.problems
    assert (problem.row, problem.reason) == (2, AFTER)
    assert (row.number, row.problems) == (3, ())


def test_only_the_cells_with_such_quotes_are_named(tmp_path):
    (tmp_path / "a.csv").write_text('image_1,prompt,note\n1,"a" b,"c" d\n2,x,y\n3,"x",y "z"\n')
    first, *others = open_manifest(tmp_path / "a.csv").rows()
    assert dict(first.formerly) == {"prompt": "a b", "note": "c d"}
    assert [problem.column for problem in first.unless_paid] == ["prompt", "note"]
    assert [(row.formerly, row.unless_paid) for row in others] == [({}, ())] * 2


def test_a_column_named_like_a_formula_comes_back_from_a_report(tmp_path):
    """Neutralised in the header as cells are, restored when the report is read as a manifest."""
    (tmp_path / "report.csv").write_text(
        "id,'=cmd|x,''-y,image_1,image_2,prompt,payload_key,run_id,status\n"
        "a,'=1,k,https://h/1.jpg,https://h/2.jpg,Wrap,tb1-1,r,failed\n"
    )
    assert open_manifest(tmp_path / "report.csv").columns[:3] == ("id", "=cmd|x", "'-y")
    assert read(tmp_path / "report.csv").only.cells == {"id": "a", "=cmd|x": "=1", "'-y": "k"}


# -- columns without a name at the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["a,prompt,,", "1,2,,", "3,4,,"], id="separators everywhere"),
        pytest.param(["a,prompt,,", "1,2", "3,4,"], id="fewer separators in the rows, as Excel writes them"),
        pytest.param(["a,prompt, ,", "1,2, ,", '"3",4,,""'], id="blanks"),
    ],
)
def test_empty_columns_without_a_name_at_the_end_are_none(tmp_path, lines, separator):
    (tmp_path / "a.csv").write_text("\n".join(lines).replace(",", separator))
    manifest = open_manifest(tmp_path / "a.csv")
    assert manifest.columns == ("a", "prompt")
    assert [row.cells for row in manifest.rows()] == [{"a": "1", "prompt": "2"}, {"a": "3", "prompt": "4"}]


def test_text_in_a_column_without_a_name_is_a_problem_of_its_row(tmp_path):
    (tmp_path / "a.csv").write_text("a,prompt,,\n1,2,,\n3,4,x,\n5,6,,\n7,8,,,\n")
    read = list(open_manifest(tmp_path / "a.csv").rows())
    assert [row.number for row in read] == [2, 3, 4, 5]
    first, (problem,), third, (ragged,) = (row.problems for row in read)
    assert (first, problem.row, third, ragged.row) == ((), 3, (), 5)
    assert "in a column without a name, after the column prompt." in problem.reason
    assert ragged.reason == "has 5 cells, the header has 4."
