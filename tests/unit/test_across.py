"""Union, overlap, price, grades, renamed letters and courses against hand-counted cases."""

import dataclasses

import msgspec
import numpy as np
import pytest

from mechunlearn.analysis.across import cheapest_half, spent, union
from mechunlearn.analysis.arms import Arms
from mechunlearn.analysis.contrasts import Before
from mechunlearn.analysis.courses import course
from mechunlearn.analysis.letters import Choices, renamed
from mechunlearn.analysis.records import Row, Spent
from mechunlearn.analysis.tests import best_of_k
from mechunlearn.attacks.grades import GRADES, grade
from mechunlearn.audit.records import Answers, AttackResult, Stage
from mechunlearn.registry import ATTACKS, find


def marks(right: str) -> np.ndarray:
    """Values of right (1) and wrong (0) answers."""
    return np.array([float(c) for c in right])


def answers(right: str) -> Answers:
    """The same as a cell keeps them."""
    zeros = (0.0,) * len(right)
    return Answers(values=tuple(map(float, right)), said=(0,) * len(right), margins=zeros)


def arms(attacked: str, *, control: str | None = None, sham: str = "") -> Arms:
    none = marks("0" * len(attacked))
    other = marks(sham) if sham else none
    twin = None if control is None else marks(control)
    return Arms(marks(attacked), other, other, other, twin, guessing=none)


def before(original: str, unlearned: str, control: str | None = None) -> Before:
    twin = None if control is None else marks(control)
    return Before(marks(original), marks(unlearned), twin, np.arange(len(original)))


def test_union_and_overlap_by_hand() -> None:
    found = union(
        {
            "a": arms("11000000", control="10000000"),
            "b": arms("01100000", control="10000000"),
        },
        before("11111100", "00000100", "00000000"),
        priced("b", 0.0, 1, 1.0),
        seed=0,
    )
    assert (found.value, found.control) == (3 / 8, 1 / 8)
    assert found.difference == pytest.approx((3 - 1) / 8 - 1 / 8)
    assert found.n_lost == 5
    counts = {o.attacks: o.n for o in found.overlap}
    assert counts == {("a",): 1, ("a", "b"): 1, ("b",): 1, (): 2}
    assert found.never == (3, 4)


def test_without_a_control_the_shams_are_the_chance_line() -> None:
    a = arms("1100", sham="0110")
    found = union({"a": a}, before("1111", "0000"), priced("a", 0.0, 1, 1.0), seed=0)
    assert found.control == 0.5
    assert found.difference == 0.0


def test_guesses_without_a_control_do_not_add_up_to_knowledge() -> None:
    """A8: attacks that change nothing but which questions are right by luck, shams that do not."""
    rng, n = np.random.default_rng(0), 240
    guess = lambda: (rng.random(n) < 0.25).astype(float)  # noqa: E731
    own = guess()
    same = dict.fromkeys(("sham", "original", "retain"), own)
    many = {
        f"a{i}": Arms(attacked=guess(), control=None, guessing=np.full(n, 0.25), **same)
        for i in range(8)
    }
    known = Before(np.ones(n), own, None, np.arange(n))
    best = priced("a0", 0.02, 1, 1.0)
    found = union(many, known, best, seed=0)
    assert found.value > 0.8
    assert (found.difference, found.p) == (best.difference, best.p)
    guessed = {a: dataclasses.replace(arm, sham=guess()) for a, arm in many.items()}
    assert union(guessed, known, best, seed=0).control > 0.8  # Shams that guess are as many.


def test_any_attack_brings_back_what_the_best_one_does() -> None:
    """A8: guesses raise the union of the controls, but not over what one attack shows alone."""
    many = {"a": arms("11110000", sham="00000000"), "b": arms("00001111", sham="11110000")}
    best = priced("a", 0.5, 1, 1.0)
    found = union(many, before("11111111", "00000000"), best, seed=0)
    assert (found.value, found.control) == (1.0, 0.5)
    assert found.difference == 0.5
    fewer = union(many, before("11111111", "00000000"), priced("a", 0.7, 1, 1.0), seed=0)
    assert fewer.difference == 0.7
    # What is still open is no attack's merit, read-outs included.
    still = union({"a": arms("1100", sham="0001")}, before("1111", "1100"), priced("a", 0, 1, 1), 0)
    assert (still.control, still.difference) == (0.5, 0.0)


