"""From evidence to the report, without a model: arms, roles, labels and answers."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mechunlearn.analysis.analyse import analyse, audit
from mechunlearn.analysis.answers import answer_rows, sources_of, values
from mechunlearn.analysis.records import Findings, Row, Verdict
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import counts
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.entries import Entry
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
from mechunlearn.errors import BudgetError
from mechunlearn.models.cards import ModelCard, SelfTestCard
from mechunlearn.records import decoded, encoded
from mechunlearn.report.board import standings
from mechunlearn.report.headline import headlines
from mechunlearn.report.summary import sentences
from mechunlearn.stats import mean_interval
from mechunlearn.types import Question, Score, Task

SELF_TEST = SelfTestCard(alone=0.0, padded=0.0, readout=0.0, tolerance=1e-3)
MACHINE = MachineCard(system="none", threads=1, device="cpu", python="3.11")
LENS, RELEARNING, FORMS = "logit_lens", "relearning_disjoint", "forms"
VARIANTS = {
    RELEARNING: {"rate": 0.1, "seed": 0, "steps": 4},
    FORMS: {"measure": "cloze", "choices_moved": 0, "place": ""},
}


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
    variant = VARIANTS.get(name, {"layer": 1})
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
        knows = {"original": 1.0, "unlearned": 0.25, "planted": 0.25}.get(role, 0.2)
        return baseline(task, knows, role == "original")
    if kind == "attack":
        return attack(task, 0.75, name)
    if kind == "control":
        trained = stages(task, 0.3) if name == RELEARNING else ()
        return ControlResult(forget=answers(forget, 0.3), stages=trained, traces={})
    return CeilingResult(forget=answers(forget, 1.0), traces={})


def evidence(
    task: Task,
    labels: dict[str, ModelRole],
    missing: tuple[str, ...] = (),
    attacks: tuple[str, ...] = (LENS, RELEARNING),
    twins: bool = False,
) -> Evidence:
    """A finished audit, without twin questions if not wanted; labels in any order.

    Planted models are attacked as the ones under test are, and as open to it.
    """
    task = task if twins else dataclasses.replace(task, twins=())
    twin = next((label for label, role in labels.items() if role == "never_knew"), None)
    plan = AuditPlan(unlearned=("somewhere",), attacks=attacks, control="none")
    attacked = ("unlearned", "planted")
    entries = tuple(
        Entry(
            label,
            role,
            label,
            label,
            controls=(twin,) if twin and role in attacked else (),
            hiding="push" if role == "planted" else None,
        )
        for label, role in labels.items()
    )
    setup = Setup(plan.resolved("organism"), task, entries, 4, 1, Path("runs/x"))
    keys: list[tuple[Kind, Entry, str]] = [("baseline", e, "") for e in entries]
    kinds: tuple[Kind, ...] = ("attack", "control", "ceiling")
    keys += [
        (kind, entry, attack)
        for entry in (*setup.unlearned, *setup.planted)
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
    assert levels == {"control": 0.35, "unlearned": 0.25, "sham": 0.2, "guessing": 0.25}
    assert report.model("rmu").control == "twin"
    assert report.model("rmu").verdict is not None
    assert report.model("twin").verdict is None
    assert report.runcard.seconds["total"] == pytest.approx(2 + 1.5 * 9)
    assert report.runcard.machine.threads == 1


def test_what_stands_beside_a_value_has_an_interval_that_follows_sources(task: Task) -> None:
    report = analyse(evidence(task, TWIN))
    row = report.rows[1]
    forget, retain = (task.questions(name, "confirm") for name in ("forget", "retain"))
    for interval, asked, share in (
        (row.sham_ci, forget, 0.2),
        (row.control_ci, forget, 0.3),
        (row.original_ci, forget, 1.0),
        (row.retain_ci, retain, 0.9),
    ):
        expected = mean_interval(values(answers(asked, share)), sources_of(asked))
        assert interval == pytest.approx(expected, abs=1e-5)
    assert row.control_ci != pytest.approx(mean_interval(values(answers(forget, 0.3))), abs=1e-5)
    (tried,) = report.findings_of("rmu").tried[RELEARNING]
    assert tried.forget_ci is not None
    assert tried.forget_ci[0] < tried.forget < tried.forget_ci[1]
    alone = analyse(evidence(task, ALONE)).rows[1]
    assert alone.control_ci is None
    assert alone.sham_ci == row.sham_ci


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
    """A6: a model under test may be called ``original`` or ``never_knew``."""
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


def without(found: Evidence, kind: Kind, model: str, attack: str) -> Evidence:
    """The same audit before one cell is finished."""
    key = found.cells[kind, model, attack].key
    results = {k: file for k, file in found.results.items() if k != key}
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
    # A control that answers nothing would make any model exceed it.
    for kind, label in (("control", "rmu"), ("ceiling", "rmu")):
        report = analyse(with_result(found, kind, label, LENS, forget=bad))
        assert LENS in report.findings[0].nonfinite
    shams = (bad, *found.attack("rmu", LENS).shams[1:])
    assert (
        LENS
        in analyse(with_result(found, "attack", "rmu", LENS, shams=shams)).findings[0].nonfinite
    )
    sets = found.baseline("twin").sets | {"forget": bad}
    report = analyse(with_result(found, "baseline", "twin", "", sets=sets))
    assert "twin" in report.findings[0].nonfinite


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


def of_forms(
    task: Task, labels: dict[str, ModelRole], asked: float, control: float = 0.3
) -> Evidence:
    """An audit in which only asking in another form, and relearning, bring something back."""
    found = evidence(task, labels, attacks=(FORMS, LENS, RELEARNING))
    forget = task.questions("forget", "confirm")
    found = with_result(found, "attack", "rmu", FORMS, forget=answers(forget, asked))
    found = with_result(found, "attack", "rmu", LENS, forget=answers(forget, 0.25))
    if labels is TWIN:
        found = with_result(found, "control", "rmu", FORMS, forget=answers(forget, control))
    return found


def verdict_of(found: Evidence) -> tuple[Row, Findings, Verdict]:
    report = analyse(found)
    verdict = report.model("rmu").verdict
    assert verdict is not None
    return report.rows[0], report.findings[0], verdict


@pytest.mark.parametrize("labels", [TWIN, ALONE])
def test_what_is_answered_in_another_form_is_open_and_not_hidden(
    task: Task, labels: dict[str, ModelRole]
) -> None:
    """A11: letters at chance, statements right, and "only relearning brings it back" said of it."""
    row, findings, verdict = verdict_of(of_forms(task, labels, 0.95))
    assert (row.only_asks, row.family, row.evidence) == (True, "prompt", "no forget information")
    assert verdict.category == "openly answered"
    assert "95% when it is asked in another form (measure cloze)" in verdict.text
    assert "the original answers 100% there" in verdict.text
    assert ("never knew 30%" in verdict.text) == (labels is TWIN)
    nothing = 0.3 if labels is TWIN else 0.25
    assert findings.other_form is not None
    share = (0.95 - nothing) / (1 - nothing)
    assert findings.other_form.openness.share == pytest.approx(share, abs=1e-5)


def test_a_share_that_is_open_in_another_form_leaves_the_rest_to_be_judged(task: Task) -> None:
    found = of_forms(task, TWIN, 0.6)
    _, _, verdict = verdict_of(found)
    assert (verdict.category, verdict.lost) == ("hidden, deep", "hidden, deep")
    assert "43% of what the original knows is open; the rest of this" in verdict.text
    forget = task.questions("forget", "confirm")
    found = with_result(found, "attack", "rmu", RELEARNING, forget=answers(forget, 0.25))
    _, _, verdict = verdict_of(found)
    assert verdict.category == "partly open"


def test_what_was_unlearned_is_asked_as_the_task_asks(task: Task) -> None:
    """Where the form alone was tried, in which the original answers little."""
    found = of_forms(task, TWIN, 0.3)
    forget = task.questions("forget", "confirm")
    found = with_result(found, "ceiling", "rmu", FORMS, forget=answers(forget, 0.25))
    for attack in (LENS, RELEARNING):  # As if the audit had been stopped before them.
        del found.results[found.cells["attack", "rmu", attack].key]
    report = analyse(found)
    assert [row.attack for row in report.rows] == [FORMS]
    assert report.rows[0].gap_ci[0] <= 0
    verdict = report.model("rmu").verdict
    assert verdict is not None
    assert verdict.category != "intact"


def test_a_form_that_is_easier_for_everybody_is_no_finding(task: Task) -> None:
    """The original better at it, the never-knew model no worse, or as much with stems exchanged."""
    forget = task.questions("forget", "confirm")
    never_knew = of_forms(task, TWIN, 0.45, control=0.45)
    guessed = of_forms(task, ALONE, 0.45)
    shams = (answers(forget, 0.45),) * 3
    guessed = with_result(guessed, "attack", "rmu", FORMS, shams=shams)
    for found in (never_knew, guessed):
        original = found.baseline("before")
        sets = original.sets | {"forget": answers(forget, 0.7)}  # 100 % in the form.
        found = with_result(found, "baseline", "before", "", sets=sets)
        row, _, verdict = verdict_of(found)
        assert row.difference_ci[0] <= 0
        assert "another form" not in verdict.text
        assert verdict.category not in ("openly answered", "partly open")


def test_an_original_that_knows_in_another_form_only_is_told_so(task: Task) -> None:
    found = of_forms(task, ALONE, 0.25)
    sets = found.baseline("before").sets
    sets |= {"forget": answers(task.questions("forget", "confirm"), 0.25)}
    _, _, verdict = verdict_of(with_result(found, "baseline", "before", "", sets=sets))
    assert verdict.category == "not judged"
    assert "Asked in another form (measure cloze) it answers 100%" in verdict.text


def shifted(given: Answers, questions: tuple[Question, ...]) -> Answers:
    """The same with every letter called as the next one."""
    said = tuple((int(x) + 1) % 4 for x in given.said)
    right = tuple(float(s == q.answer) for s, q in zip(said, questions, strict=True))
    return Answers(values=right, said=said, margins=given.margins)


@pytest.mark.parametrize("labels", [TWIN, ALONE])
def test_every_attack_is_judged_under_the_letters_that_its_select_fold_suggests(
    task: Task, labels: dict[str, ModelRole]
) -> None:
    """A17: unlearned, then letters permuted: nothing is right but under other letters."""
    forget, select = task.questions("forget", "confirm"), task.questions("forget", "select")
    found = evidence(task, labels)
    plain_row, _, _ = verdict_of(found)
    tried = found.attack("rmu", LENS).tried[0]
    marked = shifted(answers(select, 0.75), select)
    tried = msgspec.structs.replace(tried, answers=BriefAnswers.of(marked))
    permuted = shifted(answers(forget, 0.75), forget)
    assert permuted.mean < 0.25
    about: Any = {"forget": permuted, "tried": (tried,), "decided_by": None}
    found = with_result(found, "attack", "rmu", LENS, **about)
    retain = shifted(answers(task.questions("retain", "confirm"), 1.0),
                     task.questions("retain", "confirm"))  # fmt: skip
    kept = shifted(answers(task.questions("retain", "select"), 1.0),
                   task.questions("retain", "select"))  # fmt: skip
    sets = found.baseline("rmu").sets | {"retain": retain, "retain_select": kept}
    row, _, verdict = verdict_of(with_result(found, "baseline", "rmu", "", sets=sets))
    assert row.renaming == (3, 0, 1, 2)
    assert (row.value, plain_row.renaming) == (0.75, None)
    assert row.difference >= 0.4
    assert verdict.category == "hidden at the output"
    assert "once its answer letters are renamed (ABCD to DABC)" in verdict.text


def test_a_letter_that_is_always_right_is_no_knowledge(task: Task) -> None:
    """A17: a collapsed model on a file whose right answer is always first is not intact."""
    first = tuple(q.rotated(q.answer) for q in task.forget)
    task = dataclasses.replace(task, forget=first)
    found = evidence(task, ALONE)
    sets = found.baseline("rmu").sets
    sets |= {"forget": answers(task.questions("forget", "confirm"), 1.0)}
    _, _, verdict = verdict_of(with_result(found, "baseline", "rmu", "", sets=sets))
    assert verdict.category == "not judged"
    assert "not measurably more than guessing" in verdict.text


def test_what_was_taught_joins_no_other_attack_where_no_control_was_taught(task: Task) -> None:
    """A8: the union and the cheapest attack are of those that can show knowledge."""
    alone, beside = (analyse(evidence(task, labels)).findings[0] for labels in (ALONE, TWIN))
    assert alone.union is not None
    assert beside.union is not None
    assert (alone.union.n_attacks, beside.union.n_attacks) == (1, 2)
    assert {name for each in alone.union.overlap for name in each.attacks} == {LENS}
    priced = {entry.attack for entry in alone.spent}
    assert priced == {LENS, RELEARNING}
    assert alone.cheapest_half in (LENS, None)


def beside_twins(task: Task, knows: float, taught: float, before: float = 0.25) -> Evidence:
    """An audit without a never-knew model: what a lens and relearning bring back on twins."""
    found = evidence(task, ALONE, twins=True)
    made_up = found.setup.twins("rmu")
    forget = task.questions("forget", "confirm")
    sets = found.baseline("rmu").sets
    sets |= {"twins": answers(made_up, 0.25), "forget": answers(forget, before)}
    found = with_result(found, "baseline", "rmu", "", sets=sets)
    for name in (LENS, RELEARNING):
        about = {"twins": answers(made_up, taught), "forget": answers(forget, knows)}
        found = with_result(found, "attack", "rmu", name, **about)
    return found


def test_facts_have_to_gain_more_than_twin_questions(task: Task) -> None:
    """Tier B: hidden knowledge is found; what made-up questions gain as well was not known."""
    row, _, verdict = verdict_of(beside_twins(task, 0.75, 0.25))
    assert (row.tier, verdict.tier) == ("B", "B")
    assert verdict.category == "hidden at the output"
    assert "made-up questions of the same form" in verdict.text
    levels = {c.against: c for c in row.contrasts}
    assert set(levels) == {"unlearned", "sham", "guessing", "twins"}
    assert levels["twins"].difference == pytest.approx(0.5)
    assert row.difference == pytest.approx(0.5)
    row, _, verdict = verdict_of(beside_twins(task, 0.75, 0.75))
    twins = next(c for c in row.contrasts if c.against == "twins")
    assert twins.difference == pytest.approx(0.0)
    assert row.p > 0.05
    assert verdict.category in ("no evidence", "inconclusive")


def test_at_tier_b_half_taught_openly_is_not_hidden_and_null_attacks_are_silent(task: Task) -> None:
    row, _, verdict = verdict_of(beside_twins(task, 0.6, 0.25, before=0.6))
    assert verdict.category == "partly open"
    assert (row.difference, row.p) == (0.0, 1.0)


def test_at_tier_b_attacks_taught_other_facts_count_and_the_tested_facts_do_not(
    task: Task,
) -> None:
    row, _, _ = verdict_of(beside_twins(task, 0.75, 0.25))
    grades = {"other facts of the domain": True, "the tested facts": False}
    for grade, counted in grades.items():
        about: Any = {"tier": "B", "evidence": grade}
        assert counts(msgspec.structs.replace(row, **about)) is counted
        assert not counts(msgspec.structs.replace(row, **about | {"tier": "C"}))


PLANTED: dict[str, ModelRole] = {**ALONE, "push": "planted"}


def test_planted_hiding_is_found_against_twin_questions_too(task: Task) -> None:
    """Tier B: what made-up questions gain as well finds no planted hiding either."""
    for taught, found in ((0.25, (LENS, RELEARNING)), (0.75, ())):
        audit = evidence(task, PLANTED, twins=True)
        for model in ("rmu", "push"):
            made_up = audit.setup.twins(model)
            assert len(made_up) > 0
            sets = audit.baseline(model).sets | {"twins": answers(made_up, 0.25)}
            audit = with_result(audit, "baseline", model, "", sets=sets)
            for name in (LENS, RELEARNING):
                about = {"twins": answers(made_up, taught)}
                audit = with_result(audit, "attack", model, name, **about)
        (control,) = analyse(audit).positive_controls
        assert set(control.found) == set(found)


def test_a_form_finds_no_planted_hiding_and_half_a_positive_control_is_none(task: Task) -> None:
    """Asked otherwise, planted hiding is open; whether attacks find it is another question."""
    forget = task.questions("forget", "confirm")
    audit = evidence(task, PLANTED, attacks=(FORMS, LENS))
    audit = with_result(audit, "attack", "push", LENS, forget=answers(forget, 0.25))
    (control,) = analyse(audit).positive_controls
    assert (control.attack, control.found) == (LENS, ())
    two = evidence(task, {**PLANTED, "filter": "planted"})
    assert len(analyse(two).positive_controls) == 2
    del two.results[two.cells["ceiling", "filter", LENS].key]
    assert analyse(two).positive_controls == ()


def test_a_form_is_judged_by_what_the_original_answers_in_it(task: Task) -> None:
    """Half of it in the task's form and all in the other: that is what can come back there."""
    found = of_forms(task, ALONE, 0.25)
    sets = found.baseline("before").sets
    sets |= {"forget": answers(task.questions("forget", "confirm"), 0.25)}
    row, _, _ = verdict_of(with_result(found, "baseline", "before", "", sets=sets))
    assert row.attack == FORMS
    assert row.detectable < 0.3


