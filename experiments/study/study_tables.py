"""What the published results say: the verdicts on the claims, and what the study cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ddpmx.claims.judged import Judged, files_of_claims, judge_files
from ddpmx.claims.verdict import Verdict
from ddpmx.claims.words import NONE, measured, published
from ddpmx.comparison.results import Run

JSON, TABLE, COST = "claims.json", "claims.md", "cost.json"
HEADINGS = ("sweep", "verdict", "claim", "measured", "published", "seeds", "what would settle it")


def write_verdicts(results: Path) -> None:
    """Judge the claims that sweeps in the published folder have; writes them as JSON and as a table."""
    judged = judge_files(files_of_claims([results]))
    if judged:
        (results / JSON).write_text(json.dumps(to_data(judged), indent=2) + "\n")
        (results / TABLE).write_text(to_markdown(judged))


def to_data(judged: Sequence[Judged]) -> list[dict[str, object]]:
    """The verdicts as `ddpmx claims --json` prints them."""
    return [verdict for one in judged for verdict in one.to_json()]


def to_markdown(judged: Sequence[Judged]) -> str:
    """A table with a row for each claim."""
    return table(HEADINGS, [_cells(one.sweep, verdict) for one in judged for verdict in one.verdicts])


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def _cells(sweep: str, verdict: Verdict) -> list[str]:
    claim = verdict.claim
    says = f"{claim.says} ({claim.source})"
    figures = [measured(verdict), published(claim.published), f"{verdict.seeds or NONE}"]
    return [sweep, verdict.verdict, says, *figures, verdict.needs]


def write_cost(runs: Sequence[Run], results: Path) -> None:
    """Write how long the runs took, from their logs: each one's training, and what it did before it ended.

    Commands that measured a run later left no times.
    """
    training, total, devices = 0.0, 0.0, dict[str, int]()
    for run in runs:
        threads = cores(run)
        trained = sum(event["seconds"] for event in run.folder.events("epoch"))
        ended = max((event.get("seconds", 0.0) for event in run.folder.events("end")), default=0.0)
        training += threads * (0 if run.shares_training else trained)
        total += threads * max(ended, 0 if run.shares_training else trained)
        device = str(run.environment.get("device", "unknown"))
        devices[device] = devices.get(device, 0) + 1
    content = {
        "runs": len(runs),
        "core_hours": round(total / 3600, 3),
        "training_core_hours": round(training / 3600, 3),
        "evaluation_core_hours": round((total - training) / 3600, 3),
        "devices": devices,
    }
    (results / COST).write_text(json.dumps(content, indent=2) + "\n")


def cores(run: Run) -> int:
    """How many cores a run used: its threads; a GPU counts as one."""
    threads = run.environment.get("threads")
    on_cpu = str(run.environment.get("device", "cpu")).startswith("cpu")
    return threads if on_cpu and isinstance(threads, int) else 1
