"""The manifest with bare aiohttp by hand and perfect knowledge: the floor of what a job costs in Python.

`python bare_aiohttp.py BASE_URL MANIFEST OUT AT_ONCE OPTIONS`: submit, sleep the job's very time, one status, the
result, the file, write it. No ledger, no checks, no retries.
"""

import asyncio
import csv
import sys
from pathlib import Path

import aiohttp
from counting.options import Options

MODEL = "qwen-image-edit-plus-texture-apply"
CONNECTIONS = 100
ROUNDING_S = 0.002

base_url, manifest, out, at_once, options = sys.argv[1:]
service = Options.from_json(options)


async def carry(session: aiohttp.ClientSession, row: dict[str, str]) -> None:
    name = row.pop("id")
    async with session.post(f"{base_url}/v2/{MODEL}", json=row) as answer:
        request_id = (await answer.json())["request_id"]
    await asyncio.sleep(service.job_s(int(row["prompt"].rpartition(" ")[2])) + ROUNDING_S)
    async with session.get(f"{base_url}/v2/requests/{request_id}/status") as answer:
        assert (await answer.json())["status"] == "COMPLETED"
    async with session.get(f"{base_url}/v2/requests/{request_id}") as answer:
        url = (await answer.json())["images"][0]["url"]
    async with session.get(url) as answer:
        (Path(out) / f"{name}.webp").write_bytes(await answer.read())


async def work(session: aiohttp.ClientSession, rows: "csv.DictReader[str]") -> None:
    for row in rows:
        await carry(session, row)


async def main(rows: "csv.DictReader[str]") -> None:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as tasks:
        for _ in range(int(at_once)):
            tasks.create_task(work(session, rows))


with Path(manifest).open(newline="", encoding="utf-8") as file:
    asyncio.run(main(csv.DictReader(file)))