def test_what_twins_answer_in_a_form_was_not_known_there(task: Task) -> None:
    audit = beside_twins(task, 0.25, 0.25)
    assert audit.setup.plan.attacks == (LENS, RELEARNING)
    made_up, labels = audit.setup.twins("rmu"), ALONE
    audit = evidence(task, labels, attacks=(FORMS, LENS), twins=True)
    sets = audit.baseline("rmu").sets | {"twins": answers(made_up, 0.25)}
    audit = with_result(audit, "baseline", "rmu", "", sets=sets)
    for name in (FORMS, LENS):
        audit = with_result(audit, "attack", "rmu", name, twins=answers(made_up, 0.5))
    (findings,) = analyse(audit).findings
    assert findings.other_form is not None
    assert findings.other_form.openness.guessing == pytest.approx(0.5, abs=0.02)
    assert findings.union is not None
    assert findings.union.control >= 0.5 - 0.02


def test_names_of_letters_hold_for_questions_with_more_choices(task: Task) -> None:
    """A confirm fold with a fifth choice that no question of the select fold has."""
    forget = tuple(
        dataclasses.replace(q, choices=(*q.choices, "none of these"))
        if q.fold == "confirm" and i % 2
        else q
        for i, q in enumerate(task.forget)
    )
    task = dataclasses.replace(task, forget=forget)
    found = evidence(task, ALONE)
    select, confirm = task.questions("forget", "select"), task.questions("forget", "confirm")
    tried = found.attack("rmu", LENS).tried[0]
    marked = BriefAnswers.of(shifted(answers(select, 0.75), select))
    said = shifted(answers(confirm, 0.75), confirm)
    last = max(i for i, q in enumerate(confirm) if len(q.choices) == 5)
    said = msgspec.structs.replace(said, said=(*said.said[:last], 4, *said.said[last + 1 :]))
    tried = msgspec.structs.replace(tried, answers=marked)
    about: Any = {"forget": said, "tried": (tried,), "decided_by": None}
    row, _, _ = verdict_of(with_result(found, "attack", "rmu", LENS, **about))
    assert row.renaming == (3, 0, 1, 2, 4)


