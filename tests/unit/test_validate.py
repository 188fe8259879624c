"""However much there is to say about a manifest, what stops a run is not lost among it."""

import time

import pytest
from support import rows, write_csv

from batch import ManifestError, RunSettings
from batch.core.config import Reading
from batch.planning.planner import preview
from batch.planning.validate import validate


@pytest.fixture
def few_kept(monkeypatch):
    """Keep three problems of each kind."""
    monkeypatch.setattr("batch.planning.validate.MOST_PROBLEMS", 3)


@pytest.fixture
def warned(tmp_path):
    """Write a manifest whose rows each have an empty cell in their prompt, and the columns given for the last."""

    def write(count, **last):
        lines = [line | {"prompt": "oak {note}", "note": ""} for line in rows(count)]
        return write_csv(tmp_path / "pairs.csv", [*lines[:-1], lines[-1] | last])

    return write


@pytest.mark.parametrize("last", [{"seed": "many"}, {"id": "row-0"}], ids=["a bad cell", "an id used twice"])
def test_warnings_hide_no_error(few_kept, warned, tmp_path, last):
    manifest = warned(6, **last)
    found = validate(manifest, Reading())
    assert (len(found.warnings), len(found.errors), found.dropped) == (3, 1, 0)
    with pytest.raises(ManifestError):
        preview(manifest, RunSettings(tmp_path / "out"))


def test_errors_beyond_those_kept_are_counted(few_kept, warned):
    lines = [line | {"seed": "many"} for line in rows(5)]
    found = validate(write_csv(warned(1).with_name("bad.csv"), lines), Reading())
    assert (len(found.errors), found.dropped) == (3, 2)


@pytest.mark.parametrize("bad", [(0,), (1,), (0, 1)])
def test_an_id_that_is_given_twice_is_reported_whatever_else_is_wrong_with_its_rows(tmp_path, bad):
    lines = [line | {"id": "a"} for line in rows(2)] + rows(1, first=2)
    for index in bad:
        lines[index]["seed"] = "soon"
    found = validate(write_csv(tmp_path / "m.csv", lines), Reading())
    assert [(problem.row, problem.column) for problem in found.errors] == [
        *((index + 2, "seed") for index in bad),
        (3, "id"),
    ]
    assert (found.rows, found.invalid) == (3 - len(bad), len(bad))


def test_a_misspelt_column_hides_no_problem_of_a_row(tmp_path):
    lines = [{"promt" if name == "prompt" else name: cell for name, cell in line.items()} for line in rows(3)]
    lines[1]["seed"] = "soon"
    found = validate(write_csv(tmp_path / "m.csv", lines), Reading())
    missing = [(1, "prompt"), (1, None)]  # and the column that may be meant
    assert [(problem.row, problem.column) for problem in found.errors] == [
        *missing,
        (1, "promt"),
        (3, "seed"),
    ]
    assert found.stops


@pytest.mark.slow
def test_many_invalid_rows_take_time_by_their_number_alone(tmp_path):
    def seconds(count):
        lines = [line | {"seed": "soon"} for line in rows(count)]
        begun = time.process_time()
        assert validate(write_csv(tmp_path / "m.csv", lines), Reading()).invalid == count
        return time.process_time() - begun

    few = seconds(2_000)
    assert seconds(16_000) < 24 * few  # it was 80 times
