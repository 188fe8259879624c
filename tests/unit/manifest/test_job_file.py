"""Job files: options as text and flags, misspelt keys with a suggestion."""

from __future__ import annotations

import pytest

from batch.core.errors import ManifestError
from batch.manifest.job_file import read_job_file
from batch.manifest.manifest import is_job_file

ALLOWED = ("concurrency", "max-cost", "job-timeout", "only", "local", "aspect-ratio", "yes")


def test_options_stay_text_and_flags(tmp_path, job):
    path = job(
        "manifest: data/pairs.csv\nconcurrency: 008\nmax_cost: 1.50\njob-timeout: 15m\nonly: [a, 007]\nlocal: true\n"
        "aspect-ratio: 4:5\nyes: 'true'\n",
    )
    read = read_job_file(path, ALLOWED)
    assert (path, tmp_path / "data/pairs.csv") == (read.path, read.manifest)
    assert read.options == {
        "concurrency": "008", "max-cost": "1.50", "job-timeout": "15m", "only": ("a", "007"), "local": True,
        "aspect-ratio": "4:5", "yes": "true",
    }  # fmt: skip


def test_null_is_not_given(job):
    assert read_job_file(job("manifest: a.csv\nonly:\n"), ALLOWED).options == {}


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        pytest.param("manifest: a.csv\nconcurency: 3\nmaxcost: 1\nzzz: 2\n",
                     ["2:concurency: is not an option of run. Did you mean concurrency?", "3:maxcost: is not an option of run. Did you mean max-cost?",
                      "4:zzz: is not an option of run. Known are manifest, concurrency"], id="misspelt"),
        pytest.param("manifset: a.csv\n", ["1:manifset: is not an option of run. Did you mean manifest?", "1:manifest: is missing. Name"], id="manifset"),
        pytest.param("manifest: a.csv\nonly: {a: b}\nyes: [[a]]\n", ["2:only: is neither a value nor a list of values.", "3:yes: is neither a value"], id="mapping"),
        pytest.param("manifest: [a, b]\n", ["1:manifest: is missing. Name the manifest"], id="two manifests"),
        pytest.param("manifest: a.csv\nlocal: true\nlocal: false\n", ["3: the key local is given twice"], id="twice"),
        pytest.param("- a\n", ["1:manifest: is missing."], id="list"),
        pytest.param("manifest: a.csv\ncolumns: [a]\n", ["2:columns: is not a mapping. Write `columns: {image_1:"], id="a list of columns"),
        pytest.param("manifest: a.csv\ncolumns: {imag_1: A, seed: [B], Image 1: A, image_1: B}\n",
                     ["2:columns.imag_1: is not a parameter. Did you mean image_1?", "2:columns.seed: is not a heading.",
                      "2:columns.image_1: is given twice."], id="columns"),
        pytest.param("manifest: a.csv\nx: [\n", ["3: does not fit here: a bracket is open"], id="no YAML"),
    ],
)  # fmt: skip
def test_problems_are_told_together(job, text, starts):
    path = job(text)
    with pytest.raises(ManifestError) as caught:
        read_job_file(path, ALLOWED)
    for start, problem in zip(starts, caught.value.problems, strict=True):
        assert str(problem).startswith(f"{path}:{start}")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "concurrency: 3\ndeep: {manifest: no, l: [1, {x: y}]}\nmanifest: pairs.csv\n", True),
        ("a.yml", "manifest: pairs.csv\nrows: []\n", True),
        ("a.yaml", "manifst: pairs.csv\nout: out\n", True),
        ("a.yaml", "Manifest: pairs.csv\nyes: true\n", True),
        ("a.yaml", "defaults: {out: x}\nrows: []\n", False),
        ("a.yaml", "deep: {manifest: x}\nrows: []\n", False),
        ("a.yaml", "rows: [{manifest: x}]\n", False),
        ("a.yaml", "rows: []\nmanifest: pairs.csv\n", False),
        ("a.yaml", "x: manifest\ny: [manifest]\n", False),
        ("a.yaml", "- manifest: x\n", False),
        ("a.yaml", "manifest", False),
        ("a.yaml", "", False),
        ("a.yaml", "x: [\n", False),
        ("a.csv", "manifest: pairs.csv\n", False),
    ],
)
def test_a_job_is_told_from_a_manifest(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text)
    assert expected == is_job_file(tmp_path / name)


def test_what_cannot_be_read_is_no_job(tmp_path):
    (tmp_path / "a.yaml").write_bytes("manifest: ä".encode("utf-16-le"))
    assert [is_job_file(tmp_path / name) for name in ("a.yaml", "missing.yaml", ".")] == [False] * 3
