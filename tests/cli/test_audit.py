"""The main job on the organism: hidden knowledge is found, and only where it is."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.records import Row
from mechunlearn.analysis.report import Report
from mechunlearn.audit import cells
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.plots import figures
from mechunlearn.records import plain
from mechunlearn.report import render
from mechunlearn.types import Question, Task

pytestmark = pytest.mark.ci
QUICK = AuditPlan(
    attacks=("direction_ablation", "logit_lens", "pruning_weights", "relearning_disjoint"),
    changes=(
        "rmu.optimizer.steps=80",
        "rmu.batch=12",
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


@contextmanager
def third() -> Iterator[None]:
    """A third of the questions, whole sources of them, at a third of the price."""

    def some(questions: Sequence[Question]) -> tuple[Question, ...]:
        kept = sorted({q.source for q in questions})[::3]
        return tuple(q for q in questions if q.source in kept)

    def load_some(*arguments: object, **settings: object) -> Task:
        task = load_task(*arguments, **settings)
        few = {"forget": some(task.forget), "retain": some(task.retain), "extra": {}}
        return dataclasses.replace(task, **few)

    load_task = cells.load_task
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "load_task", load_some)
        yield


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    with third():
        return audit(QUICK, folder / "first")


def row(report: Report, attack: str) -> Row:
    return next(r for r in report.rows if r.attack == attack)


def forget(report: Report, label: str) -> float:
    return report.model(label).sets["forget"].value


def test_the_report_has_what_it_promises(report: Report, folder: Path) -> None:
    roles = {m.label: m.role for m in report.models}
    assert roles == {
        "organism:original": "original",
        "organism:never_knew": "never_knew",
        "rmu": "unlearned",
        "rmu control": "control",
    }
    assert all(set(m.sets) >= {"forget", "retain"} for m in report.models)
    assert [r.attack for r in report.rows] == list(QUICK.attacks)
    assert Report.load(folder / "first") == report
    written = json.loads((folder / "first" / "report.json").read_text())
    assert written["schema"] == 2
    assert set(written) >= {"runcard", "models", "rows"}


def test_what_the_attacks_say_together(report: Report) -> None:
    verdict = report.model("rmu").verdict
    assert verdict is not None
    assert verdict.category == "hidden, shallow"
    assert verdict.tier == "A"
    findings = report.findings_of("rmu")
    assert findings.cheapest_half == "direction_ablation"
    union = findings.union
    assert union is not None
    assert union.value >= max(r.value for r in report.rows) - 1e-6
    assert union.control < union.value
    assert sum(o.n for o in union.overlap) == union.n_lost
    best = row(report, "direction_ablation").p_best_of_k
    assert best is not None
    assert best < 0.001
    assert findings.renamed is not None
    assert findings.renamed.p > 0.05  # Whatever letters fit a few guesses best, by luck.


def test_rmu_hides_and_ablation_finds(report: Report) -> None:
    assert forget(report, "rmu") < 0.4
    assert report.model("rmu").sets["retain"].value > 0.95
    ablation = row(report, "direction_ablation")
    assert ablation.recovery is not None
    assert ablation.recovery > 0.5
    assert ablation.p_adjusted < 0.001
    assert ablation.retain > 0.9


def test_controls_do_not_recover(report: Report) -> None:
    ablation = row(report, "direction_ablation")
    assert ablation.tier == "A"
    assert ablation.control is not None
    assert ablation.control < 0.4
    assert ablation.sham < 0.4
    assert ablation.original > 0.9


def test_a_second_run_in_the_same_folder_computes_nothing(report: Report, folder: Path) -> None:
    before = (folder / "first" / "report.json").stat().st_mtime_ns
    with third():
        assert audit(QUICK, folder / "first") == report
    assert (folder / "first" / "report.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds a run with other"):
        audit(AuditPlan(seed=1), folder / "first")


def test_attacks_are_left_out_and_added_in_the_same_folder(report: Report, folder: Path) -> None:
    """A folder may be finished with fewer attacks, and be given more of them later."""
    left = ("direction_ablation", "logit_lens")
    fewer = dataclasses.replace(QUICK, attacks=left, changes=QUICK.changes[:2])
    files = sorted((folder / "first" / "cells").iterdir())
    times = [f.stat().st_mtime_ns for f in files]
    with third():
        some = audit(fewer, folder / "first")
        assert [(r.attack, r.value) for r in some.rows] == [
            (name, row(report, name).value) for name in left
        ]
        assert audit(QUICK, folder / "first") == report
    assert sorted((folder / "first" / "cells").iterdir()) == files
    assert [f.stat().st_mtime_ns for f in files] == times
    other = dataclasses.replace(QUICK, changes=("rmu.batch=8", *QUICK.changes[2:]))
    with pytest.raises(ValueError, match="a run with other changes"):
        audit(other, folder / "first")


def test_a_made_model_that_was_changed_is_not_audited(
    report: Report, folder: Path, tmp_path: Path
) -> None:
    """The cells of another model would stand beside those of the true one."""
    copy = tmp_path / "copy"
    shutil.copytree(folder / "first", copy)
    more = dataclasses.replace(QUICK, attacks=(*QUICK.attacks, "quantization"))
    file = copy / "models" / "rmu" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    with third(), pytest.raises(ValueError, match="rmu is not as it was made; remove it with rmu"):
        audit(more, copy)
    note = copy / "models" / "rmu.json"
    note.write_bytes(note.read_bytes()[:-9])
    with third(), pytest.raises(ValueError, match=r"remove .*rmu\.json and"):
        audit(more, copy)


@pytest.mark.slow
def test_models_made_earlier_are_used_again_and_rows_are_equal(
    report: Report, folder: Path
) -> None:
    unlearned = str(folder / "first" / "models" / "rmu")
    plan = AuditPlan(unlearned=(unlearned,), control="none", attacks=("logit_lens",))
    with third():
        again = audit(plan, folder / "given")
        assert again.rows[0].value == row(report, "logit_lens").value
        assert again.rows[0].control is None
        assert audit(plan, folder / "twice").rows == again.rows


def test_the_page_escapes_and_names_its_numbers(report: Report) -> None:
    evil = "<script>alert(1)</script></script>"
    models = tuple(
        m
        if m.verdict is None
        else msgspec.structs.replace(m, verdict=msgspec.structs.replace(m.verdict, text=evil))
        for m in report.models
    )
    rows = tuple(
        msgspec.structs.replace(r, variant={**(r.variant or {}), "x": evil}) for r in report.rows
    )
    page = render(msgspec.structs.replace(report, models=models, rows=rows))
    assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'src="http' not in page
    kinds = ("recovery", "overlap", "frontier", "lens", "projection", "pruning", "relearning")
    assert {f.key for f in figures(report)} == {
        "forest",
        "letters",
        *(f"{kind}-rmu" for kind in kinds),
    }


def test_every_arm_has_its_curve_and_its_pruned_layers(report: Report) -> None:
    findings = report.findings_of("rmu")
    courses = findings.courses["relearning_disjoint"]
    assert set(courses) >= {"unlearned", "never_knew"}
    for arm, start in (("unlearned", "rmu"), ("never_knew", "rmu control")):
        (curve,) = courses[arm].curves
        assert curve.points[0].value == pytest.approx(forget(report, start), abs=1e-5)
        assert courses[arm].half is None
        assert courses[arm].most_samples == 16
    pruned = findings.traces["pruning_weights"]["unlearned"]["pruned"]
    assert sum(sum(v) for v in pruned.values() if isinstance(v, list)) > 0


def test_other_files_are_no_reports(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"schema": 3}')
    with pytest.raises(ValueError, match="schema"):
        Report.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_audit_of_both_seeds(folder: Path, seed: int) -> None:
    """Full settings: at chance after RMU, recovered by ablation, and the same bytes again."""
    plan = AuditPlan(original=f"organism:original@{seed}")
    full = audit(plan, folder / f"full-{seed}")
    low, high = full.model("rmu").sets["forget"].value_ci
    assert low <= 0.25 <= high
    assert full.model("rmu").sets["retain"].value >= 0.97
    ablation = row(full, "direction_ablation")
    assert ablation.recovery is not None
    assert ablation.recovery > 0.7
    assert ablation.control is not None
    assert ablation.control < 0.35
    again = audit(plan, folder / f"again-{seed}")
    assert json.dumps(plain(again.rows)) == json.dumps(plain(full.rows))
    assert json.dumps(plain(again.models)) == json.dumps(plain(full.models))
