"""Audits of models whose truth is known: how often attacks and verdict find what is there."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.records import Category
from mechunlearn.analysis.report import Report
from mechunlearn.analysis.verdict import CATEGORIES, significant
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.environment import machine, versions, write_json
from mechunlearn.models import ORGANISMS
from mechunlearn.organisms.recipe import FACTS, Recipe, Role, train_organism
from mechunlearn.progress import console
from mechunlearn.records import Interval, plain
from mechunlearn.registry import DEFAULT_ATTACKS, METHODS
from mechunlearn.stats import wilson
from mechunlearn.studies.records import (
    Rates,
    Suspect,
    ValidationCard,
    ValidationResult,
    VerdictRates,
)
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


def validate(
    plan: ValidationPlan, out: Path, add: Sequence[ValidationResult] = ()
) -> ValidationResult:
    """Make every suspect of every seed, audit it, and count; goes on where it was stopped.

    Args:
        add: Results of other validations, whose models are counted too.

    Returns:
        The result, also written to ``out/validation.json`` after every seed.

    Raises:
        ValueError: If a folder under ``out`` holds something else.
    """
    suspects = [suspect for other in add for suspect in other.models]
    reports: dict[str, Report] = {}
    for seed in plan.seeds:
        folder = out / f"seed-{seed}"
        letters = shipped(seed)
        models = _shipped(seed) if letters else _organisms(plan, seed, folder)
        for condition in (c for c in plan.conditions if c.possible(letters)):
            console.print(f"[dim]seed {seed}, {condition.truth}: {condition.name}[/dim]")
            report = _audited(plan, seed, condition, folder, models)
            reports[f"{condition.name}@{seed}"] = report
            suspects.append(suspect_of(report, seed, condition))
        card = _runcard(plan, out, reports)
        result = summarise(suspects, plan.attacks, card, [other.runcard for other in add])
        write_json(out / "validation.json", plain(result))
    return result


def suspect_of(report: Report, seed: int, condition: Condition) -> Suspect:
    """What the result says of one audited suspect."""
    (model,) = report.unlearned
    assert model.verdict is not None
    return Suspect(
        seed=seed,
        condition=condition.name,
        truth=condition.truth,
        category=model.verdict.category,
        original=report.original.sets["forget"].value,
        suspect=model.sets["forget"].value,
        retain=model.sets["retain"].value,
        gap=report.rows[0].gap_ci[0] > 0,
        fired=tuple(row.attack for row in report.rows if significant(row)),
        accuracy={row.attack: row.value for row in report.rows},
        control={row.attack: row.compared for row in report.rows},
        p_holm={row.attack: row.p_adjusted for row in report.rows},
    )


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


def summarise(
    suspects: Sequence[Suspect],
    attacks: Sequence[str],
    card: ValidationCard,
    added: Sequence[ValidationCard] = (),
) -> ValidationResult:
    """Sensitivity and false-alarm rate of each attack and of the verdict, with 95 % intervals.

    An attack is sensitive if it fires on hidden models that have a gap; without a gap there is
    nothing to bring back. The verdict is right about a hidden model if it says hidden or intact,
    and raises a false alarm if it says either of a model that has nothing. Models of open truth
    are in the confusion table only.
    """
    hidden = [s for s in suspects if s.truth == "hidden"]
    gone = [s for s in suspects if s.truth == "gone"]
    with_gap = [s for s in hidden if s.gap]
    verdict = _rates([_present(s) for s in hidden], [_present(s) for s in gone])
    return ValidationResult(
        attacks={
            attack: _rates([attack in s.fired for s in with_gap], [attack in s.fired for s in gone])
            for attack in attacks
        },
        verdict=VerdictRates(
            **msgspec.structs.asdict(verdict),
            confusion={
                condition: {c: n for c in CATEGORIES if (n := _count(suspects, condition, c))}
                for condition in dict.fromkeys(s.condition for s in suspects)
            },
        ),
        models=tuple(suspects),
        runcard=card,
        added=tuple(added),
        schema=1,
    )


def _count(suspects: Sequence[Suspect], condition: str, category: Category) -> int:
    return sum(s.condition == condition and s.category == category for s in suspects)


def _present(suspect: Suspect) -> bool:
    return suspect.category.startswith(("hidden", "intact"))


def _rates(hidden: Sequence[bool], gone: Sequence[bool]) -> Rates:
    """From whether something fired, model by model."""
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
    words += ["--attacks", ",".join(plan.attacks)]
    words += [x for change in plan.changes for x in ("--set", change)]
    return ValidationCard(
        command=" ".join([*words, "--out", str(out)]),
        seed=plan.seeds[0],
        task={report.runcard.task.name: report.runcard.task for report in reports.values()},
        settings=plain(plan),
        versions=versions(),
        machine=machine("cpu"),
        seconds={name: report.runcard.seconds["total"] for name, report in reports.items()},
    )
