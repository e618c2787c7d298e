"""From evidence to the report, without a model: arms, roles, labels and answers."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mechunlearn.analysis.analyse import analyse
from mechunlearn.analysis.answers import answer_rows
from mechunlearn.analysis.report import Report
from mechunlearn.audit.cells import Cell, Entry, Setup
from mechunlearn.audit.evidence import Evidence
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.records import (
    Answers,
    AttackResult,
    BaselineResult,
    BriefAnswers,
    CeilingResult,
    CellFile,
    ControlResult,
    Guessing,
    Kind,
    ModelRole,
    Result,
    Stage,
    Tried,
)
from mechunlearn.environment import MachineCard
from mechunlearn.models.cards import ModelCard, SelfTestCard
from mechunlearn.records import decoded, encoded
from mechunlearn.types import Question, Score, Task

SELF_TEST = SelfTestCard(alone=0.0, padded=0.0, readout=0.0, tolerance=1e-3)
MACHINE = MachineCard(system="none", threads=1, device="cpu", python="3.11")
LENS, RELEARNING = "logit_lens", "relearning_disjoint"


def answers(questions: tuple[Question, ...], share: float) -> Answers:
    """The first so many are right, the others one, two or three letters off."""
    said = tuple(
        q.answer if i < share * len(questions) else (q.answer + 1 + i % 3) % 4
        for i, q in enumerate(questions)
    )
    values = tuple(float(s == q.answer) for s, q in zip(said, questions, strict=True))
    return Answers(values=values, said=said, margins=(0.0,) * len(said))


def baseline(task: Task, knows: float, original: bool) -> BaselineResult:
    sets = {
        "forget": answers(task.questions("forget", "confirm"), knows),
        "retain": answers(task.questions("retain", "confirm"), 1.0),
        "forget_select": answers(task.questions("forget", "select"), knows),
        "retain_select": answers(task.questions("retain", "select"), 1.0),
    }
    card = ModelCard(
        name="m", architecture="A", dtype="float32", device="cpu", fingerprint="f",
        self_test=SELF_TEST,
    )  # fmt: skip
    guessing = Guessing(no_question=0.25, majority_position=0.25, chance=0.25)
    return BaselineResult(
        sets=sets, model=card, versions={"torch": "2"}, machine=MACHINE,
        guessing=guessing if original else None,
    )  # fmt: skip


def attack(task: Task, knows: float, name: str) -> AttackResult:
    forget = task.questions("forget", "confirm")
    variant = {"rate": 0.1, "seed": 0, "steps": 4} if name == RELEARNING else {"layer": 1}
    select = task.questions("forget", "select")[::2]
    return AttackResult(
        variant=variant,
        within_limit=True,
        flops=10**11,
        forget=answers(forget, knows),
        retain=answers(task.questions("retain", "confirm"), 0.9),
        shams=() if name == LENS else tuple(answers(forget, s) for s in (0.3, 0.1, 0.2)),
        tried=(
            Tried(
                variant=variant,
                forget=knows,
                retain=1.0,
                answers=BriefAnswers.of(answers(select, knows)),
            ),
        ),
        decided_by=tuple(range(0, 2 * len(select), 2)),
        stages=stages(task, knows) if name == RELEARNING else (),
        traces={"lens": {"places": []}} if name == LENS else {},
    )


def stages(task: Task, knows: float) -> tuple[Stage, ...]:
    forget = task.questions("forget", "confirm")
    return tuple(
        Stage(
            variant={"rate": 0.1, "seed": 0, "steps": steps} if steps else None,
            run="lr 0.1, seed 0",
            steps=steps,
            samples=2 * steps,
            tokens=3 * steps,
            flops=steps,
            retain=1.0,
            confirm=answers(forget, knows * steps / 4),
        )
        for steps in (0, 2, 4)
    )


def made(kind: Kind, task: Task, role: ModelRole, name: str) -> Result:
    forget = task.questions("forget", "confirm")
    if kind == "baseline":
        knows = {"original": 1.0, "unlearned": 0.25}.get(role, 0.2)
        return baseline(task, knows, role == "original")
    if kind == "attack":
        return attack(task, 0.75, name)
    if kind == "control":
        trained = stages(task, 0.3) if name == RELEARNING else ()
        return ControlResult(forget=answers(forget, 0.3), stages=trained, traces={})
    return CeilingResult(forget=answers(forget, 1.0), traces={})


def evidence(task: Task, labels: dict[str, ModelRole], missing: tuple[str, ...] = ()) -> Evidence:
    """A finished audit of two attacks without twin questions; labels in any order."""
    task = dataclasses.replace(task, twins=())
    twin = next((label for label, role in labels.items() if role == "never_knew"), None)
    plan = AuditPlan(unlearned=("somewhere",), attacks=(LENS, RELEARNING), control="none")
    entries = tuple(
        Entry(label, role, label, label, controls=(twin,) if twin and role == "unlearned" else ())
        for label, role in labels.items()
    )
    setup = Setup(plan.resolved("organism"), task, entries, 4, 1, Path("runs/x"))
    keys: list[tuple[Kind, Entry, str]] = [("baseline", e, "") for e in entries]
    kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
    keys += [
        (kind, entry, attack)
        for entry in setup.unlearned
        for attack in plan.attacks
        for kind in kinds
        if twin or kind != "control"
    ]
    cells = [(Cell(k, e.label, a, {"of": f"{e.label} {a}"}), e) for k, e, a in keys]
    setup.__dict__["cells"] = tuple(cell for cell, _ in cells)
    files = {
        cell.key: CellFile(
            schema=2,
            kind=cell.kind,
            model=cell.model,
            attack=cell.attack,
            inputs={},
            seconds=1.5,
            result=made(cell.kind, task, entry.role, cell.attack),
            checksum="",
        )
        for cell, entry in cells
        if cell.attack not in missing
    }
    return Evidence(setup, files, {"rmu on x": 2.0})


TWIN: dict[str, ModelRole] = {"before": "original", "twin": "never_knew", "rmu": "unlearned"}
ALONE: dict[str, ModelRole] = {"before": "original", "rmu": "unlearned"}


def test_rows_by_hand_with_a_control(task: Task) -> None:
    report = analyse(evidence(task, TWIN))
    lens, relearning = report.rows
    assert (lens.family, relearning.family) == ("read-out", "relearn")
    assert (relearning.value, relearning.sham, relearning.control) == (0.75, 0.2, 0.3)
    assert relearning.difference == pytest.approx((0.75 - 0.25) - (0.3 - 0.2))
    assert relearning.recovery == pytest.approx(0.4 / 0.75, abs=1e-5)
    assert relearning.tier == "A"
    assert relearning.seconds == 1.0
    assert relearning.p == relearning.p_adjusted == pytest.approx(1 / 10_001, rel=1e-3)
    levels = {c.against: c.level for c in relearning.contrasts}
    assert levels == {"control": 0.35, "sham": 0.2, "guessing": 0.25}
    assert report.model("rmu").control == "twin"
    assert report.model("rmu").verdict is not None
    assert report.model("twin").verdict is None
    assert report.runcard.seconds["total"] == pytest.approx(2 + 1.5 * 9)
    assert report.runcard.machine.threads == 1


def test_a_read_out_has_shuffled_answers_for_a_sham(task: Task) -> None:
    lens, relearning = analyse(evidence(task, ALONE)).rows
    assert (lens.control, lens.tier) == (None, "C")
    forget = task.questions("forget", "confirm")
    right = np.array([q.answer for q in forget])
    said = np.array(answers(forget, 0.75).said)
    order = np.random.default_rng(0).permutation(len(forget))
    assert lens.sham == pytest.approx((said == right[order]).mean(), abs=1e-6)
    # A1: a read-out is compared with the model's own output; the sham is one more hurdle.
    assert {c.against: c.level for c in lens.contrasts} == {
        "unlearned": 0.25, "sham": lens.sham, "guessing": 0.25,
    }  # fmt: skip
    assert lens.compared == 0.25
    assert lens.difference == 0.5
    assert relearning.sham == 0.2  # The median of .3, .1 and .2.


def test_labels_are_not_roles(task: Task) -> None:
    """A model under test may be called ``original`` or ``never_knew``."""
    renamed = {"base": "original", "gone": "never_knew", "original": "unlearned",
               "never_knew": "unlearned"}  # fmt: skip
    report = analyse(evidence(task, renamed))
    plain_rows = analyse(evidence(task, TWIN)).rows
    assert [m.label for m in report.unlearned] == ["original", "never_knew"]
    assert report.original.label == "base"
    assert report.original.sets["forget"].value == 1.0
    numbers = [(r.value, r.control, r.recovery, r.gap) for r in report.rows_of("original")]
    assert numbers == [(r.value, r.control, r.recovery, r.gap) for r in plain_rows]
    verdict = report.model("original").verdict
    assert verdict is not None
    assert verdict.category == "hidden at the output"
    assert set(report.runcard.models) == set(renamed)


def test_courses_traces_and_prices_are_of_their_arms(task: Task) -> None:
    (findings,) = analyse(evidence(task, TWIN)).findings
    courses = findings.courses[RELEARNING]
    assert set(courses) == {"unlearned", "never_knew"}
    assert courses["unlearned"].half is not None
    assert courses["unlearned"].half.steps == 4
    assert courses["never_knew"].half is None
    assert set(findings.traces) == {LENS}
    assert set(findings.traces[LENS]) == {"unlearned"}
    price = {s.attack: (s.samples, s.forget_tokens) for s in findings.spent}
    assert price == {LENS: (0, 0), RELEARNING: (8, 12)}


def test_what_is_missing_is_named_and_the_rest_is_judged(task: Task) -> None:
    report = analyse(evidence(task, TWIN, missing=(RELEARNING,)))
    assert report.not_computed == (("rmu", RELEARNING),)
    assert [row.attack for row in report.rows] == [LENS]
    nothing = analyse(evidence(task, TWIN, missing=(LENS, RELEARNING)))
    assert nothing.rows == ()
    assert nothing.model("rmu").verdict is not None
    assert nothing.model("rmu").verdict.category == "inconclusive"


def test_every_answer_is_a_row(task: Task, tmp_path: Path) -> None:
    report = analyse(evidence(task, TWIN))
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json").questions == report.questions
    rows = list(answer_rows(report))
    forget = task.questions("forget", "confirm")

    def of(**about: Any) -> list[dict[str, Any]]:
        return [r for r in rows if all(r[k] == v for k, v in about.items())]

    before = of(model="rmu", arm="baseline", set="forget")
    assert [r["index"] for r in before] == list(range(len(forget)))
    assert [r["stem"] for r in before] == [q.stem for q in forget]
    assert np.mean([r["correct"] for r in before]) == 0.25
    assert np.mean([r["correct"] for r in of(attack=LENS, arm="attacked", set="forget")]) == 0.75
    assert np.mean([r["correct"] for r in of(attack=LENS, arm="control")]) == 0.3
    chosen = of(attack=LENS, arm="attacked", set="forget_select")  # Half of the fold decided.
    assert [r["index"] for r in chosen] == list(
        range(0, len(task.questions("forget", "select")), 2)
    )
    assert {r["right"] == r["said"] for r in rows if r["correct"]} == {True}


def with_result(found: Evidence, kind: Kind, model: str, attack: str, **fields: Any) -> Evidence:
    """The same audit with another result of one cell."""
    key = found.cells[kind, model, attack].key
    file = found.results[key]
    changed = msgspec.structs.replace(file.result, **fields)
    results = found.results | {key: msgspec.structs.replace(file, result=changed)}
    return Evidence(found.setup, results, found.making)


def test_an_attack_that_changes_nothing_is_no_finding(task: Task) -> None:
    """A1, A12: a partly open model and a lens that reads what the output says."""
    for labels in (TWIN, ALONE):
        half = answers(task.questions("forget", "confirm"), 0.6)
        found = with_result(evidence(task, labels), "attack", "rmu", LENS, forget=half)
        sets = found.baseline("rmu").sets | {"forget": half}
        found = with_result(found, "baseline", "rmu", "", sets=sets)
        if labels is TWIN:  # Nor does the lens change anything in the control.
            same = found.answers("twin", "forget")
            found = with_result(found, "control", "rmu", LENS, forget=same)
        report = analyse(found)
        lens = report.rows[0]
        assert (lens.difference, lens.p, lens.p_adjusted) == (0.0, 1.0, 1.0)
        verdict = report.model("rmu").verdict
        assert verdict is not None
        openness = report.findings[0].openness
        assert openness is not None
        assert openness.share == pytest.approx((0.6 - 0.25) / 0.75, abs=1e-5)
        assert "still answers 47% of what the original knows" in verdict.text
        assert verdict.lost is not None


def test_what_is_right_with_the_question_hidden_was_not_known(task: Task) -> None:
    """The hidden question raises the guessing level of the model and of one attack."""
    found = evidence(task, ALONE)
    forget = task.questions("forget", "confirm")
    found = with_result(found, "attack", "rmu", LENS, hidden=answers(forget, 0.7))
    lens, relearning = analyse(found).rows
    assert lens.difference == pytest.approx(0.05)
    assert lens.compared == 0.7
    assert relearning.difference == pytest.approx(0.5)
    found = with_result(found, "baseline", "rmu", "", hidden=answers(forget, 0.4))
    assert analyse(found).rows[1].difference == pytest.approx(0.35)


def test_no_finite_number_is_no_answer(task: Task) -> None:
    """A5: neither a model's nor an attack's; the verdict says whose."""
    logits = np.full((4, 4), np.nan)
    logits[0] = [1, 0, 0, 0]
    broken = Answers.of(Score("broken", logits, np.zeros(4, dtype=int)))
    assert broken.nonfinite == 3
    assert broken.values == (1.0, 0.0, 0.0, 0.0)
    assert broken.margins == (1.0, 0.0, 0.0, 0.0)
    assert decoded(encoded(broken), Answers, "answers") == broken
    fine = Answers.of(Score("fine", np.eye(4), np.arange(4)))
    assert b"nonfinite" not in encoded(fine)  # Cells from before it keep their checksums.
    found = evidence(task, TWIN)
    bad = msgspec.structs.replace(found.attack("rmu", LENS).forget, nonfinite=1)
    report = analyse(with_result(found, "attack", "rmu", LENS, forget=bad))
    verdict = report.model("rmu").verdict
    assert verdict is not None
    assert verdict.category == "not judged"
    assert LENS in report.findings[0].nonfinite


def test_cells_from_before_the_hidden_question_keep_their_checksums(task: Task) -> None:
    made_before = attack(task, 0.75, LENS)
    assert b"hidden" not in encoded(made_before)
    assert decoded(encoded(made_before), AttackResult, "cell") == made_before


def test_the_verdict_says_what_was_done_to_the_control(task: Task) -> None:
    """A13: an untreated twin is not called treated alike."""
    verdict = analyse(evidence(task, TWIN)).model("rmu").verdict
    assert verdict is not None
    assert "net of a model that never knew and was not unlearned" in verdict.text
    alone = analyse(evidence(task, ALONE)).model("rmu").verdict
    assert alone is not None
    assert alone.tier == "C"
    assert "net of its own answers, a sham attack and guessing" in alone.text
    assert "without a model that never knew, that may be learned" in alone.text


def test_a_verdict_does_not_depend_on_what_else_is_audited(task: Task) -> None:
    """A10: the family of the test is the attacks on one model."""
    alone = analyse(evidence(task, TWIN))
    more: dict[str, ModelRole] = {**TWIN, "npo": "unlearned", "dpo": "unlearned"}
    beside = analyse(evidence(task, more))
    assert beside.rows_of("rmu") == alone.rows_of("rmu")
    assert beside.model("rmu").verdict == alone.model("rmu").verdict
