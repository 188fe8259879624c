"""Errors keep what they carry on their way through another process: pickled, copied."""

from __future__ import annotations

import copy
import pickle

import pytest

from batch.core import errors
from batch.core.models import Problem

PROBLEMS = (
    Problem("a.csv", 2, "prompt", "empty.", "Give one."),
    Problem("a.csv", None, None, "old.", "", warning=True),
)
ARGUMENTS = {
    errors.ManifestError: (PROBLEMS, 3),
    errors.Interrupted: ("a signal came", 15),
    errors.KeyRefused: ("401", 401),
    errors.MaybeBilled: ("no answer", "r-1"),
    errors.JobFailed: ("r-1", "no texture"),
    errors.JobRunning: ("r-1", 900.0),
    errors.IssueError: ("is empty.", "Give a value."),
}


def classes(base):
    """Yield a class and everything derived from it, of every imported module."""
    yield base
    for kind in base.__subclasses__():
        yield from classes(kind)


EVERY = [kind for base in (errors.TexbatchError, errors.IssueError) for kind in classes(base)]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "way",
    [copy.copy, copy.deepcopy, *(lambda error, n=n: pickle.loads(pickle.dumps(error, n)) for n in (0, 5))],
)
def test_an_error_comes_back_whole(kind, way):
    base = next((known for known in ARGUMENTS if issubclass(kind, known)), None)
    error = kind(*ARGUMENTS.get(base, ("it failed",)))
    error.add_note("said later")
    back = way(error)
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
    assert getattr(back, "exit_code", None) == getattr(error, "exit_code", None)


def test_the_tree_in_the_docstring_names_every_error():
    named = {word for word in errors.__doc__.split() if word.isidentifier()}
    ours = {kind.__name__ for kind in EVERY if kind.__module__ == errors.__name__}
    assert ours <= named
