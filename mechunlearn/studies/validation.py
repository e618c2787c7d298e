"""Audits of models whose truth is known: how often attacks and verdict find what is there."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechunlearn.analysis.records import Report, RunCard
from mechunlearn.analysis.verdict import CATEGORIES, significant
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.run import audit
from mechunlearn.environment import machine, versions, write_json
from mechunlearn.models import ORGANISMS
from mechunlearn.organisms.recipe import FACTS, Recipe, Role, train_organism
from mechunlearn.progress import console
from mechunlearn.registry import DEFAULT_ATTACKS, METHODS
from mechunlearn.stats import wilson
from mechunlearn.studies.truths import CONDITIONS, Condition, distil, make_suspect
from mechunlearn.tasks import load_task
from mechunlearn.tasks.world import World


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """Worlds, conditions and attacks of a validation.

    Raises:
        ValueError: If there are no seeds, or an attack or setting is unknown.
    """

    seeds: tuple[int, ...] = (0, 1, 10, 11, 12, 13, 14)
    """Worlds: with shipped organisms where there are some, else with small ones made here."""
    attacks: tuple[str, ...] = DEFAULT_ATTACKS
    changes: tuple[str, ...] = ()
    """Settings of attacks and of the conditions' unlearning methods."""
    conditions: tuple[Condition, ...] = CONDITIONS
    recipe: Recipe = FACTS

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("a validation needs at least one seed")
        methods = tuple({c.treatment for c in self.conditions} & set(METHODS))
        AuditPlan(methods=methods, attacks=self.attacks, changes=self.changes)

    @property
    def attack_changes(self) -> tuple[str, ...]:
        """The settings that are not of unlearning methods."""
        return tuple(c for c in self.changes if c.partition(".")[0] in self.attacks)


@dataclass(frozen=True, slots=True)
class Judged:
    """One audited suspect."""

    seed: int
    condition: Condition
    report: Report

    @property
    def row(self) -> dict[str, Any]:
        """What the result file says about it."""
        name = self.condition.name
        detail = self.report.details[name]
        return {
            "seed": self.seed,
            "condition": name,
            "truth": self.condition.truth,
            "category": detail["category"],
            "original": self.report.baselines["original"]["forget"]["accuracy"],
            "suspect": self.report.baselines[name]["forget"]["accuracy"],
            "retain": self.report.baselines[name]["retain"]["accuracy"],
            "gap": self.report.rows[0]["gap_ci"][0] > 0,
            "fired": [r["attack"] for r in self.report.rows if significant(r)],
            "accuracy": {r["attack"]: r["accuracy"] for r in self.report.rows},
            "control": {r["attack"]: r["control_accuracy"] for r in self.report.rows},
            "p_holm": {r["attack"]: r["p_holm"] for r in self.report.rows},
        }


