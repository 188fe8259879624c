"""The manifest with the official SDK in threads, as its documentation shows it: what most people would write.

`python sdk_threads.py BASE_URL MANIFEST OUT AT_ONCE`: submit, poll once a second, fetch the result, write the file.
"""

import csv
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from segmind import SegmindClient

MODEL = "qwen-image-edit-plus-texture-apply"

base_url, manifest, out, at_once = sys.argv[1:]
client = SegmindClient(api_key="SG_0123456789abcdef", base_url=f"{base_url}/v1")
files = httpx.Client()


def carry(row: dict[str, str]) -> None:
    name = row.pop("id")
    result = client.run(MODEL, **row)
    answer = files.get(result["images"][0]["url"])
    answer.raise_for_status()
    (Path(out) / f"{name}.webp").write_bytes(answer.content)


with Path(manifest).open(newline="", encoding="utf-8") as file, ThreadPoolExecutor(int(at_once)) as threads:
    for _ in threads.map(carry, csv.DictReader(file)):
        pass
