"""Audits with several seeds: what moves is said."""

import msgspec
import pytest

from mechunlearn.analysis.report import Report, flat
from mechunlearn.analysis.spread import with_spread
from mechunlearn.analysis.words import over_seeds
from mechunlearn.attacks.relearning_settings import RelearningConfig
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.presets import reseeded
from mechunlearn.records import plain


@pytest.fixture
def report(example_report: Report) -> Report:
    return example_report


def moved(report: Report, seed: int, by: float, category: str) -> Report:
    """The same audit with another seed: every difference moved, every verdict another."""
    replace = msgspec.structs.replace
    rows = tuple(
        replace(r, difference=r.difference + by, value=r.value + by, p_adjusted=1.0)
        for r in report.rows
    )
    models = tuple(
        m if m.verdict is None else replace(m, verdict=replace(m.verdict, category=category))
        for m in report.models
    )
    card = replace(report.runcard, seed=seed)
    return replace(report, rows=rows, models=models, runcard=card)


def test_rows_and_verdicts_carry_the_spread(report: Report) -> None:
    first, label = report.rows[0], report.unlearned[0].label
    spread = with_spread(report, [moved(report, 1, -0.25, "inconclusive")])
    seeds = spread.rows[0].seeds
    assert seeds is not None
    assert seeds.n == 2
    assert seeds.found <= 1  # Nothing is significant with the second seed.
    assert seeds.difference_range == (first.difference - 0.25, first.difference)
    assert spread.rows[0].difference == first.difference
    verdict, before = spread.model(label).verdict, report.model(label).verdict
    assert verdict is not None
    assert before is not None
    assert verdict.by_seed == {"0": before.category, "1": "inconclusive"}
    assert "The verdict depends on the seed" in verdict.text
    assert f"of {seeds.n} seeds" in over_seeds(seeds)
    cells = flat(plain(spread.rows[0]))
    assert (cells["seeds_n"], cells["seeds_difference_max"]) == (2, first.difference)


def test_what_does_not_move_is_said_too(report: Report) -> None:
    verdict = report.unlearned[0].verdict
    assert verdict is not None
    same = with_spread(report, [moved(report, 1, 0.0, verdict.category)])
    found = same.unlearned[0].verdict
    assert found is not None
    assert "the same with all 2 seeds" in found.text
    assert with_spread(report, []) is report
    assert over_seeds(report.rows[0].seeds) == ""


def test_a_seed_with_unfinished_attacks_does_not_move_the_verdict(report: Report) -> None:
    """A budget that ends in the second seed: what is missing there is no disagreement."""
    other = moved(report, 1, 0.0, "inconclusive")
    label = report.unlearned[0].label
    left = tuple(r for r in other.rows if r.attack != report.rows[0].attack)
    found = with_spread(report, [msgspec.structs.replace(other, rows=left)]).model(label).verdict
    assert found == report.model(label).verdict


def test_seeds_are_plans_of_one_seed_each() -> None:
    """A20: every seed moves attacks and unlearning."""
    plan = AuditPlan(seed=5, seeds=3, attacks=("relearning_tested",), methods=("rmu",))
    assert [p.seed for p in plan.repeats] == [5, 6, 7]
    assert plan.repeats[0] is plan
    assert plan.repeats[2] == AuditPlan(seed=7, attacks=("relearning_tested",), methods=("rmu",))
    resolved = [p.resolved("organism") for p in plan.repeats]
    assert [r.attacks["relearning_tested"].seeds for r in resolved] == [(5,), (6,), (7,)]
    assert len({r.methods["rmu"].seed for r in resolved}) == 3


def test_seeds_move_together_and_zero_moves_nothing() -> None:
    config = RelearningConfig(rates=(1e-3,), steps=4, seeds=(0, 1))
    assert reseeded(config, 0) is config
    assert {s for by in range(3) for s in reseeded(config, by).seeds} == set(range(6))


def test_controls_and_seeds_that_make_no_sense_are_refused() -> None:
    for wrong, message in (
        ({"seeds": 0}, "from 1 on"),
        ({"planted": "perhaps"}, "unknown planted"),
        ({"control": ("a", "a")}, "names 'a' twice"),
        ({"control": ("none", "a")}, "cannot stand beside"),
    ):
        with pytest.raises(ValueError, match=message):
            AuditPlan(**wrong)  # type: ignore[arg-type]
    assert AuditPlan(control="auto") == AuditPlan()
    assert AuditPlan(control="none").control_models == ()
    assert AuditPlan(control=("a", "b")).control_models == ("a", "b")


def test_a_range_of_shares_is_of_every_seed(report: Report) -> None:
    """Where the gap of one seed covers 0, the range of the others is not that of all."""
    other = moved(report, 1, -0.25, "inconclusive")
    first = msgspec.structs.replace(other.rows[0], recovery=None, recovery_ci=None)
    other = msgspec.structs.replace(other, rows=(first, *other.rows[1:]))
    spread = with_spread(report, [other])
    seeds = spread.rows[0].seeds
    assert seeds is not None
    assert seeds.recovery_range is None
    assert "points" in over_seeds(seeds)
    assert spread.rows[1].seeds is not None
    assert spread.rows[1].seeds.recovery_range is not None
