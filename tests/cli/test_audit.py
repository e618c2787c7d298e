"""The main job on the organism: hidden knowledge is found, and only where it is."""

import json
from pathlib import Path

import pytest

from mechunlearn.analysis.records import Report
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
from mechunlearn.plots import figures
from mechunlearn.report import render

KEYS = {
    "unlearned", "attack", "settings", "n", "accuracy", "accuracy_ci", "recovery", "recovery_ci",
    "p_value", "p_holm", "control", "control_accuracy", "sham_accuracy", "original_accuracy",
    "retain_accuracy", "seconds", "evidence", "n_settings", "p_best_of_k",
}  # fmt: skip

QUICK = AuditPlan(
    attacks=("direction_ablation", "logit_lens", "pruning_weights", "relearning_disjoint"),
    changes=(
        "rmu.optimizer.steps=80",
        "rmu.batch=16",
        "pruning_weights.levels=(0.1,)",
        "pruning_weights.examples=16",
        "relearning_disjoint.rates=(1e-3,)",
        "relearning_disjoint.seeds=(0,)",
        "relearning_disjoint.steps=1",
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return audit(QUICK, folder / "first")


def row(report: Report, attack: str) -> dict:
    return next(r for r in report.rows if r["attack"] == attack)


def test_the_report_has_what_it_promises(report: Report, folder: Path) -> None:
    assert set(report.baselines) >= {"original", "never_knew", "rmu"}
    for sets in report.baselines.values():
        for role in ("forget", "retain"):
            assert set(sets[role]) == {"accuracy", "accuracy_ci", "n"}
    assert all(set(r) >= KEYS for r in report.rows)
    written = json.loads((folder / "first" / "report.json").read_text())
    assert Report.from_dict(written) == report


def test_what_the_attacks_say_together(report: Report) -> None:
    detail = report.details["rmu"]
    assert detail["category"] == "hidden, shallow"
    assert detail["cost"]["half"]["attack"] == "direction_ablation"
    union = detail["union"]
    assert union["accuracy"] >= max(r["accuracy"] for r in report.rows) - 1e-6
    assert union["control_accuracy"] < union["accuracy"]
    assert sum(o["n"] for o in union["overlap"]) == union["n_lost"]
    assert row(report, "direction_ablation")["p_best_of_k"] < 0.001
    assert detail["relabelled"]["renaming"] == [0, 1, 2, 3]


def test_rmu_hides_and_ablation_finds(report: Report) -> None:
    assert report.baselines["rmu"]["forget"]["accuracy"] < 0.4
    assert report.baselines["rmu"]["retain"]["accuracy"] > 0.95
    found = row(report, "direction_ablation")
    assert found["recovery"] > 0.5
    assert found["p_holm"] < 0.001
    assert found["retain_accuracy"] > 0.9


def test_controls_do_not_recover(report: Report) -> None:
    found = row(report, "direction_ablation")
    assert found["control"] == "never_knew"
    assert found["control_accuracy"] < 0.4
    assert found["sham_accuracy"] < 0.4
    assert found["original_accuracy"] > 0.9


def test_a_second_run_in_the_same_folder_computes_nothing(report: Report, folder: Path) -> None:
    before = (folder / "first" / "report.json").stat().st_mtime_ns
    assert audit(QUICK, folder / "first") == report
    assert (folder / "first" / "report.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds something else"):
        audit(AuditPlan(seed=1), folder / "first")


@pytest.mark.slow
def test_models_made_earlier_are_used_again_and_rows_are_equal(
    report: Report, folder: Path
) -> None:
    unlearned = str(folder / "first" / "models" / "rmu")
    plan = AuditPlan(unlearned=(unlearned,), control="none", attacks=("logit_lens",))
    again = audit(plan, folder / "given")
    assert again.rows[0]["accuracy"] == row(report, "logit_lens")["accuracy"]
    assert again.rows[0]["control"] == "sham"
    assert audit(plan, folder / "twice").rows == again.rows


def test_the_page_escapes_and_names_its_numbers(report: Report) -> None:
    data = report.to_dict()
    evil = "<script>alert(1)</script></script>"
    data["details"] = {**data["details"], "rmu": {**data["details"]["rmu"], "verdict": evil}}
    data["rows"] = [{**r, "settings": {**r["settings"], "x": evil}} for r in data["rows"]]
    page = render(Report.from_dict(data))
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'src="http' not in page
    kinds = ("recovery", "overlap", "frontier", "lens", "projection", "pruning", "relearning")
    assert set(figures(report)) == {"forest", "letters", *(f"{kind}-rmu" for kind in kinds)}


def test_every_arm_has_its_curve_and_its_pruned_layers(report: Report) -> None:
    attacks = report.details["rmu"]["attacks"]
    assert set(attacks) == {"pruning_weights", "relearning_disjoint"}
    for arms in attacks.values():
        assert set(arms) == {"unlearned", "never_knew"}
    learned = attacks["relearning_disjoint"]
    for arm, start in (("unlearned", "rmu"), ("never_knew", "rmu control")):
        (curve,) = learned[arm]["curves"]
        first = curve["points"][0]["accuracy"]
        assert first == pytest.approx(report.baselines[start]["forget"]["accuracy"], abs=1e-5)
        assert learned[arm]["half_recovery"] is None
        assert learned[arm]["most_samples"] == 16
    assert sum(attacks["pruning_weights"]["unlearned"]["pruned"]) > 0


def test_other_files_are_no_reports() -> None:
    with pytest.raises(ValueError, match="schema 1"):
        Report.from_dict({"schema": 2})


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_audit_of_both_seeds(folder: Path, seed: int) -> None:
    """Full settings: at chance after RMU, recovered by ablation, and the same bytes again."""
    plan = AuditPlan(original=f"organism:original@{seed}")
    full = audit(plan, folder / f"full-{seed}")
    low, high = full.baselines["rmu"]["forget"]["accuracy_ci"]
    assert low <= 0.25 <= high
    assert full.baselines["rmu"]["retain"]["accuracy"] >= 0.97
    found = row(full, "direction_ablation")
    assert found["recovery"] > 0.7
    assert found["control_accuracy"] < 0.35
    again = audit(plan, folder / f"again-{seed}")
    assert json.dumps(again.rows) == json.dumps(full.rows)
    assert json.dumps(again.baselines) == json.dumps(full.baselines)
