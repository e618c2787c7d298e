"""Counting on models of known truth, by hand."""

from typing import Any

import pytest

from mechunlearn.registry import METHODS
from mechunlearn.studies.truths import CONDITIONS, TREATMENTS, chosen_conditions
from mechunlearn.studies.validation import ValidationPlan, summarise


def row(truth: str, category: str, fired: list[str], gap: bool = True) -> dict[str, Any]:
    return {
        "condition": f"{truth}-x", "truth": truth, "category": category, "fired": fired, "gap": gap,
    }  # fmt: skip


ROWS = [
    row("hidden", "hidden, shallow", ["a", "b"]),
    row("hidden", "hidden, deep", ["b"]),
    row("hidden", "intact", [], gap=False),
    row("hidden", "inconclusive", []),
    row("gone", "no evidence", []),
    row("gone", "inconclusive", []),
    row("gone", "hidden, sparse", ["b"]),
    row("open", "hidden, sparse", ["a"]),
]


def test_rates_by_hand() -> None:
    found = summarise(ROWS, ["a", "b"])
    a, b, verdict = found["attacks"]["a"], found["attacks"]["b"], found["verdict"]
    assert (a["sensitivity"], a["sensitivity_n"]) == (1 / 3, 3)  # Without a gap nothing can fire.
    assert (b["sensitivity"], b["false_alarm_rate"]) == (2 / 3, 1 / 3)
    assert (a["false_alarm_rate"], a["false_alarm_rate_n"]) == (0.0, 3)  # Open truths do not count.
    assert (verdict["sensitivity"], verdict["sensitivity_n"]) == (3 / 4, 4)
    assert verdict["false_alarm_rate"] == 1 / 3
    low, high = verdict["sensitivity_ci"]
    assert 0 < low < 3 / 4 < high < 1
    assert verdict["confusion"]["gone-x"] == {
        "hidden, sparse": 1, "no evidence": 1, "inconclusive": 1,
    }  # fmt: skip
    assert verdict["confusion"]["open-x"] == {"hidden, sparse": 1}


def test_without_models_of_a_truth_there_is_no_rate() -> None:
    found = summarise(ROWS[:1], ["a"])
    assert found["attacks"]["a"]["false_alarm_rate"] is None
    assert found["attacks"]["a"]["false_alarm_rate_ci"] is None


def test_every_condition_can_be_made_somewhere() -> None:
    assert len({c.name for c in CONDITIONS}) == len(CONDITIONS)
    for condition in CONDITIONS:
        assert condition.treatment in {"", *TREATMENTS, *METHODS}
        assert condition.possible(letters=True) or condition.possible(letters=False)
    assert {c.truth for c in CONDITIONS} == {"hidden", "gone", "open"}
    with pytest.raises(ValueError, match="did you mean 'stranger-rmu'"):
        chosen_conditions(["stranger-rmv"])


def test_settings_go_to_methods_and_attacks() -> None:
    plan = ValidationPlan(
        attacks=("logit_lens", "relearning_text"),
        changes=("rmu.alpha=3.0", "relearning_text.steps=4"),
        conditions=chosen_conditions(["original-rmu", "stranger"]),
    )
    assert plan.attack_changes == ("relearning_text.steps=4",)
    with pytest.raises(ValueError, match="not among the methods and attacks"):
        ValidationPlan(attacks=("logit_lens",), changes=("npo.beta=1.0",), conditions=())
    with pytest.raises(ValueError, match="at least one seed"):
        ValidationPlan(seeds=())
