"""From scores to the report: estimates, baselines, RunCard."""

import dataclasses
from typing import Any

from mechunlearn.attacks.relearning import Curve, half_recovery
from mechunlearn.audit.state import State
from mechunlearn.audit.verdict import verdict
from mechunlearn.bench import letter_bias
from mechunlearn.environment import machine, versions
from mechunlearn.stats import holm, recovery
from mechunlearn.types import Report, RunCard

REFERENCE_FLOPS = 1e11
"""Arithmetic per second of two ordinary CPU cores; turns counted FLOPs into a row's ``seconds``."""


def assemble(state: State, unlearned: dict[str, str], controls: dict[str, str | None]) -> Report:
    """Estimates for every unlearned model and attack, and everything a reader needs beside them."""
    rows = [
        _row(state, name, attack, controls.get(name))
        for name in unlearned
        for attack in state.plan.attacks
    ]
    for row, p in zip(rows, holm([r["p_value"] for r in rows]), strict=True):
        row["p_holm"] = _short(p)
    shown = ["original", *(["never_knew"] if "never_knew" in state.scores else []), *unlearned]
    shown += [f"{n} control" for n, c in controls.items() if c and n in state.plan.methods]
    baselines = {
        name: {
            key: {"accuracy": _short(s.accuracy), "accuracy_ci": _short(s.interval), "n": s.n}
            for key, s in state.scores[name].items()
            if not key.endswith("_select")
        }
        for name in shown
    }
    for name in unlearned:
        mine = [r for r in rows if r["unlearned"] == name]
        _half_recovery(state, name)
        state.details[name]["verdict"] = verdict(mine, baselines, state.task.chance)
        if state.task.scoring == "letter":
            share = letter_bias(state.scores[name]["forget"])
            state.details[name]["letter_share"] = [_short(float(x)) for x in share]
    return Report(_runcard(state), baselines, rows, state.details)


def _row(state: State, name: str, attack: str, control: str | None) -> dict[str, Any]:
    scores, arms = state.scores, state.arms[name, attack]
    choice = state.choices[name, attack]
    before = scores[name]["forget"]
    attacked_control = arms["control"] if control else arms["sham"]
    found = recovery(
        original=scores["original"]["forget"].correct,
        unlearned=before.correct,
        attacked=arms["attacked"].correct,
        control=(scores[f"{name} control"]["forget"] if control else before).correct,
        attacked_control=attacked_control.correct,
        seed=state.plan.seed,
    )
    flops = state.flops[name, attack]
    return {
        "unlearned": name,
        "attack": attack,
        "settings": choice.candidate.settings,
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
        "within_limit": choice.within_limit,
        "flops": flops,
        "seconds": _short(flops / REFERENCE_FLOPS),
    }


def _half_recovery(state: State, name: str) -> None:
    """Beside every relearning curve, the price of half of the gap for each arm."""
    before = {"unlearned": name, "never_knew": f"{name} control"}
    for seen in state.details[name].get("attacks", {}).values():
        arms = {arm: part for arm, part in seen.items() if "curves" in part}
        for arm, part in arms.items():
            curves = [Curve.from_dict(c) for c in part["curves"]]
            start = state.scores[before[arm]]["forget"].accuracy
            original = state.scores["original"]["forget"].accuracy
            limit = state.plan.retain_limit
            point = half_recovery(curves, start=start, original=original, limit=limit)
            part["half_recovery"] = point and {"steps": point.steps, "samples": point.samples}
            part["most_samples"] = max(p.samples for c in curves for p in c.points)


def _short(value: Any) -> Any:
    """Six significant digits, so that files stay readable."""
    if isinstance(value, tuple):
        return [_short(v) for v in value]
    return None if value is None else float(f"{value:.6g}")


def _runcard(state: State) -> dict[str, Any]:
    task = state.task
    card = RunCard(
        command=state.plan.command(state.out),
        seed=state.plan.seed,
        models=state.models,
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
        settings=state.plan.to_dict(),
        versions=versions(),
        machine=machine(next(iter(state.models.values()))["device"]),
        seconds=state.seconds,
    )
    return dataclasses.asdict(card)
