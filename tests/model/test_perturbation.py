"""Changed prompts: what each kind does, that informed changes act, and as many for the sham."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mechunlearn.attacks import NoSettings, Search, Seen
from mechunlearn.attacks.jailbreaks import JAILBREAKS, Jailbreak, Template
from mechunlearn.attacks.perturbation_informed import (
    AtRandom,
    Informed,
    InformedConfig,
    InformedEdit,
    InformedPerturbation,
    filler_before,
    nearest_push,
    split_token,
)
from mechunlearn.attacks.perturbation_naive import (
    SHUFFLE,
    Material,
    Naive,
    NaiveConfig,
    NaivePerturbation,
    NaiveSearch,
    naive_grid,
    rewriting,
)
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.records import Answers
from mechunlearn.audit.run import run
from mechunlearn.bench import score
from mechunlearn.models import load
from mechunlearn.records import plain, typed
from mechunlearn.types import Change, Example, HookedModel, Rewrite, Task, Turn

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


def changed_characters(before: str, after: str) -> int:
    """Letters that are another one; in a longer text what was added, all else left in order."""
    if len(before) == len(after):
        return sum(a != b for a, b in zip(before, after, strict=True))
    rest = iter(after)
    assert all(character in rest for character in before)
    return len(after) - len(before)


UNUSUAL = NaiveConfig(characters=("~ ", SHUFFLE, "ab"), every=(1, 2), rates=(0.02, 1.0))
SETTINGS = {**NaivePerturbation.presets, "unusual": UNUSUAL}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_sham_is_another_text_with_as_many_changed_characters(
    name: str, task: Task, material: Material
) -> None:
    """Of every variant that is offered, insertions after every character included."""
    prompts = [task.prompt.letter_prompt(q) for q in task.questions("forget", "confirm")[:20]]
    search = NaiveSearch(naive_grid(SETTINGS[name]), material)
    (offered,) = search.variants()
    assert {v.every for v in offered if v.kind == "insert"} == set(SETTINGS[name].every)
    for variant in offered:
        attack = search.change(variant).rewrite
        attacked = [attack(p) for p in prompts]
        sizes = [changed_characters(*pair) for pair in zip(prompts, attacked, strict=True)]
        assert sum(sizes) > 0
        for seed in range(3):
            sham = search.sham(variant, seed).rewrite
            placebos = [sham(p) for p in prompts]
            differ = sum(a != b for a, b in zip(attacked, placebos, strict=True))
            assert differ > len(prompts) / 2, variant
            pairs = zip(prompts, placebos, strict=True)
            assert [changed_characters(*pair) for pair in pairs] == sizes, variant


def test_what_has_no_other_sham_is_not_offered() -> None:
    """Lower case of lower case changes nothing; the control is the same prompts in capitals."""
    grid = [Naive(kind=k) for k in ("lower case", "upper case", "repeat", "lead-in")]
    grid += [Naive(kind="insert", what="~", every=n) for n in (1, 400)]
    for prompt, left_out in ((TEXT, "lower case"), (TEXT.upper(), "upper case")):
        examples = tuple(Example(prompt.replace("?", "?" * n), " A") for n in range(1, 5))
        material = Material(("so",), ("please",), examples, " . ")
        (offered,) = NaiveSearch(grid, material).variants()
        # One word has no other order, and no prompt is 400 characters long.
        assert offered == [v for v in grid[:-1] if v.kind not in (left_out, "lead-in")]
    unknown = Material(("so",), ("please",), (), " . ")  # Without prompts all are tried.
    assert next(NaiveSearch(grid, unknown).variants()) == grid
    search, text = NaiveSearch([], unknown), "die Straße am Ωτ , wo ?"
    upper, sham = (c.rewrite(text) for c in (search.change(grid[1]), search.sham(grid[1], 0)))
    assert upper == "DIE STRASSE AM ΩΤ , wo ?" != sham
    assert len(sham) == len(upper) == len(text) + 1


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
    sham = AtRandom(edit, 0, attack=rewrite)
    sham.prepare(organism, texts, Turn())
    assert sum(rewrite.changes.values()) > 0

    def most(changed: list[str]) -> float:
        return sum(max(row) for row in rewrite.cosines(organism, changed)) / len(changed)

    before, after = most(texts), most([rewrite(t) for t in texts])
    at_random = most([sham(t) for t in texts])
    assert before > 0.6
    assert after < at_random
    if change == "split":
        assert after < before - 0.05
    assert all(rewrite(t).split()[-2:] == t.split()[-2:] for t in texts)


def test_no_direction_no_change(organism: HookedModel, task: Task) -> None:
    """The control: nothing points along a direction by more than its whole length."""
    rewrite = Informed(split_token, 0, 1, torch.ones(organism.cfg.d_model), 0.99, 5)
    rewrite.prepare(organism, [TEXT], Turn())
    assert rewrite(TEXT) == TEXT


@pytest.mark.parametrize("rounds", [2, 12])
def test_the_informed_sham_changes_every_prompt_as_often_as_the_attack(
    rounds: int, organism: HookedModel, task: Task
) -> None:
    asked = task.questions("forget", "select")[:16]
    attack = InformedPerturbation()
    config = InformedConfig(thresholds=(0.35,), rounds=rounds)
    seen = Seen.of(task, attack, asked=asked)
    original = attack.learn(load("organism:never_knew"), seen, config)
    search = attack.search(organism, seen, original, config)
    texts = [task.prompt.letter_prompt(q) for q in task.questions("retain", "confirm")[:16]]
    for variant in next(search.variants()):
        rewrite = search.change(variant).rewrite
        shams = [search.sham(variant, seed).rewrite for seed in range(3)]
        shams[0].prepare(organism, texts, Turn())  # Counts the attack's changes by itself.
        assert set(rewrite.changes) == set(texts)
        for one in (rewrite, *shams):
            one.prepare(organism, texts, Turn())
            added = [len(one(t)) - len(t) for t in texts]
            assert sum(added) > 0
            if variant.change == "filler word":
                added = [len(one(t).split()) - len(t.split()) for t in texts]
            assert added == [rewrite.changes[t] for t in texts]
        differ = [sum(rewrite(t) != sham(t) for t in texts) for sham in shams]
        assert min(differ) > len(texts) / 2
        # The control: some prompts are done before the rounds are, so that they differ in number.
        if rounds == 12 and variant.change == "split":
            assert 0 < min(rewrite.changes.values()) < max(rewrite.changes.values())


def test_the_ceiling_is_the_same_where_it_is_taken_up_later(
    tiny_plan: AuditPlan, tmp_path: Path
) -> None:
    """The original is asked what the attacked model recognises, in one run or in two."""
    changes = ("perturbation_informed.thresholds=(0.0,)", "perturbation_informed.rounds=3")
    plan = dataclasses.replace(tiny_plan, attacks=("perturbation_informed",), changes=changes)

    def ceiling() -> Answers:
        return run(plan, tmp_path).ceiling("after", "perturbation_informed").forget

    whole = ceiling()
    (file,) = (tmp_path / "cells").glob("ceiling-*")
    file.unlink()
    assert ceiling() == whole
    # The control: what the original would change by itself is something else.
    file.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Informed, "prepare", of_the_model_asked)
        assert ceiling() != whole


def of_the_model_asked(self: Informed, model: HookedModel, texts: list[str], turn: Turn) -> None:
    """As ``Informed.prepare``, without a memory."""
    self.texts.clear()
    prepare(self, model, texts, turn)


prepare = Informed.prepare


SPLIT = InformedEdit("split", 0.2)


def informed(attacked: HookedModel, original: HookedModel, task: Task) -> Search[InformedEdit]:
    attack = InformedPerturbation()
    config = InformedConfig(thresholds=(0.2,), rounds=2)
    seen = Seen.of(task, attack, asked=task.questions("forget", "select")[:16])
    return attack.rebuild(attacked, seen, attack.learn(original, seen, config), SPLIT, config)


def scale_(model: HookedModel, part: str) -> None:
    """Edit one part of a model as unlearning might."""
    parts = {"last": model.blocks[-1].mlp, "first": model.blocks[0].mlp, "norm": model.ln_final}
    with torch.no_grad():
        for weight in parts[part].parameters():
            weight.mul_(4.0)


def test_the_push_is_taken_where_there_is_one(organism: HookedModel, task: Task) -> None:
    """After an edited last block; of an edited final norm there is none, and nothing changes."""
    last = organism.cfg.n_layers - 1
    edited, texts = load("organism:original"), [task.prompt.letter_prompt(task.forget[0])]
    nothing = informed(edited, organism, task).change(SPLIT).rewrite
    nothing.prepare(edited, texts, Turn())
    assert [nothing(t) for t in texts] == texts
    scale_(edited, "last")
    search = informed(edited, organism, task)
    assert search.layer == last
    rewrite = search.change(SPLIT).rewrite
    texts = [task.prompt.letter_prompt(q) for q in task.forget[:8]]
    rewrite.prepare(edited, texts, Turn())
    assert sum(rewrite(t) != t for t in texts) > 4
    scale_(edited, "first")  # The control: where an inner block has one, not after the last.
    assert informed(edited, organism, task).layer == last - 1
    first, norm = load("organism:original"), load("organism:original")
    scale_(first, "first")
    assert informed(first, organism, task).layer == 0
    scale_(norm, "norm")
    assert not informed(norm, organism, task).push.any()


def test_the_nearest_push() -> None:
    pushes = torch.zeros(6, 3)
    pushes[1], pushes[5], pushes[4] = 1.0, 2.0, torch.inf
    assert [nearest_push(pushes, wanted) for wanted in (0, 1, 2, 4)] == [1, 1, 1, 5]
    assert nearest_push(torch.zeros(6, 3), 2) == 2


def test_mistakes_are_told(tiny: Callable[[str], HookedModel]) -> None:
    for wrong in ({"every": (0,)}, {"rates": (2.0,)}):
        with pytest.raises(ValueError, match="every needs"):
            NaiveConfig(**wrong)
    with pytest.raises(ValueError, match="cosines"):
        InformedConfig(thresholds=(1.0,))