def validate(
    plan: ValidationPlan, out: Path, add: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Make every suspect of every seed, audit it, and count; goes on where it was stopped.

    Args:
        add: Results of other validations, whose models are counted too.

    Returns:
        The summary, also written to ``out/validation.json`` after every seed.

    Raises:
        ValueError: If a folder under ``out`` holds something else.
    """
    judged: list[Judged] = []
    for seed in plan.seeds:
        folder = out / f"seed-{seed}"
        letters = shipped(seed)
        models = _shipped(seed) if letters else _organisms(plan, seed, folder)
        for condition in (c for c in plan.conditions if c.possible(letters)):
            console.print(f"[dim]seed {seed}, {condition.truth}: {condition.name}[/dim]")
            judged.append(Judged(seed, condition, _audited(plan, seed, condition, folder, models)))
        others = [row for other in add for row in other["models"]]
        summary = summarise(others + [j.row for j in judged], plan.attacks)
        summary["runcard"] = _runcard(plan, out, judged)
        summary["added"] = [other["runcard"] for other in add]
        write_json(out / "validation.json", summary)
    return summary


def shipped(seed: int) -> bool:
    """Whether the package has this world's organisms; they answer with letters."""
    return (ORGANISMS / f"original@{seed}").is_dir()


def _shipped(seed: int) -> dict[str, str]:
    return {"original": f"organism:original@{seed}", "twin": f"organism:never_knew@{seed}"}


def _organisms(plan: ValidationPlan, seed: int, folder: Path) -> dict[str, str]:
    """The world's models: original, twin, stranger, and the stranger's copy."""
    stranger = dataclasses.replace(plan.recipe, start=1)
    wanted: dict[str, tuple[Role, Path, Recipe]] = {
        "original": ("original", folder / "organisms", plan.recipe),
        "twin": ("never_knew", folder / "organisms", plan.recipe),
        "stranger": ("never_knew", folder / "strangers", stranger),
    }
    found = {}
    for name, (role, where, recipe) in wanted.items():
        found[name] = str(where / f"{role}@{seed}")
        if not Path(found[name]).exists():
            train_organism(role, seed, where, recipe)
    if any(c.start == "distilled" for c in plan.conditions):
        found["distilled"] = str(folder / "organisms" / "distilled")
        distil(found["stranger"], seed, plan.recipe, Path(found["distilled"]))
    return found


def _audited(
    plan: ValidationPlan, seed: int, condition: Condition, folder: Path, models: dict[str, str]
) -> Report:
    name = f"{'organism' if shipped(seed) else 'facts'}@{seed}"
    task, world = load_task(name), World(seed)
    suspect = folder / "suspects" / condition.name
    control = folder / "controls" / (condition.treatment or "twin")
    for source, target in ((models[condition.start], suspect), (models["twin"], control)):
        make_suspect(source, condition.treatment, target, task, world, plan.changes)
    return audit(
        AuditPlan(
            original=models["original"],
            unlearned=(str(suspect),),
            control=str(control),
            task=name,
            attacks=plan.attacks,
            changes=plan.attack_changes,
            seed=seed,
        ),
        folder / "audits" / condition.name,
    )


def summarise(rows: Sequence[dict[str, Any]], attacks: Sequence[str]) -> dict[str, Any]:
    """Sensitivity and false-alarm rate of each attack and of the verdict, with 95 % intervals.

    An attack is sensitive if it fires on hidden models that have a gap; without a gap there is
    nothing to bring back. The verdict is right about a hidden model if it says hidden or intact,
    and raises a false alarm if it says either of a model that has nothing. Models of open truth
    are in the confusion table only.
    """
    hidden = [r for r in rows if r["truth"] == "hidden"]
    gone = [r for r in rows if r["truth"] == "gone"]
    with_gap = [r for r in hidden if r["gap"]]
    confusion = {
        name: {c: _count(rows, name, c) for c in CATEGORIES if _count(rows, name, c)}
        for name in dict.fromkeys(r["condition"] for r in rows)
    }
    return {
        "attacks": {
            attack: _rates(
                [attack in r["fired"] for r in with_gap], [attack in r["fired"] for r in gone]
            )
            for attack in attacks
        },
        "verdict": _rates([_present(r) for r in hidden], [_present(r) for r in gone])
        | {"confusion": confusion},
        "models": list(rows),
        "schema": 1,
    }


def _count(rows: Sequence[dict[str, Any]], condition: str, category: str) -> int:
    return sum(r["condition"] == condition and r["category"] == category for r in rows)


def _present(row: dict[str, Any]) -> bool:
    return row["category"].startswith(("hidden", "intact"))


def _rates(hidden: Sequence[bool], gone: Sequence[bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, fired in (("sensitivity", hidden), ("false_alarm_rate", gone)):
        n = len(fired)
        found[name] = sum(fired) / n if n else None
        found[f"{name}_ci"] = list(wilson(sum(fired), n)) if n else None
        found[f"{name}_n"] = n
    return found


def _runcard(plan: ValidationPlan, out: Path, judged: Sequence[Judged]) -> dict[str, Any]:
    words = ["mechunlearn validate --seeds", ",".join(map(str, plan.seeds))]
    words += ["--attacks", ",".join(plan.attacks)]
    words += [x for change in plan.changes for x in ("--set", change)]
    seconds = {f"{j.condition.name}@{j.seed}": j.report.runcard["seconds"]["total"] for j in judged}
    card = RunCard(
        command=" ".join([*words, "--out", str(out)]),
        seed=plan.seeds[0],
        models={},
        task={j.report.runcard["task"]["name"]: j.report.runcard["task"] for j in judged},
        settings={
            "seeds": list(plan.seeds),
            "attacks": list(plan.attacks),
            "changes": list(plan.changes),
            "conditions": [dataclasses.asdict(c) for c in plan.conditions],
            "recipe": dataclasses.asdict(plan.recipe),
        },
        versions=versions(),
        machine=machine("cpu"),
        seconds=seconds,
    )
    return dataclasses.asdict(card)
