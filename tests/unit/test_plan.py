"""Plans: what is run by default, and what is refused before anything is computed."""

from pathlib import Path

import pytest

from mechunlearn.attacks import Attack
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.plan_file import plan_from_toml, plan_toml, read_plan
from mechunlearn.registry import ATTACKS, DEFAULT_ATTACKS, find


def test_default_is_one_of_each_family_and_all_is_all() -> None:
    assert AuditPlan().attacks == DEFAULT_ATTACKS
    assert AuditPlan(attacks=("all",)).attacks == tuple(ATTACKS)
    assert AuditPlan().name == "organism-original-rmu-seed0"
    assert AuditPlan(attacks=("all",)).name == "organism-original-rmu-all-seed0"
    assert "jailbreak" in AuditPlan(attacks=("jailbreak",)).name


def test_every_attack_keeps_the_protocol() -> None:
    for name in ATTACKS:
        attack = find("attack", name)
        assert isinstance(attack, Attack)
        assert attack.access
        if attack.presets:
            assert {"paper", "small", "organism"} <= set(attack.presets)


def test_settings_reach_methods_and_attacks() -> None:
    plan = AuditPlan(changes=("rmu.alpha=3.0", "pruning_weights.examples=64"))
    assert plan.settings("method", "rmu", "organism").alpha == 3.0
    assert plan.settings("attack", "pruning_weights", "organism").examples == 64
    assert plan.settings("attack", "relearning_disjoint", "organism").steps > 1
    assert plan.settings("attack", "logit_lens") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("jailbreak.rounds=2", "not among"),
        ("relearning_disjoint.rates=()", "needs rates"),
        ("relearning_disjoint.lora.rank=-1", "rank >= 0"),
        ("perturbation_naive.thresholds=(2.0,)", "cosines"),
    ],
)
def test_mistakes_in_settings_are_told_at_once(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AuditPlan(changes=(change,))


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = AuditPlan(
        methods=("rmu", "npo"),
        attacks=("logit_lens", "pruning_heads"),
        changes=("rmu.alpha=3.0", "pruning_heads.levels=(0.1, 0.2)"),
        task='a "quoted" ü.jsonl',
        seed=3,
        retain_limit=0.1,
        budget="30m",
    )
    (tmp_path / "plan.toml").write_text(plan_toml(plan), encoding="utf-8")
    assert read_plan(tmp_path / "plan.toml") == plan
    assert plan_from_toml("retain_limit = 1\nseed = 2").retain_limit == 1.0


def test_a_budget_is_no_part_of_what_results_depend_on() -> None:
    assert AuditPlan(budget="1h").identity == AuditPlan().identity
    assert AuditPlan(seed=1).identity != AuditPlan().identity


@pytest.mark.parametrize("budget", ["-3m", "0s", "30", "m", "1 h", "1d"])
def test_budgets_are_positive_times(budget: str) -> None:
    with pytest.raises(ValueError, match="positive time"):
        AuditPlan(budget=budget)
