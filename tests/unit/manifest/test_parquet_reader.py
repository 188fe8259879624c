"""Parquet, written by pyarrow and pandas: types become the text a CSV would hold; what is wrong is named with its row."""

from __future__ import annotations

import builtins
import datetime as dt
import uuid
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest
from manifest_reading import read
from pyarrow import parquet as pq

from batch.core.errors import ManifestError
from batch.manifest.columns import report_names
from batch.manifest.manifest import open_manifest

BASE = {"image_1": ["products/chair.jpg"], "image_2": ["textures/oak.jpg"], "prompt": ["Wrap"]}


@pytest.fixture
def read_parquet(shop):
    """Write a table and read it."""

    def reader(table, **options):
        pq.write_table(
            table if isinstance(table, pa.Table) else pa.table(table), shop / "pairs.parquet", **options
        )
        return read(shop / "pairs.parquet")

    return reader


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(pa.array(["00123"]), "00123", id="text stays text"),
        pytest.param(pa.array(["  kept\n "], pa.large_string()), "  kept\n ", id="large text"),
        pytest.param(pa.array(["oak"]).dictionary_encode(), "oak", id="dictionary"),
        pytest.param(pa.array([7], pa.int8()), "7", id="int8"),
        pytest.param(pa.array([2**64 - 1], pa.uint64()), "18446744073709551615", id="uint64"),
        pytest.param(pa.array([7.0]), "7", id="integral float"),
        pytest.param(pa.array([7.25]), "7.25", id="float"),
        pytest.param(pa.array([0.1], pa.float32()), "0.1", id="float32"),
        pytest.param(pa.array([None, 0.5], pa.float32())[1:], "0.5", id="float32 beside a null"),
        pytest.param(pa.array([None], pa.float32()), "", id="float32 null"),
        pytest.param(pa.array([3.0], pa.float64()).cast(pa.float16()), "3", id="float16"),
        pytest.param(pa.array([Decimal("7.00")]), "7", id="integral decimal"),
        pytest.param(pa.array([Decimal("7.50")]), "7.50", id="decimal"),
        pytest.param(pa.array([Decimal("9" * 50)], pa.decimal256(60)), str(Decimal("9" * 50)), id="decimal256"),
        pytest.param(pa.array([True]), "true", id="true"),
        pytest.param(pa.array([False]), "false", id="false"),
        pytest.param(pa.array([None], pa.int64()), "", id="null"),
        pytest.param(pa.array([None]), "", id="a column of nulls"),
        pytest.param(pa.array([float("nan")]), "", id="NaN is nothing"),
        pytest.param(pa.array([dt.date(2026, 3, 1)]), "2026-03-01", id="date"),
        pytest.param(pa.array([dt.time(14, 5, 9)]), "14:05:09", id="time"),
        pytest.param(pa.array([dt.datetime.fromisoformat("2026-03-01T14:05")], pa.timestamp("s")), "2026-03-01T14:05:00", id="timestamp"),
        pytest.param(
            pa.array([1_772_373_909_000_000_001], pa.timestamp("ns", "UTC")), "2026-03-01T14:05:09.000000001+00:00", id="ns, UTC"
        ),
        pytest.param(pa.Array.from_pandas(pd.Series([pd.NaT])), "", id="NaT is nothing"),
        pytest.param(pa.array([dt.timedelta(hours=30, seconds=1)]), "30:00:01", id="duration"),
        pytest.param(pa.array([dt.timedelta(seconds=-1.5)]), "-0:00:01.5", id="duration below nothing"),
        pytest.param(pa.array(["größe".encode()], pa.binary()), "größe", id="bytes that are UTF-8"),
        pytest.param(
            pa.array([uuid.UUID(int=7).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000007", id="uuid"
        ),
    ],
)  # fmt: skip
def test_a_value_is_the_text_a_csv_would_hold(read_parquet, array, text):
    assert read_parquet(BASE | {"note": array}).only.cells == {"note": text}


def test_parameters_take_parquets_types(read_parquet):
    payload = read_parquet(BASE | {"seed": [7.0], "quality": [80], "base64": [True], "image_3": [None]}).only
    assert (payload.parameters["seed"], payload.parameters["quality"]) == (7, 80)
    assert (payload.parameters["base64"], payload.parameters["image_3"]) == (True, "")


def test_what_pandas_writes_is_read_without_its_index(shop):
    """An integer column with a gap is one of floats in pandas."""
    frame = pd.DataFrame(
        {name: value * 2 for name, value in BASE.items()} | {"seed": [7, None], "sku": ["01", "02"]}
    )
    frame.set_index(pd.Index(["x", "y"])).to_parquet(shop / "pairs.parquet")
    reading = read(shop / "pairs.parquet")
    assert reading.problems == []
    assert [payload.parameters["seed"] for payload in reading.payloads] == [7, 87568756]
    assert [payload.cells for payload in reading.payloads] == [{"sku": "01"}, {"sku": "02"}]


