from pathlib import Path

import pytest

from batch.cli.reference import reference

ROOT = Path(__file__).parents[2]


def test_commands_page_is_what_help_says():
    """batch/COMMANDS.md is the output of the command that makes it."""
    assert reference() == (ROOT / "batch" / "COMMANDS.md").read_text(encoding="utf-8")


def test_readme_has_its_two_blocks_first():
    """The first two fenced sh blocks install and run, and install and test."""
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```sh\n")[1:3]
    first, second = (block.split("```")[0] for block in blocks)
    assert "texbatch run samples/catalog.yaml --local --out out" in first
    assert "python -m pytest" in second


@pytest.mark.slow
def test_readmes_python_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    """It textures the samples with the local service; its last line is the exit code and the bill."""
    example = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "0"
