import re
import tomllib
from pathlib import Path

import pytest
from test_architecture import FLOORS

from batch.cli.reference import architecture, reference, state_diagram
from batch.ledger.states import TRANSITIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "batch" / "docs"
PAGES = [
    ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", ROOT / "jobs" / "README.md", *sorted(DOCS.rglob("*.md")),
]  # fmt: skip


def test_commands_page_is_what_help_says():
    """batch/docs/COMMANDS.md is the output of the command that makes it."""
    assert reference() == (DOCS / "COMMANDS.md").read_text(encoding="utf-8")


def test_the_state_diagram_is_the_table_of_transitions():
    """The page holds the diagram that the command draws, and that has every transition."""
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert architecture(page) == page
    drawn = {
        (state, event, following)
        for state, following, events in re.findall(r"    (\w+) --> (\w+): (.+)", state_diagram())
        for event in events.split(", ")
    }
    assert drawn == {(state, event, following) for (state, event), following in TRANSITIONS.items()}


def test_the_tree_and_the_import_rule_on_the_page_are_those_of_the_code():
    """Each folder is in the tree; the floors are the ones that test_architecture.py checks, from the top down."""
    page = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
    folders = {
        path.name for path in (ROOT / "batch").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert set(re.findall(r"^  (\w+)/ ", page, re.MULTILINE)) == folders
    (rule,) = re.findall(r"^cli · .*$", page, re.MULTILINE)
    floors = [set(re.findall(r"\w+", part)) for part in rule.split(" · ")]
    assert floors == [floor - {"local"} for floor in reversed(FLOORS)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_of_a_page_exist(page):
    """Relative links, and the paths of the package named in backticks."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:batch/)?(?:[\w.]+/)+(?:[\w.]+\.(?:py|md|sql|yaml))?)`", text)
    package = {name for name in named if name.removeprefix("batch/").split("/")[0] in TOP}
    missing = [
        name for name in sorted(package) if not (ROOT / "batch" / name.removeprefix("batch/")).exists()
    ]
    assert missing == []


TOP = {path.name for path in (ROOT / "batch").iterdir() if path.is_dir()} | {"remote", "intake", "results"}
"""Folders of the package, and some that it once had."""


def test_every_decision_is_listed_and_has_its_three_parts():
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    assert len(records) >= 10
    for record in records:
        assert f"]({record.name})" in index
        parts = re.findall(r"^## (\w+)$", record.read_text(encoding="utf-8"), re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequence"]


def test_the_documents_are_in_the_package():
    """An installed texbatch explains itself too."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "package-data"
    ]
    assert {"docs/*.md", "docs/decisions/*.md"} <= set(data["batch"])


def test_nothing_cites_a_document_that_is_not_in_the_repository():
    """Names of pages in capitals: API.md, DESIGN.md and the like."""
    known = {path.name for path in ROOT.rglob("*.md") if ".venv" not in path.parts}
    cited = {
        f"{path.relative_to(ROOT)}: {name}"
        for folder in ("batch", "tests", "jobs", "samples", ".github", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".md", ".sql", ".js", ".jinja", ".css", ".yaml", ".yml", ""}
        if path != Path(__file__)
        for name in re.findall(r"\b[A-Z][A-Z_]+\.md\b", path.read_text(encoding="utf-8", errors="ignore"))
        if name not in known
    }
    assert sorted(cited) == []


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


def test_a_file_that_the_code_cites_is_there():
    """`output/folder.py` and `states.py` in docstrings and comments: a name, or a path below batch/."""
    there = {str(path.relative_to(ROOT / "batch")) for path in (ROOT / "batch").rglob("*")}
    there |= {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    missing = [
        f"{path.relative_to(ROOT)}: {cited}"
        for path in sorted((ROOT / "batch").rglob("*.py"))
        for cited in re.findall(
            r"(?<![\w./])((?:\w+/)*[a-z_]+\.(?:py|sql))\b", path.read_text(encoding="utf-8")
        )
        if not any(f"/{name}".endswith(f"/{cited.removeprefix('batch/')}") for name in there)
    ]
    assert [
        line for line in missing if not line.endswith(": json.py")
    ] == []  # a user's own, by way of example