def test_texts_of_choices_have_no_letters_to_rename(task: Task) -> None:
    """A form that compares texts, whose answers are one place off."""
    select = task.questions("forget", "select")
    found = of_forms(task, ALONE, 0.25)
    tried = found.attack("rmu", FORMS).tried[0]
    marked = BriefAnswers.of(shifted(answers(select, 0.75), select))
    tried = msgspec.structs.replace(tried, answers=marked)
    found = with_result(found, "attack", "rmu", FORMS, tried=(tried,), decided_by=None)
    row, _, _ = verdict_of(found)
    assert (row.attack, row.renaming) == (FORMS, None)


def test_planted_hiding_has_what_is_left_of_the_budget(
    example_report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It decides about an audit, and ends none that is finished."""
    (model, *_), calls = example_report.unlearned, []
    assert model.verdict is not None
    verdict = msgspec.structs.replace(model.verdict, unearned=True)
    unearned = msgspec.structs.replace(
        example_report,
        models=tuple(
            msgspec.structs.replace(m, verdict=verdict) if m is model else m
            for m in example_report.models
        ),
        not_computed=(),
    )

    def run(*given: object, planted: bool = False, spent: float = 0.0) -> None:
        calls.append((planted, spent))
        if planted:
            raise BudgetError("nothing fits")

    monkeypatch.setattr("mechunlearn.analysis.analyse.run", run)
    monkeypatch.setattr("mechunlearn.analysis.analyse.analyse", lambda evidence: unearned)
    assert audit(AuditPlan(budget="90s"), tmp_path) == unearned
    assert [planted for planted, _ in calls] == [False, True]
    assert calls[0][1] == 0 < calls[1][1]


def test_what_was_said_is_kept_of_open_answers(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = answers

    def told(questions: tuple[Question, ...], share: float) -> Answers:
        made = chosen(questions, share)
        texts = tuple(
            f"It is {q.choices[int(s)]}." for q, s in zip(questions, made.said, strict=True)
        )
        return msgspec.structs.replace(made, said=texts)

    assert analyse(evidence(task, TWIN)).questions.texts is None
    monkeypatch.setitem(globals(), "answers", told)
    asked = dataclasses.replace(task, scoring="containment")
    report = analyse(evidence(asked, TWIN, attacks=(RELEARNING,)))
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json").questions == report.questions
    assert report.questions is not None
    first = task.questions("forget", "confirm")[0]
    assert report.questions.sets["forget"].shown == task.prompt.text(first, "containment")
    rows = [r for r in answer_rows(report) if r["set"] == "forget"]
    assert {(r["model"], r["attack"], r["arm"]) for r in rows} == {
        ("before", "", "baseline"), ("twin", "", "baseline"), ("rmu", "", "baseline"),
        ("rmu", RELEARNING, "attacked"), ("rmu", RELEARNING, "control"),
    }  # fmt: skip
    right = [q.choices[q.answer] for q in task.questions("forget", "confirm")]
    assert all((r["text"] == f"It is {right[r['index']]}.") == r["correct"] for r in rows)


def test_sentences_numbers_and_board_say_what_the_verdict_says(task: Task) -> None:
    report = analyse(of_forms(task, TWIN, 0.6))
    verdict = report.model("rmu").verdict
    assert verdict is not None
    assert "43% of what the original knows is open" in verdict.text
    _, means, rests = sentences(report, "rmu")
    assert "43% of what the original knows is open; the rest is hidden" in means
    # Asking otherwise is neither.
    assert rests.startswith("1 of 2 attacks that could show it brought back more")
    (standing,) = standings({"run": report})
    assert (standing.found, standing.tried) == (1, 2)


def test_the_gap_is_that_of_the_form_of_the_task(task: Task) -> None:
    found = of_forms(task, TWIN, 0.58)
    asked = task.questions("forget", "confirm")
    found = with_result(found, "ceiling", "rmu", FORMS, forget=answers(asked, 0.6))
    report = analyse(found)
    (headline,) = headlines(report)
    assert report.rows[0].gap == pytest.approx(0.35, abs=0.01)
    assert headline.numbers[0].value == "100% → 25%"
    assert headline.numbers[1].value == "75 points"


def test_attacks_that_are_missing_are_named_wherever_a_verdict_is(task: Task) -> None:
    found = without(of_forms(task, TWIN, 0.26), "attack", "rmu", LENS)
    found = without(found, "attack", "rmu", RELEARNING)
    report = analyse(found)
    verdict = report.model("rmu").verdict
    assert verdict is not None
    assert verdict.category == "inconclusive"
    missing = "Logit lens and relearning disjoint are not computed yet; the same command goes on."
    assert verdict.text.endswith(missing)
    assert "cannot show hidden knowledge" not in verdict.text
    assert sum(missing in sentence for sentence in sentences(report, "rmu")) == 1
    assert "not computed" not in str(sentences(analyse(of_forms(task, TWIN, 0.6)), "rmu"))


@pytest.mark.parametrize("labels", [TWIN, ALONE])
def test_attacks_that_only_ask_are_not_called_incomplete(
    task: Task, labels: dict[str, ModelRole]
) -> None:
    found = evidence(task, labels, attacks=(FORMS,))
    forget = answers(task.questions("forget", "confirm"), 0.26)
    report = analyse(with_result(found, "attack", "rmu", FORMS, forget=forget))
    (*_, rests) = sentences(report, "rmu")
    tier = "A" if labels is TWIN else "C"
    assert rests.startswith("None of these attacks could show hidden knowledge: it would have to")
    assert f"(control tier {tier})" in rests
    if labels is TWIN:
        part = without(of_forms(task, TWIN, 0.26), "attack", "rmu", LENS)
        part = without(part, "attack", "rmu", RELEARNING)
        (*_, rests) = sentences(analyse(part), "rmu")
        assert rests.startswith("No attack that could show hidden knowledge is complete: it")
