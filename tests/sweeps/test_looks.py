"""Adding seeds until pairs are settled, on simulated scores: who gets seeds, what is kept, and the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpmx.errors import SpecError
from ddpmx.sweeps.looks import Looks, settle
from ddpmx.sweeps.settled_file import Question, SettledFile
from ddpmx.theory.scores import SpecScores
from ddpmx.theory.sequential import Settling

RULE = Settling(margin=0.1, max_seeds=8)


@dataclass
class Simulated:
    """Runs of specs with given means, whose scores depend only on the spec and the seed."""

    means: Sequence[float]
    spread: float = 0.02
    """Relative to the means."""
    draw: int = 0
    ends_at: int | None = None
    """The number of runs after which nothing more is run."""
    broken: set[tuple[int, int]] = field(default_factory=set)
    """(spec, seed) of runs that fail."""
    ran: list[tuple[int, int]] = field(default_factory=list)
    better = "lower"

    def complete(self, specs: Sequence[int], seeds: int) -> bool:
        for seed in range(seeds):
            for spec in specs:
                if (spec, seed) in self.ran:
                    continue
                if len(self.ran) == self.ends_at:
                    return False
                self.ran.append((spec, seed))
        return True

    def scores(self, spec: int, seeds: int) -> SpecScores | None:
        if any((spec, seed) not in self.ran or (spec, seed) in self.broken for seed in range(seeds)):
            return None
        values = [self.value(spec, seed) for seed in range(seeds)]
        return SpecScores(tuple(range(seeds)), tuple(values))

    def value(self, spec: int, seed: int) -> float:
        noise = np.random.default_rng([self.draw, spec, seed]).normal()
        return float(self.means[spec] * (1 + self.spread * noise))

    def seeds_of(self, spec: int) -> list[int]:
        return [seed for one, seed in self.ran if one == spec]


def settled(runs: Simulated, rule: Settling = RULE, looks: Looks | None = None, first: int = 2) -> Looks:
    """All looks at simulated runs."""
    looks = Looks(len(runs.means)) if looks is None else looks
    settle(rule, looks, runs, first, lambda seeds, pairs: None)
    return looks


def verdicts(looks: Looks) -> dict[tuple[int, int], str]:
    latest = {pair: looks.latest(pair) for pair in looks.pairs}
    return {pair: "none" if last is None else last[1].verdict for pair, last in latest.items()}


@pytest.mark.parametrize(
    ("spread", "possible"),
    [(0.001, {"equivalent"}), (0.02, {"equivalent"}), (0.1, {"equivalent", "open"}), (0.4, {"open"})],
)
@pytest.mark.parametrize("draw", range(5))
def test_equal_specs_end_equivalent_or_open(spread: float, possible: set[str], draw: int):
    runs = Simulated([10.0, 10.0, 10.0], spread, draw)
    looks = settled(runs)
    found = verdicts(looks)
    assert set(found.values()) <= possible
    for spec in range(3):
        seeds = runs.seeds_of(spec)
        assert seeds == list(range(len(seeds)))
        assert 2 <= len(seeds) <= RULE.max_seeds
    if "open" in found.values():
        assert max(looks.found) == RULE.max_seeds


def test_a_planted_difference_is_found_with_its_direction():
    looks = settled(Simulated([10.0, 13.0, 13.0]))
    assert verdicts(looks) == {(0, 1): "differs", (0, 2): "differs", (1, 2): "equivalent"}
    _, found = looks.latest((0, 1)) or pytest.fail("there was no look")
    assert found.first_is_better
    assert found.high is not None
    assert found.difference < found.high < 0
    higher = Simulated([10.0, 13.0])
    higher.better = "higher"
    _, found = settled(higher).latest((0, 1)) or pytest.fail("there was no look")
    assert not found.first_is_better


def test_only_specs_of_open_pairs_get_seeds():
    runs = Simulated([10.0, 10.8, 30.0], spread=0.05)
    looks = settled(runs)
    assert runs.seeds_of(2) == [0, 1]
    assert len(runs.seeds_of(0)) == len(runs.seeds_of(1)) > 2
    assert {pair for seeds, found in looks.found.items() if seeds > 2 for pair in found} == {(0, 1)}


@pytest.mark.parametrize("draw", range(3))
def test_verdicts_do_not_depend_on_where_the_work_was_interrupted(draw: int, tmp_path: Path):
    def new() -> Simulated:
        return Simulated([10.0, 10.3, 10.9, 12.0], 0.06, draw)

    runs = new()
    whole, asked = settled(runs), question(4)
    for stop in range(len(runs.ran)):
        other = new()
        for end in (stop, None):
            other.ends_at = end
            file = SettledFile(tmp_path / str(stop))
            looks = file.looks(asked)
            (tmp_path / str(stop)).mkdir(exist_ok=True)
            settle(RULE, looks, other, 2, lambda *_, file=file, looks=looks: file.write(asked, looks))
        assert SettledFile(tmp_path / str(stop)).looks(asked).found == whole.found
        assert sorted(other.ran) == sorted(runs.ran)


def test_what_is_settled_is_not_looked_at_again():
    runs = Simulated([10.0, 13.0])
    looks = settled(runs)
    before = dict(looks.found)
    runs.means = [13.0, 10.0]  # measured anew, with another result
    runs.ran.clear()
    assert settled(runs, looks=looks).found == before
    assert runs.ran == []


def test_a_spec_that_fails_stays_open_and_the_others_are_settled():
    runs = Simulated([10.0, 10.0, 30.0, 10.0], broken={(3, 1)})
    looks = Looks(4)
    assert settle(RULE, looks, runs, 2, lambda *_: None) == {3}
    assert runs.seeds_of(3) == [0, 1]
    found = verdicts(looks)
    assert {pair for pair, verdict in found.items() if verdict == "none"} == {(0, 3), (1, 3), (2, 3)}
    assert "open" not in found.values()
    runs.broken.clear()
    again = verdicts(settled(runs, looks=looks))
    assert again == {**found, (0, 3): "equivalent", (1, 3): "equivalent", (2, 3): "differs"}


def test_a_run_that_fails_later_ends_the_looks_at_its_spec():
    runs = Simulated([10.0, 10.0], spread=0.3, broken={(0, 3)})
    looks = Looks(2)
    assert settle(RULE, looks, runs, 2, lambda *_: None) == {0}
    assert sorted(looks.found) == [2, 3]
    assert max(runs.seeds_of(1)) == 3


def test_a_sweeps_own_seeds_are_the_first_look():
    runs = Simulated([10.0, 13.0])
    assert list(settled(runs, first=4).found) == [4]
    assert runs.seeds_of(0) == [0, 1, 2, 3]


def test_an_interval_of_one_look_is_wider_than_that_of_all_data_at_once():
    runs = Simulated([10.0, 13.0], spread=0.05)
    _, found = settled(runs, first=5).latest((0, 1)) or pytest.fail("there was no look")
    from ddpmx.theory.differences import Family

    scores = [runs.scores(spec, 5) for spec in range(2)]
    once = Family([one for one in scores if one is not None]).difference(0, 1).interval
    assert once is not None
    assert found.low is not None
    assert found.low < once[0]


def question(count: int, **changes: Any) -> Question:
    names = {f"spec {index}": f"hash {index}" for index in range(count)}
    return replace(Question("fd_cnn", RULE, tuple(range(8)), 2, names), **changes)


def test_specs_in_another_order_are_the_same_question(tmp_path: Path):
    asked, looks = question(3), settled(Simulated([10.0, 13.0, 13.0]))
    SettledFile(tmp_path).write(asked, looks)
    names = dict(reversed(asked.specs.items()))
    turned = SettledFile(tmp_path).looks(replace(asked, specs=names))
    assert verdicts(turned) == {(0, 1): "equivalent", (0, 2): "differs", (1, 2): "differs"}
    there, here = turned.latest((1, 2)), looks.latest((0, 1))
    assert there is not None
    assert here is not None
    assert (there[1].difference, there[1].low) == (-here[1].difference, -(here[1].high or 0))
    assert not there[1].first_is_better


def test_another_question_starts_anew_and_both_are_kept(tmp_path: Path):
    looks, asked = settled(Simulated([10.0, 13.0])), question(2)
    file = SettledFile(tmp_path)
    assert file.changed(asked) == []
    file.write(asked, looks)
    for changes, keys in (
        ({"rule": Settling(0.05, 8)}, ["margin"]),
        ({"rule": Settling(0.1, 8, relative=False)}, ["relative"]),
        ({"rule": Settling(0.1, 9), "seeds": tuple(range(9))}, ["max_seeds", "seeds"]),
        ({"measure": "pixel_fd"}, ["measure"]),
        ({"specs": {"spec 0": "hash 0", "spec 1": "changed"}}, ["specs"]),
        ({"first": 3}, ["first"]),
    ):
        other = question(2, **changes)
        again = SettledFile(tmp_path)
        assert again.changed(other) == keys
        assert again.looks(other).found == {}
    again.write(other, Looks(2))
    assert SettledFile(tmp_path).looks(asked).found == looks.found
    assert SettledFile(tmp_path).changed(asked) == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"questions": [{"measure": "fd_cnn"}]}', '{"questions": 3}'],
)
def test_a_damaged_file_is_named(content: str, tmp_path: Path):
    (tmp_path / "settled.json").write_text(content)
    with pytest.raises(SpecError, match=r"settled\.json is damaged") as error:
        SettledFile(tmp_path)
    assert "looks again" in str(error.value)


def test_a_file_with_pairs_of_other_specs_is_damaged(tmp_path: Path):
    SettledFile(tmp_path).write(question(2), settled(Simulated([10.0, 13.0])))
    file = tmp_path / "settled.json"
    file.write_text(file.read_text().replace('"a": "spec 0"', '"a": "spec 7"'))
    with pytest.raises(SpecError, match="no spec 'spec 7'"):
        SettledFile(tmp_path)
