"""`compare --markdown`, `--latex` and `--csv-seeds`: tables for a paper, and numbers for more statistics."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Result
from made_runs import make_run, score
from markdown_it import MarkdownIt

from ddpmx.comparison.comparison import Comparison, compare
from ddpmx.comparison.latex import to_latex
from ddpmx.comparison.markdown import to_markdown
from ddpmx.comparison.seeds import to_csv_seeds
from ddpmx.comparison.words import summary

NASTY = r"a|b \c {d} $e$ & #f %g _h_ ^i ~j <b>k</b> `l` [m](n) *o* --p"


def three_specs(folder: Path) -> Comparison:
    """Three specs with three seeds each: l1 is the best, and huber is not comparable on is_cnn."""
    paths = [
        make_run(
            folder,
            f"loss.norm={norm}",
            f"seed={seed}",
            scores={
                "fd_cnn": score(value + seed / 10),
                "is_cnn": score(8 - value / 10, better="higher", n=500 if norm == "huber" else 1000),
            },
        )
        for norm, value in (("l1", 4.0), ("l2", 9.0), ("huber", 4.1))
        for seed in (0, 1, 2)
    ]
    return compare(paths)


def read_markdown(text: str) -> tuple[list[list[list[str]]], str]:
    """The tables of a Markdown text as rows of HTML cells, and the HTML of everything else."""
    html = MarkdownIt("commonmark").enable("table").render(text)
    tables = [
        [
            re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)
            for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        ]
        for table in re.findall(r"<table>(.*?)</table>", html, re.DOTALL)
    ]
    return tables, re.sub(r"<table>.*?</table>", "", html, flags=re.DOTALL)


def test_markdown_is_the_terminals_table_with_the_winner_in_bold(tmp_path: Path):
    comparison = three_specs(tmp_path)
    (table,), rest = read_markdown(to_markdown(comparison, comparison.groups))
    assert table == [
        ["norm", "seeds", "fd_cnn ↓", "is_cnn ↑", "val_loss ↓"],
        ["l1", "3", "4.10 ± 0.25", "<strong>7.60 ± 0.10</strong>", "0.25"],
        ["l2", "3", "9.10 ± 0.25", "7.10 ± 0.10", "0.25<sup>a</sup>"],
        ["huber", "3", "4.20 ± 0.25", "7.59 ± 0.10<sup>b</sup>", "0.25<sup>a</sup>"],
    ]
    assert "<sup>a</sup> not ranked: different loss" in rest
    assert "<sup>b</sup> not ranked: n 500, not 1,000" in rest
    assert "±: the 95 % interval of the mean over training seeds." in rest
    assert "Bold: better than every other ranked spec by more than noise." in rest
    assert "fd_cnn: n 1,000, split test. is_cnn: n 1,000, split test; n 500, split test." in rest
    assert re.findall(r"<li>(.*)</li>", rest) == summary(comparison)


def test_without_a_winner_nothing_is_bold(tmp_path: Path):
    paths = [
        make_run(tmp_path, f"loss.norm={norm}", f"seed={seed}", scores={"fd_cnn": score(value + seed / 50)})
        for norm, value in (("l1", 4.0), ("l2", 4.05))
        for seed in (0, 1)
    ]
    comparison = compare(paths)
    for text in (write(comparison, comparison.groups) for write in (to_markdown, to_latex)):
        assert "Nothing is bold: no spec is better than all others by more than noise" in text
        assert "**" not in text
        assert r"\textbf" not in text


def test_specs_with_one_seed_are_never_bold(tmp_path: Path):
    """However far apart they are: another seed might reverse the order."""
    paths = [
        make_run(tmp_path, f"name={name}", f"loss.norm={name}", scores={"fd_cnn": score(value)})
        for name, value in (("l1", 4.05), ("l2", 9.0))
    ]
    comparison = compare(paths)
    for text in (write(comparison, comparison.groups) for write in (to_markdown, to_latex)):
        assert "4.05 [3.95, 4.15]" in text
        assert "[ ]: the 95 % interval of one run's score, which does not cover" in text.replace(r"\%", "%")
        assert "not ranked: one seed" in text
        assert "of these trained networks, l1 is best" in text
        assert "**" not in text
        assert r"\textbf" not in text


def test_an_unfinished_run_has_its_status(tmp_path: Path):
    comparison = compare(
        [
            make_run(tmp_path, "name=a", scores={"fd_cnn": score(4.0)}),
            make_run(tmp_path, "name=b", "loss.norm=l1", status="failed"),
        ]
    )
    (table,), _ = read_markdown(to_markdown(comparison, comparison.groups))
    assert table[0] == ["run", "norm", "status", "fd_cnn ↓", "val_loss ↓"]
    assert [row[:4] for row in table[1:]] == [
        ["a", "l2", "finished", "4.00 [3.90, 4.10]"],
        ["b", "l1", "failed", "–"],
    ]


def test_many_fields_are_a_table_of_their_own(tmp_path: Path):
    changes = ("loss.norm=l1", "train.lr=0.01", "train.batch_size=32", "model.dim=16", "prediction=v")
    comparison = compare(
        [
            make_run(tmp_path, "name=a"),
            make_run(tmp_path, "name=b", *changes),
            make_run(tmp_path, "name=c", changes[0]),
        ]
    )
    (table, differences), _ = read_markdown(to_markdown(comparison, comparison.groups))
    assert table[0] == ["run", "val_loss ↓"]
    assert differences[0] == ["run", "differs from a in"]
    assert differences[3] == ["c", "loss.norm l1"]
    assert sorted(differences[2][1].split(", ")) == sorted(
        ["loss.norm l1", "train.lr 0.01", "train.batch_size 32", "model.dim 16", "prediction v"]
    )
    latex = to_latex(comparison, comparison.groups)
    assert r"c & loss.norm l1 \\" in latex
    assert latex.count(r"\toprule") == 2


def renamed(comparison: Comparison, label: str) -> Comparison:
    """The comparison with another label for its first group."""
    first = replace(comparison.groups[0], label=label)
    return replace(comparison, groups=(first, *comparison.groups[1:]), baseline=first)


@pytest.mark.parametrize("label", [NASTY, "[first]", "* star", "# not a heading", "a\nb\x1b"])
def test_labels_are_only_text_in_markdown(tmp_path: Path, label: str):
    comparison = renamed(
        compare([make_run(tmp_path, "name=a"), make_run(tmp_path, "name=b", "loss.norm=l1")]), label
    )
    (table,), _ = read_markdown(to_markdown(comparison, comparison.groups))
    html = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert table[1][0] == html.replace("\n", r"\n").replace("\x1b", r"\x1b")
    assert len({len(row) for row in table}) == 1


def test_labels_are_only_text_in_latex(tmp_path: Path):
    comparison = renamed(
        compare([make_run(tmp_path, "name=a"), make_run(tmp_path, "name=b", "loss.norm=l1")]), NASTY
    )
    row = next(
        line
        for line in to_latex(comparison, comparison.groups).splitlines()
        if line.endswith(r"\\") and "textasciitilde" in line
    )
    plain = row.strip().removesuffix(r" \\")
    cells = re.split(r"(?<!\\) & ", plain)
    names = {"textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textless": "<"}
    names |= {"textgreater": ">", "textbar": "|", "textasciigrave": "`"}
    text = re.sub(r"\\(text\w+)\{\}", lambda match: names[match[1]], cells[0].replace("-{}-", "--"))
    assert re.sub(r"\\([{}$&#%_])", r"\1", text) == NASTY


def test_a_bracket_does_not_become_the_argument_of_the_row_above(tmp_path: Path):
    comparison = renamed(
        compare([make_run(tmp_path, "name=a"), make_run(tmp_path, "name=b", "loss.norm=l1")]), "[1em] *"
    )
    assert "{}[1em] * & " in to_latex(comparison, comparison.groups)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles(tmp_path: Path):
    comparison = renamed(three_specs(tmp_path), "[0pt]" + NASTY)
    table = to_latex(comparison, comparison.groups)
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{table}\end{{document}}"
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_a_row_a_seed_has_the_runs_own_numbers(tmp_path: Path):
    comparison = three_specs(tmp_path)
    rows = list(csv.DictReader(io.StringIO(to_csv_seeds(comparison, comparison.groups))))
    assert [(row["run"], row["seed"], row["loss.norm"]) for row in rows] == [
        (f"norm={norm}", str(seed), norm) for norm in ("l1", "l2", "huber") for seed in range(3)
    ]
    runs = [run for group in comparison.groups for run in group.runs]
    for row, run in zip(rows, runs, strict=True):
        assert row["folder"] == str(run.path)
        assert float(row["fd_cnn"]) == run.results["fd_cnn"].estimate.value
        assert (float(row["fd_cnn.low"]), float(row["fd_cnn.high"])) == run.results[
            "fd_cnn"
        ].estimate.interval
        assert (row["fd_cnn.epoch"], row["fd_cnn.step"], row["fd_cnn.n"]) == ("2", "20", "1000")
        assert (row["val_loss"], row["val_loss.step"], row["val_loss.n"]) == ("0.25", "20", "")
        assert (row["epochs"], row["steps"], row["seconds"]) == ("2", "20", "122.0")


def test_the_step_of_a_loss_is_that_of_the_lowest(tmp_path: Path):
    run = make_run(tmp_path, epochs=3, val_loss=-1.0)
    comparison = compare([run])
    assert comparison.groups[0].runs[0].results["val_loss"].step == 30
    (row,) = csv.DictReader(io.StringIO(to_csv_seeds(comparison, comparison.groups)))
    assert (row["val_loss.epoch"], row["val_loss.step"]) == ("3", "30")


def test_a_run_without_results_has_a_row_of_empty_numbers(tmp_path: Path):
    paths = [make_run(tmp_path, scores={"fd_cnn": score(4.0, None)}), make_run(tmp_path, "seed=1", epochs=0)]
    comparison = compare(paths)
    first, second = csv.DictReader(io.StringIO(to_csv_seeds(comparison, comparison.groups)))
    assert (first["fd_cnn"], first["fd_cnn.low"]) == ("4.0", "")
    assert {second[key] for key in ("fd_cnn", "fd_cnn.n", "val_loss", "steps", "seconds")} == {""}
    assert second["epochs"] == "0"


def test_the_command_writes_all_files(tmp_path: Path, ddpmx: Callable[..., Result]):
    run = make_run(tmp_path, scores={"fd_cnn": score(4.0)})
    files = {f"--{kind}": tmp_path / "new" / kind for kind in ("csv", "csv-seeds", "markdown", "latex")}
    assert ddpmx("compare", run, *(word for pair in files.items() for word in pair)).code == 0
    starts = {kind: file.read_text().splitlines()[0][:12] for kind, file in files.items()}
    assert starts == {
        "--csv": "run,status,s",
        "--csv-seeds": "run,name,see",
        "--markdown": "| run  |    ",
        "--latex": "% Made by dd",
    }
