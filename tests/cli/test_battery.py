"""Every attack on every family of models: real configuration classes, random weights."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mechunlearn.analysis.analyse import audit
from mechunlearn.analysis.report import Report
from mechunlearn.attacks.logit_lens import LensTrace
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.models import save
from mechunlearn.plots import figures
from mechunlearn.registry import ATTACKS
from mechunlearn.report import render
from mechunlearn.tasks.world import World
from mechunlearn.types import HookedModel

FAMILIES = ("gpt2", "gpt_neox", "llama", "mistral", "gemma2", "gemma3", "qwen2", "qwen3")
FAST = ("direction_ablation", "logit_lens", "pruning_heads", "relearning_disjoint", "gcg")
QUICK = {
    "ablation_search": ("trials=3", "random=2"),
    "pruning": ("levels=(0.1, 0.4)", "examples=8"),
    "relearning": ("rates=(1e-3,)", "seeds=(0,)", "steps=2", "max_tokens=64"),
    "perturbation_naive": ("rates=(0.1,)", "every=(5,)"),
    "perturbation_informed": ("thresholds=(0.2,)", "rounds=1"),
    "gcg": ("search.steps=2", "search.restarts=1", "questions=6"),
    "soft_prompt": ("steps=2",),
    "latent_perturbation": ("steps=2",),
}
"""Settings by the beginning of an attack's name: small, since nothing is to be found here."""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few questions and texts of the fictional world."""
    task = World(0).task()
    lines: list[dict[str, object]] = [
        {"set": role, "stem": q.stem, "choices": q.choices, "answer": q.answer, "source": q.source}
        for role in ("forget", "retain")
        for q in getattr(task, role)[::16]
    ]
    for role in ("forget_text", "plain_text"):
        lines += [{"set": role, "text": text} for text in getattr(task, role)[:8]]
    file = tmp_path_factory.mktemp("questions") / "task.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def battery(
    make: Callable[..., HookedModel], family: str, attacks: tuple[str, ...], task: Path, out: Path
) -> Report:
    """An audit of a random-weight model, from loading its folder to the report."""
    before, after = (str(save(make(family, seed), out / f"{seed}")) for seed in (0, 1))
    changes = [
        f"{attack}.{change}"
        for attack in attacks
        for name, own in QUICK.items()
        if attack.startswith(name)
        for change in own
    ]
    plan = AuditPlan(
        original=before,
        unlearned=(after,),
        control="none",
        task=str(task),
        attacks=attacks,
        changes=tuple(changes),
    )
    return audit(plan, out / "run")


def check(report: Report, attacks: tuple[str, ...]) -> None:
    assert {row.attack for row in report.rows} == set(attacks)
    for row in report.rows:
        assert 0 <= row.value <= 1
        assert math.isfinite(row.difference)
        assert row.seconds > 0
    assert "<html" in render(report)
    assert figures(report)


@pytest.mark.ci
@pytest.mark.parametrize(
    "family", [f if f == "gpt_neox" else pytest.param(f, marks=pytest.mark.long) for f in FAMILIES]
)
def test_some_attacks_run_on_every_family(
    family: str, tiny: Callable[..., HookedModel], questions: Path, tmp_path: Path
) -> None:
    chosen = FAST if family in ("gpt_neox", "gemma3") else FAST[1:3]
    check(battery(tiny, family, chosen, questions, tmp_path), chosen)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_attack_runs_on_every_family(
    family: str, tiny: Callable[..., HookedModel], questions: Path, tmp_path: Path
) -> None:
    chosen = tuple(a for a in ATTACKS if a != "relearning_questions")  # Needs plain_examples.
    report = battery(tiny, family, chosen, questions, tmp_path)
    check(report, chosen)
    lens = report.findings_of("1").trace(LensTrace, "logit_lens")
    assert lens is not None
    streams = {place.stream for place in lens.places}
    assert ("resid_mid" in streams) == (family != "gpt_neox")
