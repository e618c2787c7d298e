"""Changed prompts: what each kind does, that informed changes act, and as many for the sham."""

import dataclasses
import random
from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks.jailbreaks import JAILBREAKS
from mechunlearn.attacks.perturbation import (
    INFORMED,
    JAILBREAK,
    NAIVE,
    PRESETS,
    Informed,
    PerturbationConfig,
    filler_before,
    naive,
    naive_grid,
    split_token,
)
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.types import HookedModel, Rewrite, Task

TEXT = "question what is the glow of boralin ? letter :"


@pytest.mark.parametrize("settings", naive_grid(PerturbationConfig()), ids=str)
def test_every_naive_kind_changes_the_prompt_and_keeps_its_end(settings: dict, task: Task) -> None:
    changed = naive(settings, task)(TEXT, random.Random(0))
    assert changed.endswith("letter :")
    if settings["kind"] != "lower case" and settings.get("rate", 1) > 0.1:
        assert changed != TEXT
    sham = naive(settings, task, sham=True)(TEXT, random.Random(0))
    assert sham.endswith("letter :")


def test_insertions_are_counted_and_placed(task: Task) -> None:
    settings = {"kind": "insert", "what": "~", "every": 5}
    body = TEXT.removesuffix("letter :")
    changed = naive(settings, task)(TEXT, random.Random(0))
    assert changed.count("~") == len(body) // 5
    assert changed.startswith("quest~ion w~")
    sham = naive(settings, task, sham=True)(TEXT, random.Random(0))
    assert sham.count("~") == changed.count("~")
    assert sham != changed


def test_paper_grid_has_its_size() -> None:
    grid = naive_grid(PRESETS["paper"])
    assert sum(s["kind"] in ("insert", "insert at random") for s in grid) == 12 * 9


def test_candidates_are_equal_in_every_run(organism: HookedModel, task: Task) -> None:
    config = PerturbationConfig()
    found = NAIVE.find(organism, task, (), None, config)
    settings = {"kind": "fillers", "rate": 0.3}
    one, two = found.build(settings).rewrite, found.build(settings).rewrite
    assert one(TEXT) == two(TEXT) != TEXT
    template = JAILBREAK.find(organism, task, (), None, config).build({"template": "actor"})
    assert template.rewrite(TEXT).endswith(TEXT)
    assert all(t.count("{prompt}") == 1 for t in JAILBREAKS.values())


def test_changed_prompts_are_what_is_scored(organism: HookedModel, task: Task) -> None:
    """Every word broken up: nothing is known any more. Nothing changed: the same logits."""
    found = NAIVE.find(organism, task, (), None, PerturbationConfig())
    broken = found.build({"kind": "insert", "what": "~", "every": 1}).rewrite
    asked = task.retain[:40]
    plain = score(organism, asked, task.prompt)
    same = dataclasses.replace(task.prompt, rewrite=Rewrite(lambda text, rng: text))
    assert (score(organism, asked, same).logits == plain.logits).all()
    lost = score(organism, asked, dataclasses.replace(task.prompt, rewrite=broken))
    assert plain.accuracy > 0.9 > 0.6 > lost.accuracy


@pytest.mark.parametrize("change", ["split", "filler"])
def test_informed_changes_take_activations_off_the_direction(
    change: str, organism: HookedModel, task: Task
) -> None:
    texts = [task.prompt.letter_prompt(q) for q in task.questions("forget", "select")[:24]]
    with torch.no_grad():
        tokens = torch.tensor([organism.tokenizer(texts[0])["input_ids"]])
        push = organism(tokens, stop_at_layer=2)[0, 2]  # One token's own direction.
    edit = split_token if change == "split" else filler_before(["well", "so"])
    rewrite = Informed(edit, 0, 1, push, threshold=0.6, rounds=6)
    rewrite.prepare(organism, texts)
    sham = Informed(edit, 0, 1, push, threshold=0.6, rounds=6, at_random=True)
    sham.prepare(organism, texts)
    assert sum(rewrite.changes.values()) > 0

    def most(changed: list[str]) -> float:
        return sum(max(row) for row in rewrite.cosines(organism, changed)) / len(changed)

    before, after = most(texts), most([rewrite(t) for t in texts])
    at_random = most([sham(t) for t in texts])
    assert before > 0.6
    assert after <= at_random
    if change == "split":
        assert after < before - 0.05
    assert all(rewrite(t).split()[-2:] == t.split()[-2:] for t in texts)


def test_no_direction_no_change(organism: HookedModel, task: Task) -> None:
    """The control: nothing points along a direction by more than its whole length."""
    rewrite = Informed(split_token, 0, 1, torch.ones(organism.cfg.d_model), 0.99, 5)
    rewrite.prepare(organism, [TEXT])
    assert rewrite(TEXT) == TEXT


def test_the_informed_attack_runs_and_matches_its_sham_in_size(
    organism: HookedModel, task: Task
) -> None:
    asked = task.questions("forget", "select")[:16]
    reference = INFORMED.reference(load("organism:never_knew"), task, asked)
    config = PerturbationConfig(thresholds=(0.0,), rounds=2)
    found = INFORMED.find(organism, task, asked, reference, config)
    texts = [task.prompt.letter_prompt(q) for q in asked]
    settings = {"change": "filler word", "threshold": 0.0}
    rewrite, sham = found.build(settings).rewrite, found.sham(settings, 1).rewrite
    for one in (rewrite, sham):
        one.prepare(organism, texts)
        assert all(len(one(t).split()) == len(t.split()) + one.changes[t] for t in texts)
    assert any(rewrite(t) != sham(t) for t in texts)


def test_mistakes_are_told(tiny: Callable[[str], HookedModel]) -> None:
    for wrong in ({"every": (0,)}, {"rates": (2.0,)}):
        with pytest.raises(ValueError, match="every needs"):
            PerturbationConfig(**wrong)
    with pytest.raises(ValueError, match="cosines"):
        PerturbationConfig(thresholds=(1.0,))
