"""What specs share is written once, and read back the same."""

from __future__ import annotations

import pytest

from ddpmx.claims.block import joined, shared, without

BLOCKS = {
    "equal": [{"a": 1, "b": {"c": [1, 2]}}] * 2,
    "inner keys differ": [{"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"x": 1}}],
    "a block and a text": [{"a": {"x": 1}}, {"a": "x"}, {"a": None}],
    "an empty block": [{"a": {}}, {"a": {"x": 1}}],
    "equal numbers of other types": [{"a": 1, "b": True}, {"a": 1.0, "b": 1}],
    "nothing": [{"a": 1}, {"b": 1}, {}],
    "one": [{"a": {"b": {}}}],
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_a_block_is_what_it_shares_and_what_it_does_not(blocks: list[dict[str, object]]):
    common = shared(blocks)
    for block in blocks:
        assert repr(dict(sorted(joined(common, without(block, common)).items()))) == repr(block)


def test_only_what_differs_is_written_for_each():
    common = shared([{"a": {"x": 1, "y": 2}, "b": 0}, {"a": {"x": 1, "y": 3}, "b": 0}])
    assert common == {"a": {"x": 1}, "b": 0}
    assert without({"a": {"x": 1, "y": 2}, "b": 0}, common) == {"a": {"y": 2}}
