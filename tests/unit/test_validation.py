"""Counting on models of known truth, by hand."""

import json
from pathlib import Path

import pytest

from mechunlearn.records import decoded, encoded, plain
from mechunlearn.registry import METHODS
from mechunlearn.studies.records import Suspect, Truth, ValidationCard, ValidationResult
from mechunlearn.studies.truths import CONDITIONS, TREATMENTS, chosen_conditions
from mechunlearn.studies.validation import ValidationPlan, summarise

ROOT = Path(__file__).parents[2]
CARD = ValidationCard(command="mechunlearn validate")


def row(truth: Truth, category: str, fired: list[str], gap: bool = True) -> Suspect:
    numbers = {"original": 1.0, "suspect": 0.25, "retain": 1.0}
    by_attack = {"accuracy": {"a": 0.5}, "control": {"a": 0.25}, "p_holm": {"a": 0.1}}
    return Suspect(
        seed=0, condition=f"{truth}-x", truth=truth, category=category, fired=tuple(fired), gap=gap,
        **numbers, **by_attack,
    )  # fmt: skip


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
    result = summarise(ROWS, ["a", "b"], CARD)
    a, b, verdict = result.attacks["a"], result.attacks["b"], result.verdict
    assert (a.sensitivity, a.sensitivity_n) == (1 / 3, 3)  # Without a gap nothing can fire.
    assert (b.sensitivity, b.false_alarm_rate) == (2 / 3, 1 / 3)
    assert (a.false_alarm_rate, a.false_alarm_rate_n) == (0.0, 3)  # Open truths do not count.
    assert (verdict.sensitivity, verdict.sensitivity_n) == (3 / 4, 4)
    assert verdict.false_alarm_rate == 1 / 3
    assert verdict.sensitivity_ci is not None
    low, high = verdict.sensitivity_ci
    assert 0 < low < 3 / 4 < high < 1
    assert verdict.confusion["gone-x"] == {
        "hidden, sparse": 1, "no evidence": 1, "inconclusive": 1,
    }  # fmt: skip
    assert verdict.confusion["open-x"] == {"hidden, sparse": 1}
    assert decoded(encoded(result), ValidationResult, "it") == result


def test_without_models_of_a_truth_there_is_no_rate() -> None:
    rates = summarise(ROWS[:1], ["a"], CARD).attacks["a"]
    assert rates.false_alarm_rate is None
    assert rates.false_alarm_rate_ci is None


def test_the_committed_results_open_and_say_the_same() -> None:
    file = ROOT / "figures" / "validation.json"
    whole = ValidationResult.load(file)
    assert json.loads(json.dumps(plain(whole))) == json.loads(file.read_text())
    counted = summarise(whole.models, list(whole.attacks), whole.runcard, whole.added)
    assert counted == whole
    packaged = ValidationResult.load(ROOT / "mechunlearn" / "report" / "validation.json")
    assert packaged.verdict == whole.verdict
    assert packaged.models == ()


def test_a_damaged_result_names_the_place(tmp_path: Path) -> None:
    data = json.loads((ROOT / "figures" / "validation.json").read_text())
    data["models"][3]["truth"] = "perhaps"
    (tmp_path / "validation.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"\$\.models\[3\]\.truth"):
        ValidationResult.load(tmp_path / "validation.json")


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