VARIANT = {"rate": 0.1, "seed": 0, "steps": 4}


def priced(attack: str, difference: float, flops: int, retain: float) -> Row:
    return Row(
        model="x", attack=attack, family="relearn", variant=VARIANT, n=8, value=0.5,
        value_ci=(0.1, 0.9), recovery=difference, recovery_ci=None, difference=difference,
        difference_ci=(difference - 0.1, 1.0), gap=1.0, gap_ci=(0.9, 1.0), p=0.5, p_adjusted=0.5,
        detectable=0.1, tier="C", sham=0.0, control=None, original=1.0, retain=retain,
        within_limit=True, flops=flops, seconds=1.0,
    )  # fmt: skip


def stage(steps: int, right: str = "0000", run: str = "one", retain: float = 1.0) -> Stage:
    variant = VARIANT | {"steps": steps} if steps else None
    return Stage(
        variant=variant, run=run, steps=steps, samples=2 * steps, tokens=2 * steps + 1, flops=steps,
        retain=retain, confirm=answers(right),
    )  # fmt: skip


def result(*stages: Stage) -> AttackResult:
    return AttackResult(
        variant=VARIANT, within_limit=True, flops=1, forget=answers("1"), retain=answers("1"),
        shams=(), tried=(), decided_by=None, stages=stages, traces={},
    )  # fmt: skip


def test_the_frontier_keeps_what_nothing_beats() -> None:
    rows = [
        priced("cheap", 0.6, 10, 0.9),
        priced("dear", 0.6, 20, 0.9),
        priced("gentle", 0.5, 20, 1.0),
        priced("nothing", 0.05, 1, 1.0),
    ]
    untaught = {row.attack: result() for row in rows}

    def frontier(entries: tuple[Spent, ...]) -> set[str]:
        return {e.attack for e in entries if e.pareto}

    entries = spent(rows, untaught | {"cheap": result(stage(0), stage(2), stage(4))}, 1.0)
    assert frontier(entries) == {"cheap", "gentle", "dear"}
    first = entries[0]
    assert (first.samples, first.forget_tokens, first.utility_loss) == (8, 9, 0.1)
    assert cheapest_half(entries) == "cheap"
    # Without its tokens cheap beats dear.
    assert frontier(spent(rows, untaught, 1.0)) == {"cheap", "gentle"}
    assert cheapest_half(spent(rows[3:], untaught, 1.0)) is None
    # What was taught the facts is not on it without a model that never knew, and beats nothing.
    taught = [msgspec.structs.replace(rows[0], evidence="the tested facts"), *rows[1:]]
    assert frontier(spent(taught, untaught, 1.0)) == {"gentle", "dear"}


def test_courses_have_a_curve_a_run_and_the_cheapest_point_half_way() -> None:
    stages = [
        stage(0), stage(4, "1100"), stage(8, "1111"),
        stage(0, run="two"), stage(2, "1110", "two", 0.8), stage(8, "1111", "two"),
    ]  # fmt: skip
    free = course(stages, np.arange(4), start=0.0, original=1.0, limit=1.0)
    assert [(c.run, len(c.points)) for c in free.curves] == [("one", 3), ("two", 3)]
    assert free.curves[0].variants == (None, VARIANT, VARIANT | {"steps": 8})
    assert free.curves[1].points[1].value == 0.75
    assert free.most_samples == 16
    assert free.half is not None
    assert (free.half.steps, free.half.samples) == (2, 4)
    strict = course(stages, np.arange(4), start=0.0, original=1.0, limit=0.1)
    assert strict.half is not None
    assert strict.half.steps == 4
    assert course(stages[:1], np.arange(4), start=0.0, original=1.0, limit=1.0).half is None


