"""samples/explore.ipynb: small, without outputs, and every cell runs on a real report."""

import json
import shutil
from pathlib import Path

import pytest
import support
from support import rows, write_csv

SAMPLES = Path(__file__).parents[2] / "samples"
NOTEBOOK = SAMPLES / "explore.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def plots(monkeypatch):
    """Draw without a window; collects the title of everything that is shown."""
    import matplotlib as mpl  # noqa: PLC0415  half a second for whoever collects only

    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  after the backend is chosen

    shown = []

    def show():
        shown.extend(ax.get_title() for ax in plt.gcf().axes)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    yield shown
    plt.close("all")


def execute(out, tmp_path, monkeypatch):
    """Run every code cell in order, as a kernel started in samples/ would; return what they leave behind."""
    (tmp_path / "samples").mkdir()
    if out != tmp_path / "out":
        shutil.copytree(out, tmp_path / "out")
    monkeypatch.chdir(tmp_path / "samples")
    names = {}
    for number, cell in enumerate(CELLS):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"explore.ipynb[{number}]", "exec"), names)
    return names


def test_it_is_small_and_has_no_outputs():
    assert NOTEBOOK.stat().st_size < 10_000
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)


def test_it_shows_cost_time_failures_and_images(api, tmp_path, monkeypatch, plots):
    lines = [line | {"texture": ("oak", "denim")[n % 2]} for n, line in enumerate(rows(8))]
    api.settings(blocked_words=["oak 3"])
    support.go(api, write_csv(tmp_path / "pairs.csv", lines), tmp_path / "out")
    left = execute(tmp_path / "out", tmp_path, monkeypatch)
    assert left["cost"]["USD"].round(2).to_dict() == {"oak": 0.12, "denim": 0.09}
    assert left["times"]["inference_s"].count() == 7
    assert left["reasons"]["rows"].to_dict() == {"job_failed": 1}
    assert plots[:3] == ["USD per texture", "Seconds per job", "Rows without an image"]
    assert {title for title in plots[3:] if title} == {f"row-{n}" for n in range(8)} - {"row-3"}


@pytest.mark.slow
def test_it_takes_a_report_without_failures_or_own_columns(api, tmp_path, monkeypatch, plots):
    """As after the README's first block, but for the column of textures."""
    support.go(api, write_csv(tmp_path / "pairs.csv", rows(2)), tmp_path / "out")
    left = execute(tmp_path / "out", tmp_path, monkeypatch)
    assert left["cost"].index.tolist() == ["oak"]
    assert left["reasons"].empty
    assert "Rows without an image" not in plots


@pytest.mark.slow
def test_it_takes_a_report_where_nothing_was_saved(api, tmp_path, monkeypatch, plots):
    api.settings(blocked_words=["oak"])
    support.go(api, write_csv(tmp_path / "pairs.csv", rows(2)), tmp_path / "out")
    left = execute(tmp_path / "out", tmp_path, monkeypatch)
    assert left["cost"]["USD"].sum() == 0
    assert left["shown"].empty
