"""One table in every format is the same work: equal ids, keys, names and cells; and none grows with its length."""

from __future__ import annotations

import csv
import json
import tracemalloc

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifest_reading import read
from pyarrow import parquet as pq
from tiers import examples

from batch.core.csv_format import OUTCOME_COLUMNS, escape_formula
from batch.core.models import Payload, payload_key
from batch.manifest.expand import Expander
from batch.manifest.manifest import open_manifest

SUFFIXES = ("csv", "jsonl", "parquet", "xlsx")


def as_csv(value) -> str:
    """Return what a spreadsheet would write for a typed value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def write(path, table):
    """Write columns of typed values in the format of the suffix."""
    rows = list(zip(*table.values(), strict=True))
    match path.suffix:
        case ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(table)
                writer.writerows([as_csv(value) for value in row] for row in rows)
        case ".jsonl":
            lines = (json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False) for row in rows)
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.table(table), path)
        case _:
            book = openpyxl.Workbook(write_only=True)
            sheet = book.create_sheet()
            sheet.append(list(table))
            for row in rows:
                sheet.append([_text_cell(sheet, value) for value in row])
            book.save(path)
    return path


def _text_cell(sheet, value):
    """Keep openpyxl from taking text for a formula or an error."""
    cell = openpyxl.cell.WriteOnlyCell(sheet, value)
    if isinstance(value, str):
        cell.data_type = "s"
    return cell


# What XML and a workbook cannot hold, or hold in another way, is left out: controls, CR, _x000D_.
TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="_\ufffe\uffff")
    | st.just("\n"),
    max_size=8,
)
PROMPT = TEXT.map(lambda text: "x" + text.replace("{", "{{").replace("}", "}}"))
NUMBER = st.integers(-(10**14), 10**14) | st.floats(-1e6, 1e6).map(lambda value: float(f"{value:.15g}"))


@st.composite
def tables(draw):
    """A table of one to four rows: typed columns with gaps, own columns of any kind."""
    rows = draw(st.integers(1, 4))

    def column(values, *, gaps=True):
        return draw(st.lists(values | st.none() if gaps else values, min_size=rows, max_size=rows))

    table = {
        "image_1": ["products/chair.jpg"] * rows,
        "image_2": ["textures/oak.jpg"] * rows,
        "prompt": column(PROMPT, gaps=False),
        "n": list(range(rows)),  # rows differ
        "seed": column(draw(st.sampled_from([st.integers(0, 2**31 - 1), st.integers(0, 9).map(float)]))),
        "base64": column(st.booleans()),
        "aspect_ratio": column(st.sampled_from(["4:5", "16:9", "1:1"])),
        "text": column(TEXT),
        "number": column(
            draw(st.sampled_from([NUMBER.filter(lambda v: isinstance(v, int)), NUMBER.map(float)]))
        ),
        "status": column(st.booleans()),
    }
    if draw(st.booleans()):
        table["id"] = [f"{n}-{draw(st.sampled_from(['a', '007', 'ä']))}" for n in range(rows)]
    return table


def known(payload):
    return (
        payload.id,
        payload_key(payload.parameters),
        payload.output,
        dict(payload.cells),
        set(payload.files),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], **examples(60))
@given(table=tables())
def test_one_table_is_the_same_work_in_every_format(shop, table):
    readings = {suffix: read(write(shop / f"pairs.{suffix}", table)) for suffix in SUFFIXES}
    expected = [known(payload) for payload in readings["csv"].payloads]
    assert len(expected) == len(table["n"])
    for suffix, reading in readings.items():
        assert reading.errors == []
        assert [known(payload) for payload in reading.payloads] == expected, suffix


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("outcomes", "refused"),
    [
        pytest.param(
            {"status": "failed", "cost": 0.03, "attempts": 2, "http_status": 422.0}, False, id="failed"
        ),
        pytest.param({"status": "saved", "request_id": "r1", "width": 1024}, False, id="saved"),
        pytest.param({"status": "unknown"}, True, id="unknown"),
        pytest.param({"status": "pending", "request_id": "'-r1"}, True, id="pending"),
    ],
)
def test_texbatchs_own_report_is_its_own_in_every_format(shop, suffix, outcomes, refused):
    cells = {
        "id": "a",
        "note": escape_formula("=1+1"),
        "prompt": escape_formula("-{{x}}"),
        "image_1": "products/chair.jpg",
        "image_2": "textures/oak.jpg",
        "seed": 7,
        "base64": False,
    }
    cells |= dict.fromkeys(OUTCOME_COLUMNS) | {"payload_key": "tb1-0", "run_id": "1"} | outcomes
    path = write(shop / f"report.{suffix}", {name: [value] for name, value in cells.items()})
    assert open_manifest(path).texbatch_own
    reading = read(path)
    if refused:
        assert reading.payloads == []
        assert "submitted" in reading.errors[0]
        assert ":status: " in reading.errors[0]
    else:
        assert reading.only.cells == {"id": "a", "note": "=1+1"}
        assert (reading.only.parameters["prompt"], reading.only.parameters["seed"]) == ("-{x}", 7)


def long_manifest(path, rows):
    """Write a manifest in small pieces; Parquet in one large row group."""

    def fields(n):
        return {
            "id": f"r{n}",
            "image_1": "products/chair.jpg",
            "image_2": "textures/oak.jpg",
            "prompt": f"Wrap {n}",
            "seed": n,
            "sku": f"S{n % 99}",
        }

    if path.suffix == ".jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps(fields(n)) + "\n" for n in range(rows))
    else:
        table = pa.Table.from_pylist([fields(n) for n in range(rows)])
        pq.write_table(table, path, row_group_size=rows)
    return path


def peaks(path):
    """Return the payloads of a manifest, and the most memory that Python and pyarrow held for them."""
    before = pa.total_allocated_bytes()
    foreign = 0
    tracemalloc.start()
    try:
        count = 0
        for item in Expander(open_manifest(path), overrides={}):
            count += isinstance(item, Payload)
            if count % 1000 == 0:
                foreign = max(foreign, pa.total_allocated_bytes() - before)
        return count, tracemalloc.get_traced_memory()[1], foreign
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_100_000_rows(shop, suffix):
    """pyarrow holds the compressed columns of one row group besides: less than a tenth of their text."""
    peaks(long_manifest(shop / f"first.{suffix}", 100))
    _, small, _ = peaks(long_manifest(shop / f"few.{suffix}", 10_000))
    count, large, foreign = peaks(long_manifest(shop / f"many.{suffix}", 100_000))
    assert count == 100_000
    assert large < small * 1.25
    assert foreign < 16 << 20
