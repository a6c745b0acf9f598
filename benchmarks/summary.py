"""Prints the ratios in the JSON of a benchmark: `python benchmarks/summary.py FILE.json`."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

WIDTH = {"float32": 4, "bfloat16": 2}
HEAD = (
    "ns an element: eager",
    "compile",
    "reference",
    "fused",
    "eager ÷ fused",
    "compile ÷ fused",
    "fused GB/s",
    "of a copy's",
)


def ops_table(entries: list[dict[str, Any]]) -> list[str]:
    """A table with a row for each op, shape, dtype and number of threads."""
    rows: dict[tuple[Any, ...], dict[str, float]] = {}
    values: dict[tuple[Any, ...], int] = {}
    for entry in entries:
        info = entry["extra_info"]
        key = (info["op"], tuple(info["shape"]), info["dtype"], info["threads"])
        rows.setdefault(key, {})[info["way"]] = entry["stats"]["median"] * 1e9 / math.prod(info["shape"])
        values[key] = info["values"]
    lines = ["| op | shape | dtype | threads | " + " | ".join(HEAD) + " |", "| --- " * (4 + len(HEAD)) + "|"]
    for key, ns in rows.items():
        op, shape, dtype, threads = key
        times = [f"{ns[way]:.2f}" if way in ns else "" for way in ("eager", "compile", "reference", "fused")]
        ratios = [f"{ns[way] / ns['fused']:.2f}" if way in ns else "" for way in ("eager", "compile")]
        bandwidth, copy = (
            count * WIDTH[dtype] / ns[way] for count, way in ((values[key], "fused"), (2, "copy"))
        )
        numbers = [*times, *ratios, f"{bandwidth:.1f}", f"{bandwidth / copy:.0%}"]
        lines.append(f"| {op} | {list(shape)} | {dtype} | {threads} | " + " | ".join(numbers) + " |")
    return lines


def plain_table(entries: list[dict[str, Any]]) -> list[str]:
    """A table of calls and whole steps: the median time, and the notes of the test."""
    lines = ["| what | median | notes |", "| --- | --- | --- |"]
    for entry in entries:
        notes = ", ".join(f"{name} {value}" for name, value in entry["extra_info"].items())
        lines.append(f"| {entry['name']} | {entry['stats']['median'] * 1e6:,.1f} µs | {notes} |")
    return lines


if __name__ == "__main__":
    report = json.loads(Path(sys.argv[1]).read_text())
    machine, benchmarks = report["machine_info"], report["benchmarks"]
    print(
        f"{machine['cpu'].get('brand_raw', machine['machine'])}, commit {report['commit_info']['id'][:7]}\n"
    )
    ops_entries = [entry for entry in benchmarks if "way" in entry["extra_info"]]
    others = [entry for entry in benchmarks if "way" not in entry["extra_info"]]
    print(
        "\n".join(
            [*(ops_table(ops_entries) if ops_entries else []), "", *(plain_table(others) if others else [])]
        )
    )
