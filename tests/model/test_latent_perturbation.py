"""Latent perturbations: within their limit, found where a push hides, nothing where nothing is."""

import dataclasses

import pytest
import torch

from mechunlearn.attacks import Confirm, Scored, Seen
from mechunlearn.attacks.equal_size import change_sizes
from mechunlearn.attacks.latent_perturbation import (
    EMBEDDINGS,
    LatentConfig,
    LatentPerturbation,
    LatentSearch,
    Perturbation,
    Shift,
    inner_layers,
    median_norms,
)
from mechunlearn.attacks.limits import LimitTrace
from mechunlearn.bench import score
from mechunlearn.models import fingerprint, load
from mechunlearn.types import Change, HookedModel, Point, Task

FEW = LatentConfig(eps=(0.5, 1.0), rank=2, steps=2, batch=4, questions=8)


def searched(model: HookedModel, task: Task, config: LatentConfig) -> LatentSearch:
    attack = LatentPerturbation()
    return attack.search(model, Seen.of(task, attack, config=config), None, config)


@pytest.mark.parametrize("rank", [0, 3])
def test_no_state_moves_further_than_the_limit(rank: int) -> None:
    torch.manual_seed(0)
    up = 9 * torch.randn(16, max(1, rank))
    down = torch.randn(rank, 16) if rank else None
    x = torch.randn(2, 5, 16)
    moved = Shift(3.0, 0.5, up, down)(x, None) - x
    assert torch.allclose(moved.norm(dim=-1), torch.full((2, 5), 1.5), atol=1e-4)
    small = Shift(3.0, 0.5, up / 1e4, down)(x, None) - x
    assert 0 < small.norm(dim=-1).max() < 0.15
    assert (moved.std(dim=(0, 1)).max() > 0.01) == bool(rank)  # A map looks at the state.


def test_norms_are_those_of_plain_forwards(any_tiny: HookedModel) -> None:
    texts = ["the glow of boralin is", "question what is the craft of boralin"]
    layers = (EMBEDDINGS, 0, 1)
    found = median_norms(any_tiny, texts, layers)
    rows = [torch.tensor([any_tiny.tokenizer(t)["input_ids"]]) for t in texts]
    caches = [any_tiny.run_with_cache(row)[1] for row in rows]
    for layer in layers:
        name = "hook_embed" if layer == EMBEDDINGS else Point(layer).name
        norms = torch.cat([cache[name][0].norm(dim=-1) for cache in caches])
        assert found[layer] == pytest.approx(float(norms.median()), rel=1e-3)


@pytest.mark.ci
def test_layers_are_raced_and_the_sham_is_as_large(organism: HookedModel, task: Task) -> None:
    before = fingerprint(organism)
    search = searched(organism, task, FEW)
    judged = set(task.questions("forget", "select")) - set(
        Seen.of(task, LatentPerturbation(), config=FEW).forget
    )
    trained = {organism.tokenizer.decode(row.tokens) for row in search.rows}
    assert not [q for q in judged if any(q.stem in text for text in trained)]
    rounds = search.variants()
    layers = next(rounds)
    assert layers == [Perturbation(i, 1.0, 0) for i in (EMBEDDINGS, 0, 1, 2)]
    rest = rounds.send([Scored(0.0), Scored(0.0), Scored(1.0), Scored(0.0)])
    assert rest == [Perturbation(1, e, r) for r in (0, 2) for e in (0.5, 1.0)][:1] + [
        Perturbation(1, e, 2) for e in (0.5, 1.0)
    ]
    for variant in (layers[0], rest[1]):
        sizes = [
            change_sizes(organism, change, search.texts)[0]
            for change in (search.change(variant), search.sham(variant, 0))
        ]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)
        assert 0 < sizes[0] <= variant.eps * search.norms[variant.layer] * 1.001
    assert fingerprint(organism) == before
    view = search.view(rest[0])
    asked = task.questions("forget", "confirm")[:8]
    shown = view(organism, Confirm(asked, asked, task.prompt, task.scoring))
    assert isinstance(shown, LimitTrace)
    assert shown.where == "vector at layer 1"
    assert [c.name for c in shown.curves] == ["trained", "random"]
    assert shown.eps == (0.5, 1.0)


@pytest.fixture
def pushed(organism: HookedModel) -> HookedModel:
    """The original with a vector added after block 1, in its MLP's bias: known truth."""
    vector = torch.randn(organism.cfg.d_model, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        organism.blocks[1].mlp.out.original_component.bias.add_(150 * vector / vector.norm())
    return organism


@pytest.mark.ci
def test_a_push_is_taken_back_and_the_sham_takes_nothing_back(
    pushed: HookedModel, task: Task
) -> None:
    config = LatentConfig(steps=32, batch=8, questions=32, retain_share=0.0)
    search = searched(pushed, task, config)
    variant = Perturbation(1, 1.0, 0)
    asked = task.questions("forget", "confirm")[:80]

    def right(change: Change) -> float:
        return score(pushed, asked, task, change=change).accuracy

    assert right(Change("none")) < 0.6
    assert right(search.sham(variant, 0)) < 0.6
    assert right(search.change(variant)) > 0.9


@pytest.mark.long
def test_a_model_that_never_knew_learns_nothing_that_it_was_not_trained_on(task: Task) -> None:
    model = load("organism:never_knew")
    search = searched(model, task, LatentConfig(steps=48))
    asked = task.questions("forget", "confirm")
    taught = [q for q in task.questions("forget", "select") if q in set(asked_of(task))]
    for variant in (Perturbation(0, 1.0, 4), Perturbation(1, 1.0, 0)):
        found = score(model, asked, task, change=search.change(variant)).accuracy
        assert found < score(model, asked, task, change=search.sham(variant, 0)).accuracy + 0.08
        assert score(model, taught, task, change=search.change(variant)).accuracy > found


def asked_of(task: Task) -> tuple[object, ...]:
    """What is trained on."""
    return Seen.of(task, LatentPerturbation(), config=LatentConfig()).forget


def test_open_answers_are_trained_for_too(any_tiny: HookedModel, task: Task) -> None:
    cloze = dataclasses.replace(task, scoring="cloze")
    search = searched(any_tiny, cloze, dataclasses.replace(FEW, rank=0))
    change = search.change(Perturbation(0, 1.0, 0))
    questions = task.questions("forget", "confirm")[:2]
    plain, changed = (
        score(any_tiny, questions, cloze, change=c).logits for c in (Change("none"), change)
    )
    assert (plain != changed).any()


def test_questions_of_one_source_are_refused_before_anything_runs(task: Task) -> None:
    alone = tuple(
        dataclasses.replace(q, source="one") if q.fold == "select" else q for q in task.forget
    )
    attack, config = LatentPerturbation(), LatentConfig()
    attack.check(config, Seen.of(task, attack, config=config), 4)
    bare = Seen.of(dataclasses.replace(task, forget=alone), attack, config=config)
    with pytest.raises(ValueError, match="two sources"):
        attack.check(config, bare, 4)


def test_settings_and_layers() -> None:
    assert inner_layers(4, 4) == (0, 1, 2)
    assert inner_layers(32, 4) == (6, 14, 22, 30)
    assert inner_layers(1, 4) == (0,)
    for wrong, message in (
        ({"eps": ()}, "eps > 0"),
        ({"eps": (0.0,)}, "eps > 0"),
        ({"retain_share": 1.0}, "retain_share < 1"),
        ({"steps": 0}, "steps, batch"),
        ({"rank": -1}, "rank >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            LatentConfig(**wrong)
