"""The way back along a change of weights: exact algebra, and a sham of the same spectrum."""

from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.grades import HANDED, grade
from mechunlearn.attacks.merging import (
    Merge,
    Merging,
    MergingConfig,
    Steps,
    rotated,
    top,
    weights_of,
)
from mechunlearn.bench import score
from mechunlearn.hooks import live_parameters
from mechunlearn.models import fingerprint, load
from mechunlearn.types import HookedModel, Task


def test_a_rotated_change_has_the_same_spectrum_and_another_place() -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(6, 9, generator=generator)
    turned = rotated(delta, generator)
    spectra = [torch.linalg.svdvals(d) for d in (delta, turned)]
    assert torch.allclose(*spectra, atol=1e-5)
    assert (turned - delta).norm() > delta.norm()
    vector = rotated(torch.arange(1.0, 9.0), generator)
    assert sorted(vector.abs().tolist()) == list(range(1, 9))
    assert (vector < 0).any()


def test_the_top_is_the_best_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(40, 3, generator=generator), torch.randn(3, 30, generator=generator)
    delta = u * torch.tensor([9.0, 3.0, 0.1]) @ v
    exact = top(delta, 2)
    assert torch.linalg.matrix_rank(exact) == 2
    assert torch.allclose((delta - exact).norm(), torch.linalg.svdvals(delta)[2], rtol=1e-3)
    monkeypatch.setattr("mechunlearn.attacks.merging.EXACT", 8)
    assert torch.allclose(top(delta, 2), exact, atol=1e-3)


def changed(model: HookedModel, sizes: float = 0.1) -> HookedModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in live_parameters(model):
            p.add_(sizes * torch.randn(p.shape, generator=generator))
    return model


@pytest.mark.ci
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_variants_are_what_they_say_and_come_back(
    architecture: str, tiny: Callable[[str], HookedModel], task: Task
) -> None:
    original, model = tiny(architecture), changed(tiny(architecture))
    attack, config = Merging(), MergingConfig(lambdas=(0.5, 2.0), ranks=(2,))
    seen = Seen.of(task, attack)
    search = attack.search(model, seen, attack.learn(original, seen, config), config)
    own, before, print_ = weights_of(original), weights_of(model), fingerprint(model)
    grid = {(v.way, v.amount): v for v in search.grid}
    half, double = grid["interpolated", 0.5], grid["interpolated", 2.0]
    assert half.handed_back == pytest.approx(0.75, abs=1e-3)
    assert double.handed_back == pytest.approx(-3.0, abs=1e-3)
    blocks = [v for v in search.grid if v.way == "block merged back"]
    assert 0.5 < sum(v.handed_back for v in blocks) < 1.0  # The rest is outside the blocks.
    assert "75% of the way to the original's weights" in search.change(half).name
    with search.change(half).on(model):
        for now, a, b in zip(weights_of(model), own, before, strict=True):
            assert torch.allclose(now, (a + b) / 2, atol=1e-5)
    merged = search.change(grid["block merged back", 1.0])
    with merged.on(model):
        equal = [
            torch.allclose(now, a, atol=1e-6) for now, a in zip(weights_of(model), own, strict=True)
        ]
    inside = [
        block == 1 for block in Steps.on(model, attack.learn(original, seen, config)).block_of
    ]
    assert equal == inside
    with search.sham(half, 0).on(model):
        moved = [now - b for now, b in zip(weights_of(model), before, strict=True)]
    for step, a, b in zip(moved, own, before, strict=True):
        assert step.norm() == pytest.approx(((a - b) / 2).norm().item(), rel=1e-2)
    assert fingerprint(model) == print_


@pytest.mark.ci
def test_rounding_is_part_of_what_is_handed_back_and_of_the_shams_size(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    """In bfloat16 a half of a small difference may be nothing."""
    original, model = (tiny("llama").to(torch.bfloat16) for _ in range(2))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in live_parameters(model):
            p.add_(3e-4 * torch.randn(p.shape, generator=generator).sign().to(p.dtype))
    attack, config = Merging(), MergingConfig(lambdas=(0.5, 0.75), ranks=(2,))
    seen = Seen.of(task, attack)
    search = attack.search(model, seen, attack.learn(original, seen, config), config)
    own, before = weights_of(original), weights_of(model)

    def apart(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
        return sum(
            float((x.double() - y.double()).square().sum()) for x, y in zip(a, b, strict=True)
        )

    for variant in search.grid:
        with search.change(variant).on(model):
            there = weights_of(model)
        left = apart(there, own) / apart(before, own)
        assert variant.handed_back == pytest.approx(1 - left, abs=2e-3)
        with search.sham(variant, 0).on(model):
            elsewhere = weights_of(model)
        size = apart(elsewhere, before) / apart(there, before) if apart(there, before) else 0.0
        assert size == pytest.approx(1.0 if apart(there, before) else 0.0, abs=0.2)


@pytest.mark.ci
def test_hiding_of_rank_one_is_found_and_its_sham_finds_nothing(
    organism: HookedModel, task: Task
) -> None:
    """A strong change of rank one in one matrix; without it the original is there again."""
    hidden = load("organism:original")
    weight = hidden.blocks[1].mlp.out.original_component.weight
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.randn(n, generator=generator) for n in weight.shape)
    with torch.no_grad():
        weight.add_(20 * weight.norm() * torch.outer(u, v) / (u.norm() * v.norm()))
    attack, config = Merging(), MergingConfig(lambdas=(0.75,), ranks=(1,))
    seen = Seen.of(task, attack)
    search = attack.search(hidden, seen, attack.learn(organism, seen, config), config)
    variant = next(v for v in search.grid if v.way == "without the top")
    assert variant.handed_back == 1.0
    asked = task.questions("forget", "confirm")[:80]

    def right(change: object) -> float:
        return score(hidden, asked, task, change=change).accuracy

    assert score(hidden, asked, task).accuracy < 0.5
    assert right(search.sham(variant, 0)) < 0.5
    assert right(search.change(variant)) > 0.9


@pytest.mark.ci
def test_a_relative_that_does_not_know_brings_nothing_back(task: Task) -> None:
    """Null: between two models without the facts there is nothing on the way."""
    model = changed(load("organism:never_knew"), 0.002)
    attack, config = Merging(), MergingConfig()
    seen = Seen.of(task, attack)
    reference = attack.learn(load("organism:never_knew"), seen, config)
    search = attack.search(model, seen, reference, config)
    asked = task.questions("forget", "confirm")[:80]
    variants = [v for v in search.grid if v.amount in (0.25, 1.0, 2.0)]
    assert len(variants) == 6
    found = [score(model, asked, task, change=search.change(v)).accuracy for v in variants]
    assert max(found) < 0.4


def test_settings_and_shapes(tiny: Callable[[str], HookedModel], task: Task) -> None:
    for wrong in ({"lambdas": (0.0,)}, {"lambdas": (1.0,)}, {"ranks": (0,)}):
        with pytest.raises(ValueError, match="lambda 0 is the relative"):
            MergingConfig(**wrong)
    attack = Merging()
    assert grade(attack) == HANDED
    seen, config = Seen.of(task, attack), MergingConfig()
    reference = attack.learn(tiny("llama"), seen, config)
    with pytest.raises(ValueError, match="other shapes than the unlearned model's"):
        attack.search(tiny("gpt2"), seen, reference, config)
    same = tiny("llama")
    search = attack.search(same, seen, reference, config)
    assert {v.handed_back for v in search.grid} == {0.0}
    assert isinstance(search.grid[0], Merge)
