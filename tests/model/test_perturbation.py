"""Changed prompts: what each kind does, that informed changes act, and as many for the sham."""

import random
from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import NoSettings, Seen
from mechunlearn.attacks.jailbreaks import JAILBREAKS, Jailbreak, Template
from mechunlearn.attacks.perturbation_informed import (
    Informed,
    InformedConfig,
    InformedEdit,
    InformedPerturbation,
    filler_before,
    split_token,
)
from mechunlearn.attacks.perturbation_naive import (
    Material,
    Naive,
    NaiveConfig,
    NaivePerturbation,
    NaiveSearch,
    naive_grid,
    rewriting,
)
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.records import plain, typed
from mechunlearn.types import Change, HookedModel, Rewrite, Task, Turn

TEXT = "question what is the glow of boralin ? letter :"


@pytest.fixture(scope="module")
def material(task: Task) -> Material:
    return Material.of(Seen.of(task, NaivePerturbation()))


@pytest.mark.parametrize("variant", naive_grid(NaiveConfig()), ids=lambda v: str(plain(v)))
def test_every_naive_kind_changes_the_prompt_and_keeps_its_end(
    variant: Naive, material: Material
) -> None:
    changed = rewriting(variant, material)(TEXT, random.Random(0))
    assert changed.endswith("letter :")
    if variant.kind != "lower case" and variant.rate != 0.1:
        assert changed != TEXT
    sham = rewriting(variant, material, sham=True)(TEXT, random.Random(0))
    assert sham.endswith("letter :")


def test_variants_are_kept_without_what_their_kind_does_not_use() -> None:
    variant = Naive(kind="fillers", rate=0.3)
    assert plain(variant) == {"kind": "fillers", "rate": 0.3}
    assert typed(plain(variant), Naive, "here") == variant


def test_insertions_are_counted_and_placed(material: Material) -> None:
    variant = Naive(kind="insert", what="~", every=5)
    body = TEXT.removesuffix("letter :")
    changed = rewriting(variant, material)(TEXT, random.Random(0))
    assert changed.count("~") == len(body) // 5
    assert changed.startswith("quest~ion w~")
    sham = rewriting(variant, material, sham=True)(TEXT, random.Random(0))
    assert sham.count("~") == changed.count("~")
    assert sham != changed


def test_paper_grid_has_its_size() -> None:
    grid = naive_grid(NaivePerturbation.presets["paper"])
    assert sum(v.kind in ("insert", "insert at random") for v in grid) == 13 * 9


def test_changes_are_equal_in_every_run(
    organism: HookedModel, task: Task, material: Material
) -> None:
    search = NaiveSearch([], material)
    variant = Naive(kind="fillers", rate=0.3)
    one, two = search.change(variant).rewrite, search.change(variant).rewrite
    assert one(TEXT) == two(TEXT) != TEXT
    attack = Jailbreak()
    jailbreaks = attack.search(organism, Seen.of(task, attack), None, NoSettings())
    actor = Template("actor")
    assert jailbreaks.change(actor).rewrite(TEXT).endswith(TEXT)
    sham = jailbreaks.sham(actor, 1).rewrite(TEXT)
    assert sorted(sham.split()) == sorted(jailbreaks.change(actor).rewrite(TEXT).split())
    assert all(t.count("{prompt}") == 1 for t in JAILBREAKS.values())


def test_changed_prompts_are_what_is_scored(
    organism: HookedModel, task: Task, material: Material
) -> None:
    """Every word broken up: nothing is known any more. Nothing changed: the same logits."""
    broken = NaiveSearch([], material).change(Naive(kind="insert", what="~", every=1))
    asked = task.retain[:40]
    before = score(organism, asked, task.prompt)
    same = Change("same", rewrite=Rewrite(lambda text, rng: text))
    assert (score(organism, asked, task.prompt, change=same).logits == before.logits).all()
    lost = score(organism, asked, task.prompt, change=broken)
    assert before.accuracy > 0.9 > 0.6 > lost.accuracy


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
    rewrite.prepare(organism, texts, Turn())
    sham = Informed(edit, 0, 1, push, threshold=0.6, rounds=6, at_random=True)
    sham.prepare(organism, texts, Turn())
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
    rewrite.prepare(organism, [TEXT], Turn())
    assert rewrite(TEXT) == TEXT


def test_the_informed_attack_runs_and_matches_its_sham_in_size(
    organism: HookedModel, task: Task
) -> None:
    asked = task.questions("forget", "select")[:16]
    attack = InformedPerturbation()
    config = InformedConfig(thresholds=(0.0,), rounds=2)
    seen = Seen.of(task, attack, asked=asked)
    original = attack.learn(load("organism:never_knew"), seen, config)
    search = attack.search(organism, seen, original, config)
    texts = [task.prompt.letter_prompt(q) for q in asked]
    variant = InformedEdit("filler word", 0.0)
    rewrite, sham = search.change(variant).rewrite, search.sham(variant, 1).rewrite
    for one in (rewrite, sham):
        one.prepare(organism, texts, Turn())
        assert all(len(one(t).split()) == len(t.split()) + one.changes[t] for t in texts)
    assert any(rewrite(t) != sham(t) for t in texts)
    assert search.change(variant).rewrite is rewrite  # Asked of the original, the same prompts.


def test_mistakes_are_told(tiny: Callable[[str], HookedModel]) -> None:
    for wrong in ({"every": (0,)}, {"rates": (2.0,)}):
        with pytest.raises(ValueError, match="every needs"):
            NaiveConfig(**wrong)
    with pytest.raises(ValueError, match="cosines"):
        InformedConfig(thresholds=(1.0,))
