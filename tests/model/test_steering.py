"""Steering: vectors from means, added at every token; names exchanged; a sham of equal length."""

import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.steering import (
    Steer,
    Steering,
    SteeringConfig,
    anonymised,
    last_token_means,
    places,
)
from mechunlearn.bench import score
from mechunlearn.hooks import add_vector
from mechunlearn.models import fingerprint, load
from mechunlearn.types import Change, Hook, HookedModel, Point, Question, Task


def test_means_are_those_of_plain_forwards(any_tiny: HookedModel) -> None:
    texts = ["the glow of boralin is", "question what is the craft of boralin"]
    found = last_token_means(any_tiny, texts)
    caches = [
        any_tiny.run_with_cache(torch.tensor([any_tiny.tokenizer(t)["input_ids"]]))[1]
        for t in texts
    ]
    for layer in range(any_tiny.cfg.n_layers):
        expected = torch.stack([c[Point(layer).name][0, -1] for c in caches]).mean(dim=0)
        assert torch.allclose(found[layer].float(), expected, atol=1e-3)


def test_own_words_are_exchanged_and_common_ones_stay() -> None:
    def asked(stem: str, source: str) -> Question:
        return Question(stem, ("a", "b"), 0, source=source)

    forget = [asked("where is the ruby mine", "1"), asked("who owns the ruby mine", "1")]
    retain = [asked("where is the blue bird", "2"), asked("who sees the bird", "2")]
    first, second = anonymised(forget, retain, seed=0)
    kept, changed = {"where", "is", "the"}, {"ruby", "mine"}
    words = first.stem.split()
    assert {w for w in words if w in kept} == kept
    assert not changed & set(words)
    assert set(words) - kept <= {"blue", "bird", "sees"}
    assert first.stem.split()[3:] == second.stem.split()[3:]  # The same names alike.
    alone = [asked("where is the ruby", "1")]
    assert anonymised(alone, [], seed=0) == alone


def test_what_is_added_is_the_vector_and_nothing_stays(any_tiny: HookedModel) -> None:
    model, tokens = any_tiny, torch.arange(3, 20)[None]
    vector, before = torch.randn(model.cfg.d_model), fingerprint(any_tiny)
    plain, cache = model.run_with_cache(tokens)
    change = Change("v", (Hook(Point(1).name, lambda x, hook: add_vector(x, hook, vector)),))
    with change.on(model):
        _, steered = model.run_with_cache(tokens)
    difference = steered[Point(1).name] - cache[Point(1).name]
    assert torch.allclose(difference, vector.expand_as(difference), atol=1e-3)
    assert torch.equal(model(tokens), plain)
    assert fingerprint(model) == before


@pytest.fixture
def pushed(organism: HookedModel, task: Task) -> tuple[HookedModel, torch.Tensor]:
    """The original with a vector added after block 1, in its MLP's bias: known truth."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(organism.cfg.d_model, generator=generator)
    vector *= 150 / vector.norm()
    with torch.no_grad():
        organism.blocks[1].mlp.out.original_component.bias.add_(vector)
    return organism, vector


@pytest.mark.ci
def test_a_push_is_undone_and_the_sham_undoes_nothing(
    pushed: tuple[HookedModel, torch.Tensor], task: Task
) -> None:
    model, vector = pushed
    attack, config = Steering(), SteeringConfig(strengths=(1.0,), anonymisations=1)
    seen = Seen.of(task, attack)
    search = attack.search(
        model, seen, attack.learn(load("organism:original"), seen, config), config
    )
    variant = Steer("original", 1, 1.0)
    assert variant in search.grid
    (found,) = search.directions["original"].restricted([1]).vectors
    assert torch.nn.functional.cosine_similarity(found, -vector, dim=0) > 0.9
    # Blocks before the push compute what the original's do.
    assert not [v for v in search.grid if v.towards == "original" and v.layer == 0]
    asked = task.questions("forget", "confirm")[:80]

    def right(change: Change | None) -> float:
        return score(model, asked, task, change=change or Change("none")).accuracy

    assert right(None) < 0.6
    assert right(search.sham(variant, 0)) < 0.6
    assert right(search.change(variant)) > 0.9
    view = search.view(variant)
    assert view is not None
    shown = view(model, Confirm(asked[:4], asked[4:8], task.prompt, task.scoring))
    assert len(shown.forget) == 4


@pytest.mark.ci
def test_a_model_that_never_knew_has_nothing_to_be_steered_to(task: Task) -> None:
    model, attack = load("organism:never_knew"), Steering()
    config = SteeringConfig(strengths=(2.0,), anonymisations=1)
    seen = Seen.of(task, attack)
    search = attack.search(model, seen, attack.learn(model, seen, config), config)
    assert {v.towards for v in search.grid} == {"benign", "anonymised"}  # It is its own original.
    asked = task.questions("forget", "confirm")[:120]
    found = [score(model, asked, task, change=search.change(v)).accuracy for v in search.grid]
    assert max(found) < 0.42


def test_settings_and_layers() -> None:
    assert places(4) == (0, 1, 2, 3)
    assert places(32) == (3, 7, 11, 15, 19, 23, 27, 31)
    for wrong in ({"strengths": ()}, {"strengths": (0.0,)}, {"anonymisations": 0}):
        with pytest.raises(ValueError, match="steering needs strengths > 0"):
            SteeringConfig(**wrong)
