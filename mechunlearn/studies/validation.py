"""Audits of models whose truth is known: how often attacks and verdict find what is there."""

import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.records import Category
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.significance import significant
from mechunlearn.analysis.verdict import CATEGORIES
from mechunlearn.attacks.grades import fitting
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.store import share_cells
from mechunlearn.environment import machine, versions, write_json
from mechunlearn.organisms.recipe import FACTS, Recipe
from mechunlearn.progress import console
from mechunlearn.records import Interval, plain
from mechunlearn.registry import METHODS
from mechunlearn.stats import wilson
from mechunlearn.studies.conditions import CONDITIONS, FULL, FULL_CHAT, Condition, Kind
from mechunlearn.studies.nulls import add_nulls
from mechunlearn.studies.question_sets import write_questions
from mechunlearn.studies.records import (
    Rates,
    Situation,
    SituationRates,
    Suspect,
    ValidationCard,
    ValidationResult,
    VerdictRates,
)
from mechunlearn.studies.treatments import TEACHING, Case, make_suspect
from mechunlearn.studies.world_models import MADE, known_models, made_models, shipped
from mechunlearn.tasks import load_task
from mechunlearn.tasks.people import People
from mechunlearn.tasks.world import World

TASKS: dict[Kind, str] = {"letters": "organism", "facts": "facts", "chat": "chat"}
OPEN: tuple[Category, ...] = ("openly answered", "partly open")
"""Verdicts that say the knowledge is answered without any attack."""


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """Worlds, conditions and attacks of a validation.

    Raises:
        ValueError: If there are no seeds or not the models of one, or an attack or setting is
            unknown.
    """

    seeds: tuple[int, ...] = MADE
    """Worlds: with shipped organisms where there are some, else with small ones made here."""
    attacks: tuple[str, ...] = ()
    """Empty: those of an audit with the same kind of control."""
    changes: tuple[str, ...] = ()
    """Settings of attacks and of the conditions' unlearning methods."""
    conditions: tuple[Condition, ...] = CONDITIONS
    recipe: Recipe = FACTS
    chat: bool = False
    """The chat organisms, of the worlds that are shipped, in place of the word-level ones."""
    twins: str = ""
    """Folder of twins of a real model, as ``organism train --kind chat --base`` makes them: in
    place of the chat organisms, and asked about the same facts."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("a validation needs at least one seed")
        for seed in self.seeds:
            known_models(seed, chat=self.chat, twins=self.twins)
        if odd := [c for c in self.changes if c.startswith("task.")]:
            raise ValueError(f"--set {odd[0]!r}: how models are asked is part of a validation")
        methods = tuple({t for c in self.conditions for t in c.treatments} & set(METHODS))
        AuditPlan(methods=methods, attacks=self.attacks, changes=self.changes)

    def kind(self, seed: int) -> Kind:
        """What the models of a world are."""
        return "chat" if self.chat or self.twins else "letters" if shipped(seed) else "facts"

    def models(self, seed: int, folder: Path) -> dict[str, str]:
        """The models of a world by what they are in it; made in ``folder`` where need be."""
        if known := known_models(seed, chat=self.chat, twins=self.twins):
            return known
        copy = any(c.start == "distilled" for c in self.conditions)
        return made_models(seed, folder, self.recipe, distilled=copy)

    def changes_of(self, attacks: Sequence[str]) -> tuple[str, ...]:
        """The settings of these attacks."""
        return tuple(c for c in self.changes if c.partition(".")[0] in attacks)


def validate(
    plan: ValidationPlan, out: Path, add: Sequence[ValidationResult] = ()
) -> ValidationResult:
    """Make every suspect of every seed, audit it, and count; goes on where it was stopped.

    Args:
        add: Results of other validations, whose models are counted too.

    Returns:
        The result, also written to ``out/validation.json`` after every condition.

    Raises:
        ValueError: If ``out`` or a folder under it holds something else.
    """
    _refuse_other_models(plan, out / "validation.json")
    suspects, earlier = [s for other in add for s in other.models], [x.runcard for x in add]
    reports: dict[str, Report] = {}
    full = FULL_CHAT if plan.chat or plan.twins else FULL

    def counted() -> ValidationResult:
        card = _runcard(plan, out, reports)
        result = summarise(suspects, card, earlier, full)
        write_json(out / "validation.json", plain(result))
        return result

    for seed in plan.seeds:
        folder = out / f"seed-{seed}"
        kind = plan.kind(seed)
        models = plan.models(seed, folder)
        possible = [c for c in plan.conditions if c.possible(kind) and c.start in models]
        for condition in possible:
            console.print(f"[dim]seed {seed}, {condition.truth}: {condition.name}[/dim]")
            for situation, report in _audited(plan, seed, condition, folder, models):
                reports[f"{condition.name}@{seed}, {situation}"] = report
                suspects.append(suspect_of(report, seed, condition, situation))
            counted()
    return counted()


def _refuse_other_models(plan: ValidationPlan, file: Path) -> None:
    """Suspects are kept by what was done to them, so that a folder is for one set of models.

    Raises:
        ValueError: If the file is no result, or one of other models.
    """
    if not file.exists():
        return
    before = ValidationResult.load(file).runcard.settings
    if (before.get("chat", False), before.get("twins", "")) != (plan.chat, plan.twins):
        raise ValueError(
            f"{file.parent} holds a validation of other models (--chat or --twins); nothing was "
            "overwritten: choose another --out"
        )


def suspect_of(report: Report, seed: int, condition: Condition, situation: Situation) -> Suspect:
    """What the result says of one audited suspect."""
    (model,) = report.unlearned
    assert model.verdict is not None
    return Suspect(
        seed=seed,
        condition=condition.name,
        truth=condition.truth,
        situation=situation,
        n=model.sets["forget"].n,
        category=model.verdict.category,
        original=report.original.sets["forget"].value,
        suspect=model.sets["forget"].value,
        retain=model.sets["retain"].value,
        gap=min(report.rows, key=lambda row: row.only_asks).gap_ci[0] > 0,
        fired=tuple(row.attack for row in report.rows if significant(row)),
        accuracy={row.attack: row.value for row in report.rows},
        control={row.attack: row.compared for row in report.rows},
        p_holm={row.attack: row.p_adjusted for row in report.rows},
    )


def _audited(
    plan: ValidationPlan, seed: int, condition: Condition, folder: Path, models: dict[str, str]
) -> Iterator[tuple[Situation, Report]]:
    """The same suspect with every kind of control; what the audits share is computed once."""
    name = f"{TASKS[kind := plan.kind(seed)]}@{seed}"
    world = People(seed) if kind == "chat" else World(seed)
    task = load_task(name, models["original"])
    suspect = folder / "suspects" / (condition.start + "-" + condition.treatment)
    source = Case(models[condition.start], task, world)
    make_suspect(source, condition.treatments, suspect, plan.changes)
    controls: dict[Situation, str] = {
        "none": "none",
        "twins": "none",
        "untreated": models["twin"],
    }
    same = tuple(t for t in condition.treatments if t not in TEACHING)
    treated = folder / "controls" / ("+".join(same) or "twin")
    make_suspect(Case(models["twin"], task, world), same, treated, plan.changes)
    controls["treated"] = str(treated)
    asked: tuple[str, ...] = ()
    if condition.questions != "all":
        del controls["twins"]  # A file of questions has none.
        file = folder / "questions" / f"{condition.questions}.jsonl"
        name = write_questions(task, condition.questions, seed, file)
        asked = ("task.scoring=cloze",)
    for situation, control in controls.items():
        out = folder / "audits" / condition.name / situation
        share_cells(out, folder / "cells")
        made = AuditPlan(
            original=models["original"],
            unlearned=(str(suspect),),
            control=(control,),
            task=name,
            attacks=plan.attacks,
            seed=seed,
        )
        changes = (*plan.changes_of(made.attacks), *asked)
        if situation != "twins":
            changes = (*changes, "task.twins=none")
        if kind == "chat":  # Answers in words decide nothing here.
            changes = (*changes, "task.also=none")
        tier = {"none": "C", "twins": "B"}.get(situation, "A")
        attacks = made.attacks if plan.attacks else fitting(made.attacks, tier, task)
        attacks = (*attacks, *add_nulls())
        yield situation, audit(dataclasses.replace(made, attacks=attacks, changes=changes), out)


def summarise(
    suspects: Sequence[Suspect],
    card: ValidationCard,
    added: Sequence[ValidationCard] = (),
    full: int = FULL,
) -> ValidationResult:
    """Sensitivity and false-alarm rates with 95 % intervals, for each kind of control.

    An attack is sensitive if it fires on hidden models that have a gap; without a gap there is
    nothing to bring back. The verdict is right about a hidden model if it says that the knowledge
    is there: hidden, intact, or openly or partly answered. It raises a false alarm if it says
    hidden or intact of a model that hides nothing, or openly or partly answered of one that was
    taught nothing. Sensitivity is of audits with ``full`` questions or more. Models of other truths
    are in the confusion table only.
    """
    situations: tuple[Situation, ...] = get_args(Situation)
    groups = {name: [s for s in suspects if s.situation == name] for name in situations}
    return ValidationResult(
        situations={name: _situation(group, full) for name, group in groups.items() if group},
        models=tuple(suspects),
        runcard=card,
        added=tuple(added),
        schema=2,
    )


def _situation(suspects: Sequence[Suspect], enough: int) -> SituationRates:
    hidden = [s for s in suspects if s.truth == "hidden"]
    gone = [s for s in suspects if s.truth == "gone"]
    full = [s for s in hidden if s.n >= enough]
    with_gap = [s for s in full if s.gap]
    verdict = _rates(
        [_present(s) or s.category in OPEN for s in full],
        [_present(s) or (s.category in OPEN and "taught" not in s.condition) for s in gone],
    )
    return SituationRates(
        attacks={
            attack: _rates([attack in s.fired for s in with_gap], [attack in s.fired for s in gone])
            for attack in dict.fromkeys(a for s in suspects for a in s.accuracy)
        },
        verdict=VerdictRates(
            **msgspec.structs.asdict(verdict),
            missed=sum(s.category == "no evidence" for s in hidden),
            confusion={
                condition: {c: n for c in CATEGORIES if (n := _count(suspects, condition, c))}
                for condition in dict.fromkeys(s.condition for s in suspects)
            },
        ),
    )


def _count(suspects: Sequence[Suspect], condition: str, category: Category) -> int:
    return sum(s.condition == condition and s.category == category for s in suspects)


def _present(suspect: Suspect) -> bool:
    return suspect.category.startswith(("hidden", "intact"))


def _rates(hidden: Sequence[bool], gone: Sequence[bool]) -> Rates:
    seen, sensitive = _rate(hidden)
    wrong, alarmed = _rate(gone)
    return Rates(
        sensitivity=seen,
        sensitivity_ci=sensitive,
        sensitivity_n=len(hidden),
        false_alarm_rate=wrong,
        false_alarm_rate_ci=alarmed,
        false_alarm_rate_n=len(gone),
    )


def _rate(fired: Sequence[bool]) -> tuple[float | None, Interval | None]:
    n = len(fired)
    return (sum(fired) / n, wilson(sum(fired), n)) if n else (None, None)


def _runcard(plan: ValidationPlan, out: Path, reports: Mapping[str, Report]) -> ValidationCard:
    words = ["mechunlearn validate --seeds", ",".join(map(str, plan.seeds))]
    words += ["--chat"] if plan.chat else []
    words += ["--twins", shlex.quote(plan.twins)] if plan.twins else []
    if plan.conditions != CONDITIONS:
        words += ["--conditions", ",".join(c.name for c in plan.conditions)]
    words += ["--attacks", ",".join(plan.attacks)] if plan.attacks else []
    words += [x for change in plan.changes for x in ("--set", change)]
    devices = {report.runcard.machine.device for report in reports.values()}
    return ValidationCard(
        command=" ".join([*words, "--out", str(out)]),
        seed=plan.seeds[0],
        task={report.runcard.task.name: report.runcard.task for report in reports.values()},
        settings=plain(plan),
        versions=versions(),
        machine=machine(" and ".join(sorted(devices)) or "cpu"),
        seconds={name: report.runcard.seconds["total"] for name, report in reports.items()},
    )
