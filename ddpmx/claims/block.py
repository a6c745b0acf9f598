"""What several specs share, and what each has besides: so that a file has their common part once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Block = Mapping[str, object]


def shared(blocks: Sequence[Block]) -> dict[str, object]:
    """The keys that all blocks have with equal values, and in inner blocks the same."""
    first, *others = blocks
    out: dict[str, object] = {}
    for key, value in first.items():
        if not all(key in other for other in others):
            continue
        values = [value, *(other[key] for other in others)]
        inner = [item for item in values if isinstance(item, Mapping)]
        if len({json.dumps(item, sort_keys=True) for item in values}) == 1:
            out[key] = value
        elif len(inner) == len(values) and (common := shared(inner)):
            out[key] = common
    return out


def without(block: Block, common: Block) -> dict[str, object]:
    """A block without what it shares with others, which `joined` adds again."""
    out: dict[str, object] = {}
    for key, value in block.items():
        if key not in common:
            out[key] = value
            continue
        inner = common[key]
        own = without(value, inner) if isinstance(value, Mapping) and isinstance(inner, Mapping) else None
        if own:
            out[key] = own
    return out


def joined(common: Block, own: Block) -> dict[str, object]:
    """The block of which `own` is what it does not share."""
    out = {**common, **own}
    for key in common.keys() & own.keys():
        outer, inner = common[key], own[key]
        if isinstance(outer, Mapping) and isinstance(inner, Mapping):
            out[key] = joined(outer, inner)
    return out