def test_grades_follow_what_attacks_declare() -> None:
    """A9: what was declared decides, not what the attack is called."""
    grades = {name: grade(find("attack", name)) for name in ATTACKS}
    assert set(grades.values()) == set(GRADES)
    assert grades["logit_lens"] == "no forget information"
    assert grades["direction_ablation"] == "no forget information"
    assert grades["relearning_retain"] == "benign data"
    assert grades["relearning_disjoint"] == "other facts of the domain"
    assert grades["relearning_tested"] == "the tested facts"


def folds(rename: list[int], noise: float, seed: int) -> tuple[Choices, Choices]:
    """A model that says ``rename[answer]``, or anything with chance ``noise``."""
    rng = np.random.default_rng(seed)
    made = []
    for n in (120, 160):
        right = rng.integers(0, 4, n)
        said = np.where(rng.random(n) < noise, rng.integers(0, 4, n), np.array(rename)[right])
        made.append(Choices(said, right, 4))
    return made[0], made[1]


def test_renamed_letters_are_found_on_the_select_fold_and_tested_on_the_other() -> None:
    never_knew = folds([0, 1, 2, 3], 1.0, 1)
    for controls in ([never_knew], []):
        found = renamed(*folds([1, 2, 3, 0], 0.1, 0), controls)
        assert found.renaming == (3, 0, 1, 2)
        assert found.value > 0.8
        assert found.p < 1e-3
    same = renamed(*folds([0, 1, 2, 3], 0.1, 0), [never_knew])
    assert (same.renaming, same.p) == ((0, 1, 2, 3), 1.0)


def test_renamed_letters_have_to_exceed_all_controls_and_not_the_first_alone() -> None:
    """A second never-knew model whose letters are renamed as well: it is no sign of knowledge."""
    found, guesses = folds([1, 2, 3, 0], 0.6, 0), folds([0, 1, 2, 3], 1.0, 1)
    assert renamed(*found, [guesses]).p < 0.001
    assert renamed(*found, [guesses, folds([1, 2, 3, 0], 0.3, 2)]).p > 0.05


def test_folds_may_have_different_numbers_of_choices() -> None:
    select, confirm = folds([0, 1, 2, 3], 0.1, 0)
    more = Choices(confirm.said + 1, confirm.right + 1, 5)
    assert len(renamed(select, more).renaming) == 5


def test_letters_are_counted_by_right_and_said_with_ties_last() -> None:
    choices = Choices(np.array([0, 1, -1, 1]), np.array([0, 0, 1, 1]), 2)
    assert choices.table() == ((1, 1, 0), (0, 1, 1))


def test_renaming_guesses_finds_nothing_more_often_than_it_should() -> None:
    p = [renamed(*folds([0, 1, 2, 3], 1.0, s), [folds([0, 1, 2, 3], 1.0, 500 + s)]).p
         for s in range(60)]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) < 0.1


def test_the_best_of_many_useless_variants_counts_sources_and_not_questions() -> None:
    rng, of = np.random.default_rng(1), np.repeat(np.arange(16), 10)
    p = []
    for seed in range(60):
        shared = rng.normal(size=(9, 16)).repeat(10, axis=1) + rng.normal(size=(9, 160))
        answers = shared > 1.0
        p.append(best_of_k(list(answers[1:]), answers[0], of, seed=seed))
    assert np.mean(np.array(p) < 0.05) < 0.12  # Question by question it was about a third.


@pytest.mark.ci
def test_best_of_many_useless_variants_is_not_significant_but_a_good_one_is() -> None:
    rng, each = np.random.default_rng(0), np.arange(150)
    p, naive = [], []
    for seed in range(60):
        before = rng.random(150) < 0.25
        tried = [rng.random(150) < 0.25 for _ in range(30)]
        p.append(best_of_k(tried, before, each, seed=seed))
        naive.append(min(best_of_k([t], before, each, seed=seed) for t in tried))
    assert np.mean(np.array(p) < 0.05) < 0.12
    assert np.mean(np.array(naive) < 0.05) > 0.25
    assert best_of_k([*tried, rng.random(150) < 0.6], before, each, seed=0) < 0.01
