"""Lay the images of a run on one sheet: `python samples/contact_sheet.py OUT SHEET.jpg [COLUMNS]`."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from PIL import Image

TILE = 150
GAP = 6


def contact_sheet(out: Path, columns: int) -> Image.Image:
    """Return the saved images of a run's report, in its order, `columns` abreast."""
    report = pd.read_csv(out / "report.csv", dtype=str, keep_default_na=False)
    paths = [out / path for path in report[report["status"] == "saved"]["output_path"]]
    if not paths:
        sys.exit(f"{out}: no saved images in report.csv")
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * (TILE + GAP) - GAP, rows * (TILE + GAP) - GAP), "white")
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            image.thumbnail((TILE, TILE))
            sheet.paste(image, (number % columns * (TILE + GAP), number // columns * (TILE + GAP)))
    return sheet


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    made = contact_sheet(Path(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else 6)
    made.save(sys.argv[2], quality=80)
