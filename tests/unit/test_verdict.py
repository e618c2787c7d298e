"""The verdict's rules on made-up numbers: every category, and what must not reach it."""

from typing import Any

import pytest

from mechunlearn.analysis.verdict import CATEGORIES, judge, kind, significant
from mechunlearn.registry import ATTACKS


def row(attack: str, difference: float = 0.0, **more: Any) -> dict[str, Any]:
    """One attack's numbers; a recovery of more than 0.1 is significant."""
    p = 1e-6 if difference > 0.1 else 0.6
    return {
        "attack": attack,
        "control": "never_knew",
        "n": 240,
        "difference": difference,
        "difference_ci": [difference - 0.08, difference + 0.08],
        "recovery": difference / 0.75,
        "recovery_ci": [difference / 0.75 - 0.1, difference / 0.75 + 0.1],
        "gap_ci": [0.69, 0.81],
        "p_value": p,
        "p_holm": min(1.0, 5 * p),
        "detectable": 0.11,
        **more,
    }


def judged(*rows: dict[str, Any], after: float = 0.25, **detail: Any) -> dict[str, Any]:
    accuracy = {"original": 1.0, "x": after}
    baselines = {name: {"forget": {"accuracy": a}} for name, a in accuracy.items()}
    plain = {"against_chance": {"p_value": 0.9, "below": False}}
    return judge("x", list(rows), baselines, plain | detail, 0.25)


NOTHING = [row("logit_lens"), row("direction_ablation"), row("relearning_disjoint")]


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (NOTHING, "no evidence"),
        ([row("logit_lens", gap_ci=[-0.01, 0.02])], "intact"),
        ([row("direction_ablation", 0.7), row("logit_lens", 0.2)], "hidden, shallow"),
        ([row("jailbreak", 0.5), row("relearning_disjoint", 0.7)], "hidden, shallow"),
        ([row("direction_ablation", 0.2), row("logit_lens", 0.7)], "hidden at the output"),
        ([row("pruning_heads", 0.3), row("relearning_tested", 0.7)], "hidden, sparse"),
        ([row("logit_lens"), row("relearning_retain", 0.7)], "hidden, deep"),
        ([row("logit_lens"), row("direction_ablation")], "inconclusive"),
        ([], "inconclusive"),
        ([*NOTHING, row("jailbreak", 0.1, p_value=0.02, p_holm=0.1)], "inconclusive"),
        ([row("relearning_retain", detectable=0.5)], "inconclusive"),
    ],
)
def test_every_category_has_its_rule(rows: list[dict[str, Any]], category: str) -> None:
    found = judged(*rows)
    assert found["category"] == category
    assert category in CATEGORIES
    assert found["verdict"].startswith("x: forget accuracy went from 100% to 25%")


def test_the_verdict_names_numbers_and_what_would_settle_it() -> None:
    hidden = judged(row("direction_ablation", 0.6), row("logit_lens"))["verdict"]
    assert "Direction ablation" not in hidden
    assert "direction ablation brings back 80% of the gap [70%, 90%]" in hidden
    assert "Logit lens found nothing." in hidden
    assert "A gain of 11% or more would have been found" in judged(*NOTHING)["verdict"]
    assert "relearning would settle it" in judged(row("logit_lens"))["verdict"]
    weak = judged(row("relearning_retain", detectable=0.5, gap_ci=[0.3, 0.5]), after=0.6)
    assert "About 1501 questions would settle it" in weak["verdict"]


def test_an_attack_below_its_control_finds_nothing() -> None:
    worse = row("logit_lens", -0.5, p_value=1e-9, p_holm=1e-8)
    assert not significant(worse)
    assert judged(*NOTHING, worse)["category"] == "no evidence"


def test_renamed_letters_are_a_disguise_only_if_they_bring_the_answers_back() -> None:
    renamed = {"accuracy": 0.98, "p_value": 1e-9, "renaming": [1, 0, 2, 3]}
    below = {"p_value": 1e-9, "below": True}
    disguised = judged(*NOTHING, relabelled=renamed, against_chance=below)
    assert disguised["category"] == "intact, disguised"
    assert not disguised["over_unlearned"]
    for change in ({"p_value": 0.04}, {"accuracy": 0.5}):
        assert judged(*NOTHING, relabelled=renamed | change)["category"] == "no evidence"


def test_below_chance_is_over_unlearning_and_above_is_not() -> None:
    below = judged(*NOTHING, against_chance={"p_value": 1e-5, "below": True})
    assert below["over_unlearned"]
    assert "inverted" in below["verdict"]
    assert not judged(*NOTHING, against_chance={"p_value": 1e-5, "below": False})["over_unlearned"]
    assert not judged(*NOTHING, against_chance={"p_value": 0.2, "below": True})["over_unlearned"]


def test_every_registered_attack_means_something() -> None:
    assert {kind(name) for name in ATTACKS} == {
        "hidden, shallow", "hidden at the output", "hidden, sparse", "hidden, deep",
    }  # fmt: skip
