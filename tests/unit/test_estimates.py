"""Union, overlap, price, grades and relabelling against hand-counted cases."""

from typing import Any

import numpy as np
import pytest

from mechunlearn.analysis.across import GRADES, cost, evidence, relabelled, shared
from mechunlearn.analysis.tests import best_of_k
from mechunlearn.audit.store import compact, expanded
from mechunlearn.registry import ATTACKS
from mechunlearn.stats import two_sided
from mechunlearn.types import Score


def answered(right: str, name: str = "x") -> Score:
    """Right (1) and wrong (0) answers to questions whose answer is choice 1."""
    return expanded(name, right, [1] * len(right), 4)


def test_predictions_survive_their_compact_form() -> None:
    logits = np.array([[0.0, 2.0], [3.0, 1.0], [1.0, 1.0], [-np.inf, -np.inf]])
    score = Score("x", logits, np.array([1, 1, 0, 0]))
    assert compact(score) == "10--"
    again = expanded("x", compact(score), score.answers.tolist(), 2)
    assert again.predictions.tolist() == score.predictions.tolist()
    assert again.correct.tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="3 predictions for 4 questions"):
        expanded("x", "10-", [1, 1, 0, 0], 2)


def test_union_and_overlap_by_hand() -> None:
    arms = {
        "a": {"attacked": answered("11000000"), "control": answered("10000000")},
        "b": {"attacked": answered("01100000"), "control": answered("10000000")},
    }
    found = shared(
        arms,
        original=answered("11111100"),
        unlearned=answered("00000100"),
        control=answered("00000000"),
        seed=0,
    )
    assert (found["accuracy"], found["control_accuracy"]) == (3 / 8, 1 / 8)
    assert found["difference"] == pytest.approx((3 - 1) / 8 - 1 / 8)
    assert found["n_lost"] == 5
    counts = {tuple(o["attacks"]): o["n"] for o in found["overlap"]}
    assert counts == {("a",): 1, ("a", "b"): 1, ("b",): 1, (): 2}
    assert found["never"] == [3, 4]


def test_without_a_control_the_shams_are_the_chance_line() -> None:
    arms = {"a": {"attacked": answered("1100"), "sham": answered("0110")}}
    none = answered("0000")
    found = shared(arms, original=answered("1111"), unlearned=none, control=none, seed=0)
    assert found["control_accuracy"] == 0.5
    assert found["difference"] == 0.0


def priced(attack: str, difference: float, flops: float, retain: float) -> dict[str, Any]:
    return {
        "attack": attack, "difference": difference, "difference_ci": [difference - 0.1, 1.0],
        "recovery": difference, "flops": flops, "seconds": flops, "retain_accuracy": retain,
        "settings": {"rate": 0.1, "seed": 0, "steps": 4},
    }  # fmt: skip


def test_the_frontier_keeps_what_nothing_beats() -> None:
    rows = [
        priced("cheap", 0.6, 10, 0.9),
        priced("dear", 0.6, 20, 0.9),
        priced("gentle", 0.5, 20, 1.0),
        priced("nothing", 0.05, 1, 1.0),
    ]
    curve = {"rate": 0.1, "seed": 0, "points": [{"steps": 4, "samples": 8, "tokens": 9}]}
    found = cost(rows, {"cheap": {"unlearned": {"curves": [curve]}}}, {"retain": {"accuracy": 1.0}})
    assert {e["attack"] for e in found["attacks"] if e["pareto"]} == {"cheap", "gentle", "dear"}
    first = found["attacks"][0]
    assert (first["samples"], first["forget_tokens"], first["utility_loss"]) == (8, 9, 0.1)
    assert found["half"]["attack"] == "cheap"
    free = cost(rows, {}, {"retain": {"accuracy": 1.0}})  # Without its tokens cheap beats dear.
    assert {e["attack"] for e in free["attacks"] if e["pareto"]} == {"cheap", "gentle"}
    assert cost(rows[3:], {}, {"retain": {"accuracy": 1.0}})["half"] is None


def test_grades_follow_what_attacks_declare() -> None:
    grades = {name: evidence(name) for name in ATTACKS}
    assert set(grades.values()) == set(GRADES)
    assert grades["logit_lens"] == "no forget information"
    assert grades["direction_ablation"] == "no forget information"
    assert grades["relearning_retain"] == "benign data"
    assert grades["relearning_disjoint"] == "other facts of the domain"
    assert grades["relearning_tested"] == "the tested facts"


def folds(rename: list[int], noise: float, seed: int) -> tuple[Score, Score]:
    """A model that says ``rename[answer]``, or anything with chance ``noise``."""
    rng = np.random.default_rng(seed)
    scores = []
    for n in (120, 160):
        answers = rng.integers(0, 4, n)
        said = np.where(rng.random(n) < noise, rng.integers(0, 4, n), np.array(rename)[answers])
        scores.append(expanded("x", "".join(map(str, said)), answers.tolist(), 4))
    return scores[0], scores[1]


def test_renamed_letters_are_found_on_the_select_fold_and_tested_on_the_other() -> None:
    never_knew = folds([0, 1, 2, 3], 1.0, 1)
    for control in (never_knew, None):
        found = relabelled(*folds([1, 2, 3, 0], 0.1, 0), control)
        assert found["renaming"] == [3, 0, 1, 2]
        assert found["accuracy"] > 0.8
        assert found["p_value"] < 1e-6
    plain = relabelled(*folds([0, 1, 2, 3], 0.1, 0), never_knew)
    assert (plain["renaming"], plain["p_value"]) == ([0, 1, 2, 3], 1.0)


def test_renaming_guesses_finds_nothing_more_often_than_it_should() -> None:
    p = [relabelled(*folds([0, 1, 2, 3], 1.0, s), folds([0, 1, 2, 3], 1.0, 500 + s))["p_value"]
         for s in range(60)]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) < 0.1


def test_best_of_many_useless_settings_is_not_significant_but_a_good_one_is() -> None:
    rng = np.random.default_rng(0)
    p, naive = [], []
    for seed in range(60):
        before = rng.random(150) < 0.25
        tried = [rng.random(150) < 0.25 for _ in range(30)]
        p.append(best_of_k(tried, before, seed=seed))
        naive.append(min(best_of_k([t], before, seed=seed) for t in tried))
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert np.mean(np.array(naive) < 0.05) > 0.25
    assert best_of_k([*tried, rng.random(150) < 0.6], before, seed=0) < 0.01


def test_two_sided_counts_both_directions() -> None:
    assert two_sided(25, 100, 0.25) == pytest.approx(1.0)
    assert two_sided(5, 100, 0.25) < 1e-5
    assert two_sided(60, 100, 0.25) < 1e-5