def test_numbers_count_rows_and_rows_of_nothing_are_skipped(read_parquet):
    rows = [BASE | {"seed": [seed]} for seed in ("7", "7.5")]
    nothing = {name: [None] for name in rows[0]}
    table = pa.concat_tables(
        pa.table(cells, pa.schema([(name, pa.string()) for name in rows[0]]))
        for cells in (rows[0], nothing, nothing, rows[1])
    )
    reading = read_parquet(table, row_group_size=1)
    assert [payload.number for payload in reading.payloads] == [1]
    assert reading.errors == [
        "pairs.parquet:4:seed: '7.5' is not a whole number. Give a whole number from -1 to 2147483647."
    ]


def test_columns_in_order(shop):
    schema = pa.schema(
        [(name, pa.string()) for name in (" sku ", "prompt", "status", "id", "__index_level_0__")]
    )
    pq.write_table(schema.empty_table(), shop / "a.parquet")
    manifest = open_manifest(shop / "a.parquet")
    assert manifest.columns == ("sku", "prompt", "status", "id")
    assert tuple(report_names(manifest.columns).values()) == ("sku", "manifest_status", "id")
    assert (list(manifest.rows()), manifest.header_line) == ([], None)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param({"tags": [["a"]]}, "pairs.parquet:tags: is a column of list<", id="list"),
        pytest.param({"size": [{"w": 1}]}, "pairs.parquet:size: is a column of struct<", id="struct"),
        pytest.param({"quallity": ["x"]}, "pairs.parquet:quallity: is not a parameter and looks like quality.", id="misspelt"),
        pytest.param({"note": ["a\0b"]}, "pairs.parquet:1:note: there is a NUL character in it.", id="NUL"),
        pytest.param({"note": [float("inf")]}, "pairs.parquet:1:note: is infinite. Give a number", id="infinite"),
        pytest.param(
            {"note": pa.array([b"\xff"], pa.binary())}, "pairs.parquet:1:note: holds bytes that are not UTF-8", id="bytes"
        ),
        pytest.param(
            {"note": pa.array([b"\xff"], pa.binary()).view(pa.string())},
            "pairs.parquet:1:note: holds bytes that are not UTF-8 text. Write the column as UTF-8.", id="text in bytes",
        ),
        *(
            pytest.param({"note": pa.array([number], kind)}, "pairs.parquet:1:note: holds a date or time outside", id=str(kind))
            for number, kind in (
                (2**31 - 1, pa.date32()), (2**62, pa.timestamp("us")), (-(2**62), pa.timestamp("ms", tz="UTC")),
                (2**62, pa.duration("s")),
            )
        ),
        pytest.param({" prompt": ["x"]}, "pairs.parquet:prompt: is there twice.", id="twice but for blanks"),
    ],
)  # fmt: skip
def test_what_no_cell_can_hold_is_named(read_parquet, column, expected):
    table = {
        name: value for name, value in BASE.items() if name != "prompt" or "promt" not in column
    } | column
    assert read_parquet(table).errors[0].startswith(expected)


@pytest.mark.parametrize("content", [b"", b"PAR1 is not enough PAR1", b"image_1,image_2\n"])
def test_a_file_that_is_no_parquet_is_named(shop, content):
    (shop / "pairs.parquet").write_bytes(content)
    (error,) = read(shop / "pairs.parquet").errors
    assert error.startswith("pairs.parquet: cannot be read as Parquet (")
    assert error.endswith("Write it again, or save the table as CSV.")


def test_a_column_whose_name_is_no_text_is_damage(shop):
    pq.write_table(pa.table(BASE | {"note": ["a"]}), shop / "pairs.parquet")
    content = (shop / "pairs.parquet").read_bytes()
    (shop / "pairs.parquet").write_bytes(content.replace(b"note", b"no\xb4e"))
    with pytest.raises(ManifestError, match="cannot be read as Parquet"):
        open_manifest(shop / "pairs.parquet")


def test_damage_further_on_is_a_problem_after_the_rows_before(shop):
    """So nothing of the file is sent."""
    path = shop / "pairs.parquet"
    table = pa.table(
        {name: value * 5000 for name, value in BASE.items()} | {"id": [f"r{n}" for n in range(5000)]}
    )
    pq.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    middle = pq.ParquetFile(path).metadata.row_group(3).column(0).data_page_offset
    data[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(data)
    reading = read(path)
    assert len(reading.payloads) <= 3000
    (error,) = reading.errors
    assert error.startswith("pairs.parquet: cannot be read as Parquet (")


def test_without_pyarrow_the_remedy_is_the_command(shop, monkeypatch):
    pq.write_table(pa.table(BASE), shop / "pairs.parquet")
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert read(shop / "pairs.parquet").errors == [
        "pairs.parquet: Parquet needs pyarrow, which is not installed. Run: pip install 'texbatch[parquet]'."
    ]
