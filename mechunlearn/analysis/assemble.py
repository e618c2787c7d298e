"""From the store to the report: a pure function of the finished cells."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mechunlearn.analysis.across import cost, evidence, relabelled, said, shared
from mechunlearn.analysis.answers import answered
from mechunlearn.analysis.records import Report, RunCard
from mechunlearn.analysis.recovery import recovery
from mechunlearn.analysis.tests import best_of_k, holm
from mechunlearn.analysis.verdict import judge
from mechunlearn.attacks.curves import Curve, half_recovery
from mechunlearn.audit.cells import Cell, Setup
from mechunlearn.audit.select import shuffled_answers
from mechunlearn.audit.store import expanded
from mechunlearn.bench import letter_bias
from mechunlearn.stats import two_sided
from mechunlearn.types import Score

REFERENCE_FLOPS = 1e11
"""Arithmetic per second of two ordinary CPU cores; turns counted FLOPs into a row's ``seconds``."""


@dataclass
class Results:
    """The finished cells of a set-up audit."""

    setup: Setup
    found: dict[str, dict[str, Any]]
    """By the cells' keys."""

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], Cell]:
        """By kind, model and attack."""
        return {(c.kind, c.model, c.attack): c for c in self.setup.cells}

    def cell(self, kind: str, model: str, attack: str = "") -> dict[str, Any]:
        """A finished cell's result."""
        return self.found[self.cells[kind, model, attack].key]

    def has(self, kind: str, model: str, attack: str = "") -> bool:
        """Whether a cell is finished, or not part of this audit."""
        cell = self.cells.get((kind, model, attack))
        return cell is None or cell.key in self.found

    @cached_property
    def answers(self) -> Mapping[str, tuple[list[int], int]]:
        """Question set -> right choices, and the number of choices."""
        original = self.cell("baseline", "original")
        return {
            name: ([int(mark) for mark in text], original["choices"][name])
            for name, text in original["answers"].items()
        }

    def score(self, model: str, questions: str) -> Score:
        """A model's answers without any attack."""
        predictions = self.cell("baseline", model)["predictions"][questions]
        return self.expand(model, predictions, questions)

    def expand(self, name: str, predictions: str, questions: str = "forget") -> Score:
        """A score from a cell's predictions."""
        return expanded(name, predictions, *self.answers[questions])

    def rows(self) -> list[tuple[str, str]]:
        """Unlearned models and attacks of which every arm is there."""
        return [
            (name, attack)
            for name in self.setup.unlearned
            for attack in self.setup.plan.attacks
            if all(self.has(kind, name, attack) for kind in ("attack", "control", "ceiling"))
        ]

    def arms(self, name: str, attack: str) -> dict[str, Score]:
        """Every arm of one attack on the confirm fold, by name."""
        mine = self.cell("attack", name, attack)
        arms = {"attacked": self.expand("attacked", mine["predictions"]["attacked"])}
        arms["retain"] = self.expand("retain", mine["predictions"]["retain"], "retain")
        shams = [self.expand("sham", text) for text in mine["shams"]]
        arms["sham"] = (
            sorted(shams, key=lambda s: s.accuracy)[len(shams) // 2]
            if shams
            else shuffled_answers(arms["attacked"], self.setup.plan.seed)
        )
        ceiling = self.cell("ceiling", name, attack)["predictions"]["original"]
        arms["original"] = self.expand("original", ceiling)
        if ("control", name, attack) in self.cells:
            control = self.cell("control", name, attack)["predictions"]["control"]
            arms["control"] = self.expand("control", control)
        return arms


def assemble(results: Results, out: Path, making: Mapping[str, float]) -> Report:
    """Estimates for every unlearned model and attack, and everything a reader needs beside them.

    Args:
        out: The audit's folder, for the command that repeats it.
        making: Measured seconds that models took to make.
    """
    setup = results.setup
    arms = {key: results.arms(*key) for key in results.rows()}
    rows = [_row(results, *key, arms[key]) for key in arms]
    for row, p in zip(rows, holm([r["p_value"] for r in rows]), strict=True):
        row["p_holm"] = _short(p)
    made = [m for m in setup.sources if m.endswith(" control") and m[:-8] in setup.plan.methods]
    shown = [m for m in ("original", "never_knew") if m in setup.sources] + setup.unlearned + made
    baselines = {name: _baseline(results, name) for name in shown}
    details: dict[str, Any] = {"guessing": results.cell("baseline", "original")["guessing"]}
    if setup.task.scoring == "letter":
        details["said"] = {name: said(results.score(name, "forget")) for name in shown}
    if "logit_lens" in setup.plan.attacks:
        details["original"] = {"lens": results.cell("baseline", "original")["lens"]}
    todo = [[n, a] for n in setup.unlearned for a in setup.plan.attacks if (n, a) not in arms]
    if todo:
        details["not_computed"] = todo
    for name in setup.unlearned:
        mine = [r for r in rows if r["unlearned"] == name]
        details[name] = _details(results, name, mine, {a: arms[n, a] for n, a in arms if n == name})
    for name in setup.unlearned:
        details[name] |= judge(
            name,
            [r for r in rows if r["unlearned"] == name],
            baselines,
            details[name],
            setup.task.chance,
        )
    kept = answered(setup, results.cell, list(arms), shown)
    return Report(_runcard(results, out, making), baselines, rows, details, questions=kept)


def _baseline(results: Results, name: str) -> dict[str, Any]:
    scores = {
        key: results.score(name, key)
        for key in results.cell("baseline", name)["predictions"]
        if not key.endswith("_select")
    }
    return {
        key: {"accuracy": _short(s.accuracy), "accuracy_ci": _short(s.interval), "n": s.n}
        for key, s in scores.items()
    }


def _row(results: Results, name: str, attack: str, arms: Mapping[str, Score]) -> dict[str, Any]:
    before, control = results.score(name, "forget"), "control" in arms
    attacked_control = arms["control"] if control else arms["sham"]
    found = recovery(
        original=results.score("original", "forget").correct,
        unlearned=before.correct,
        attacked=arms["attacked"].correct,
        control=(results.score(f"{name} control", "forget") if control else before).correct,
        attacked_control=attacked_control.correct,
        seed=results.setup.plan.seed,
    )
    cell = results.cell("attack", name, attack)
    row = {
        "unlearned": name,
        "attack": attack,
        "settings": cell["settings"],
        "n": before.n,
        "accuracy": _short(arms["attacked"].accuracy),
        "accuracy_ci": _short(arms["attacked"].interval),
        "recovery": _short(found.ratio),
        "recovery_ci": _short(found.ratio_ci),
        "difference": _short(found.difference),
        "difference_ci": _short(found.difference_ci),
        "gap": _short(found.gap),
        "gap_ci": _short(found.gap_ci),
        "p_value": found.p_value,
        "p_holm": 1.0,
        "detectable": _short(found.detectable),
        "control": "never_knew" if control else "sham",
        "control_accuracy": _short(attacked_control.accuracy),
        "sham_accuracy": _short(arms["sham"].accuracy),
        "original_accuracy": _short(arms["original"].accuracy),
        "retain_accuracy": _short(arms["retain"].accuracy),
        "within_limit": cell["within_limit"],
        "flops": cell["flops"],
        "seconds": _short(cell["flops"] / REFERENCE_FLOPS),
    }
    return row | {
        "evidence": evidence(attack),
        "n_settings": len(cell["tried"]),
        "p_best_of_k": _short(_best_of_k(results, name, cell)),
    }


def _best_of_k(results: Results, name: str, cell: Mapping[str, Any]) -> float:
    """Whether the chosen settings gained more on the select fold than the best of as many would."""
    answers, _ = results.answers["forget_select"]
    on = slice(None) if cell["tried_on"] is None else cell["tried_on"]
    right = np.array(answers, dtype=np.uint8)[on] + ord("0")
    tried = [
        np.frombuffer(text.encode(), dtype=np.uint8) == right for text in cell["tried_predictions"]
    ]
    before = results.score(name, "forget_select").correct[on]
    return best_of_k(tried, before, seed=results.setup.plan.seed)


def _details(
    results: Results, name: str, rows: list[dict[str, Any]], arms: Mapping[str, Mapping[str, Score]]
) -> dict[str, Any]:
    """What the figures and the verdict need beside the rows."""
    detail: dict[str, Any] = {"tried": {}}
    for attack in arms:
        cell = results.cell("attack", name, attack)
        detail["tried"][attack] = cell["tried"]
        control = (
            results.cell("control", name, attack) if "control" in arms[attack] else {"details": {}}
        )
        if cell["details"]:
            detail.setdefault("attacks", {})[attack] = {"unlearned": cell["details"]}
        if control["details"]:
            detail["attacks"][attack]["never_knew"] = control["details"]
        if "lens" in cell:
            detail["lens"] = cell["lens"]
        if "lens" in control:
            detail["control_lens"] = control["lens"]
        if "projection" in cell:
            ceiling = results.cell("ceiling", name, attack)
            detail["projection"] = {name: cell["projection"], "original": ceiling["projection"]}
    _half_recovery(results, name, detail)
    before = results.score(name, "forget")
    if results.setup.task.scoring == "letter":
        share = letter_bias(before)
        detail["letter_share"] = [_short(float(x)) for x in share]
        folds = [
            (results.score(model, "forget_select"), results.score(model, "forget"))
            for model in (name, f"{name} control")
            if model in results.setup.sources
        ]
        detail["relabelled"] = relabelled(*folds[0], folds[1] if folds[1:] else None)
    chance = results.setup.task.chance
    detail["against_chance"] = {
        "p_value": two_sided(int(before.correct.sum()), before.n, chance),
        "below": before.accuracy < chance,
    }
    if rows:
        controls = f"{name} control" if "control" in next(iter(arms.values())) else name
        detail["union"] = shared(
            arms,
            original=results.score("original", "forget"),
            unlearned=before,
            control=results.score(controls, "forget"),
            seed=results.setup.plan.seed,
        )
        detail["cost"] = cost(rows, detail.get("attacks", {}), _baseline(results, name))
    return detail


def _half_recovery(results: Results, name: str, detail: dict[str, Any]) -> None:
    """Beside every relearning curve, the price of half of the gap for each arm."""
    before = {"unlearned": name, "never_knew": f"{name} control"}
    for seen in detail.get("attacks", {}).values():
        arms = {arm: part for arm, part in seen.items() if "curves" in part}
        for arm, part in arms.items():
            curves = [Curve.from_dict(c) for c in part["curves"]]
            start = results.score(before[arm], "forget").accuracy
            original = results.score("original", "forget").accuracy
            limit = results.setup.plan.retain_limit
            point = half_recovery(curves, start=start, original=original, limit=limit)
            part["half_recovery"] = point and {"steps": point.steps, "samples": point.samples}
            part["most_samples"] = max(p.samples for c in curves for p in c.points)


def _short(value: Any) -> Any:
    """Six significant digits, so that files stay readable."""
    if isinstance(value, tuple):
        return [_short(v) for v in value]
    return None if value is None else float(f"{value:.6g}")


def _runcard(results: Results, out: Path, making: Mapping[str, float]) -> dict[str, Any]:
    setup, task = results.setup, results.setup.task
    seconds = dict(making)
    for cell in setup.cells:
        if cell.key in results.found:
            about = f"{cell.attack} on {cell.model}" if cell.attack else f"of {cell.model}"
            seconds[f"{cell.kind}: {about}"] = results.found[cell.key]["seconds"]
    original = results.cell("baseline", "original")
    card = RunCard(
        command=setup.plan.command(out),
        seed=setup.plan.seed,
        models={name: results.cell("baseline", name)["model"] for name in setup.sources},
        task={
            "name": task.name,
            "scoring": task.scoring,
            "chance": task.chance,
            "n": {
                f"{role}, {fold}": len(task.questions(role, fold))
                for role in ("forget", "retain")
                for fold in ("select", "confirm")
            },
        },
        settings=setup.plan.to_dict(),
        versions=original["versions"],
        machine=original["machine"],
        seconds=seconds | {"total": round(sum(seconds.values()), 2)},
    )
    return dataclasses.asdict(card)
