"""The grammar of claims: what is accepted, and how each mistake is reported."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from conftest import TINY

from ddpmx import SpecError
from ddpmx.spec.claim_checks import Known, check, numeric_fields
from ddpmx.spec.claims import TESTS, Equivalent, claims_of, claims_schema
from ddpmx.spec.schema import Spec, json_schema
from ddpmx.spec.source import Source
from ddpmx.spec.yaml_source import parse

ONE_OF_EACH = """\
claims:
- {says: a beats b, source: a page, measure: fd_cnn, test: better, point: a, than: b, by: 2}
- {says: a is best, source: a page, measure: fd_cnn, test: best, point: a, published: {a: 3, b: [4.5, five]}}
- {says: long is good, source: a page, measure: val_loss, test: trend, field: train.lr, direction: falls}
- {says: a is like b, source: a page, measure: fd_cnn, test: equivalent, point: a, to: b, margin: 10 %}
- {says: no signal, source: a page, measure: terminal_signal, test: equals, point: a, value: 0, within: 0.01}
- {says: c diverges, source: a page, test: unstable, point: b}
"""


def source(text: str) -> Source:
    document = parse(text, "a.yaml")
    return Source(document.data, document.marks)


def findings(text: str) -> list[tuple[str, int, str]]:
    with pytest.raises(SpecError) as raised:
        claims_of(source(text))
    return [(each.field, each.mark.line if each.mark else 0, str(each)) for each in raised.value.findings]


def test_a_claim_of_each_test_is_read():
    claims = claims_of(source(ONE_OF_EACH))
    assert [claim.test for claim in claims] == list(TESTS)
    assert claims[1].published == {"a": 3, "b": [4.5, "five"]}
    assert isinstance(claims[3], Equivalent)
    assert claims[3].share == 0.1


def test_a_spec_without_claims_has_none():
    assert claims_of(source("name: a")) == claims_of(source("claims: []")) == ()


@pytest.mark.parametrize(("text", "share"), [("10 %", 0.1), ("2.5%", 0.025), ("0.5", None)])
def test_a_margin_is_a_number_or_a_percentage(text, share):
    head = "claims: [{says: s, source: s, measure: m, test: equivalent, point: a, to: b, "
    (claim,) = claims_of(source(f"{head}margin: {text}}}]"))
    assert isinstance(claim, Equivalent)
    assert claim.share == share
    assert share or claim.margin == 0.5


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"test": "bettr"}, "test", "did you mean 'better'?"),
        ({"test": None}, "test", "required, but missing"),
        ({"thn": "b"}, "thn", "did you mean 'than'?"),
        ({"by": "two"}, "by", "not 'two'"),
        ({"by": 0}, "by", "greater than 0"),
        ({"point": 3}, "point", "valid string"),
        ({"than": "a"}, "than", "compares 'a' with itself"),
        ({"says": "  "}, "says", "not empty"),
        ({"measure": None}, "measure", "required, but missing"),
        ({"published": True}, "published", "text, a number, or a list"),
        ({"test": "equivalent", "than": None, "to": "b", "margin": "10 per cent"}, "margin", "'10 %'"),
        ({"test": "equivalent", "than": None, "to": "b", "margin": -1}, "margin", "above 0"),
        ({"test": "equivalent", "than": None, "to": "b", "margin": "0 %"}, "margin", "above 0"),
        (
            {"test": "trend", "point": None, "than": None, "field": "a", "direction": "up"},
            "direction",
            "falls",
        ),
        (
            {"test": "equals", "than": None, "value": 0, "measure": "prior_bits", "within": -1},
            "within",
            "greater than or equal",
        ),
        ({"test": "equals", "than": None, "value": 0, "within": 0}, "measure", "terminal_signal"),
    ],
)
def test_each_mistake_is_reported_at_its_line(changes, field, words):
    claim: dict[str, Any] = {"says": "s", "source": "s", "measure": "m", "test": "better", "point": "a"}
    claim = {**claim, "than": "b", **changes}
    lines = [f"  {key}: {json.dumps(value)}" for key, value in claim.items() if value is not None]
    text = "claims:\n- {says: s, source: s, test: unstable, point: a}\n-\n" + "\n".join(lines)
    (found,) = findings(text)
    written = [line.strip().split(":")[0] for line in lines]
    assert found[0] == f"claims.1.{field}"
    assert words in found[2]
    assert found[1] == (4 + written.index(field) if field in written else 4)


def test_all_mistakes_are_reported_at_once():
    text = "claims:\n- 3\n- {says: s, source: s, test: best}\n- {test: no}"
    assert [(field, line) for field, line, _ in findings(text)] == [
        ("claims.0", 2),
        ("claims.1.measure", 3),
        ("claims.1.point", 3),
        ("claims.2.test", 4),
    ]
    assert findings("claims: {says: a}")[0][:2] == ("claims", 1)


def test_the_schema_accepts_what_the_grammar_does():
    schema = claims_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    data = parse(ONE_OF_EACH, "a.yaml").data["claims"]
    assert validator.is_valid(data)
    for claim in data:
        for left_out in set(claim) - {"published", "by"}:
            assert not validator.is_valid([{key: claim[key] for key in claim if key != left_out}])
        assert not validator.is_valid([{**claim, "more": 1}])
    assert json_schema()["properties"]["claims"] == schema
    described = [field for model in schema["items"]["oneOf"] for field in model["properties"].values()]
    assert all(field.get("description") for field in described)


KNOWN = Known(("timesteps_100", "timesteps_200"), ("val_loss", "fd_cnn"), ("schedule.timesteps",))


@pytest.mark.parametrize(
    ("claim", "field", "words"),
    [
        ("measure: fd_cnn, test: best, point: timesteps_10", "point", "did you mean 'timesteps_100'?"),
        ("measure: fd_cnn, test: better, point: timesteps_100, than: b", "than", "valid: timesteps_100"),
        ("measure: fd_cn, test: best, point: timesteps_100", "measure", "did you mean 'fd_cnn'?"),
        ("measure: fd_cnn, test: trend, field: timesteps, direction: falls", "field", "schedule.timesteps"),
        ("measure: kid, test: unstable, point: timesteps_100", "measure", "valid: fd_cnn, val_loss"),
    ],
)
def test_a_claim_about_what_does_not_exist_is_reported_at_its_line(claim, field, words):
    written = source(f"claims:\n- {{says: s, source: s, {claim}}}")
    with pytest.raises(SpecError) as raised:
        check(claims_of(written), written, KNOWN)
    (found,) = raised.value.findings
    assert words in str(found)
    assert found.mark is not None
    assert (found.field, found.mark.line) == (f"claims.0.{field}", 2)


def test_points_fields_and_measures_are_those_of_the_specs():
    tiny = parse(TINY, "tiny.yaml").data
    metrics = [["fd_cnn", "is_cnn"], ["density_coverage", "fd_cnn"]]
    points = {
        f"t{number}": Spec.model_validate(
            {**tiny, "schedule": {"name": "linear", "timesteps": number}, "evaluate": {"metrics": names}}
        )
        for number, names in zip((20, 30), metrics, strict=True)
    }
    fields = ("schedule.timesteps", "evaluate.sampler.steps")  # 50 steps do not fit into 20
    assert Known.of(points) == Known(("t20", "t30"), ("val_loss", "fd_cnn"), fields)


def test_a_field_that_only_some_points_have_counts_among_those():
    def weighting(**changes: object) -> dict[str, object]:
        return {"seed": len(changes), "loss": {"weighting": changes or None, "norm": "l2"}}

    specs = [weighting(), weighting(name="vlb", clip=1.0), weighting(name="vlb", clip=10.0)]
    assert numeric_fields(specs) == ("loss.weighting.clip",)
    assert numeric_fields(specs[:2]) == ()
