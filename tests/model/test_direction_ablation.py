"""Direction ablation: exact algebra, streamed statistics, equal to its form in the weights."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mechunlearn.attacks import Confirm, Seen
from mechunlearn.attacks.activations import (
    activation_statistics,
    first_component,
    outlier_tokens,
)
from mechunlearn.attacks.direction_ablation import (
    Ablation,
    DirectionAblation,
    DirectionConfig,
    ablate_direction,
    ablate_everywhere,
    orthogonalize_,
)
from mechunlearn.attacks.projection import project
from mechunlearn.hooks import move_along
from mechunlearn.models import fingerprint, load, save
from mechunlearn.types import Direction, HookedModel, Point, Task


def some_direction(model: HookedModel) -> Direction:
    generator = torch.Generator().manual_seed(3)
    n, d = model.cfg.n_layers, model.cfg.d_model
    return Direction("d", tuple(range(n)), torch.randn(n, d, generator=generator))


def test_remove_is_a_projection() -> None:
    x, u = torch.randn(4, 7, 16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    u /= u.norm()
    before = x.clone()
    once = move_along(x, None, u)
    assert (x == before).all()
    assert (once @ u).abs().max() < 1e-12
    assert (move_along(once, None, u) - once).abs().max() < 1e-12
    assert (move_along(x + 5 * u, None, u) - once).abs().max() < 1e-12


def test_coordinates_are_set_or_capped() -> None:
    x, u = torch.randn(50, 16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    u /= u.norm()
    before = x @ u
    assert (move_along(x, None, u, to=0.3) @ u - 0.3).abs().max() < 1e-12
    capped = move_along(x, None, u, to=0.3, excess_only=True) @ u
    assert (capped - before.clamp_max(0.3)).abs().max() < 1e-12
    across = x - before[:, None] * u
    assert (move_along(x, None, u, to=0.3) - 0.3 * u - across).abs().max() < 1e-12


def test_the_reference_is_where_it_is_moved(any_tiny: HookedModel) -> None:
    model, bare = any_tiny, some_direction(any_tiny)
    reference = torch.full_like(bare.vectors, 0.7)
    direction = Direction("d", bare.layers, bare.vectors, reference)
    tokens = torch.arange(3, 20)[None]
    with ablate_direction(model, direction, layers=[1], to="reference").on(model):
        _, cache = model.run_with_cache(tokens)
    unit = direction.unit()[1]
    assert (cache[Point(1).name] @ unit - reference[1] @ unit).abs().max() < 1e-4
    with pytest.raises(ValueError, match="no reference"):
        ablate_direction(model, bare, layers=[1], to="reference")


def test_ablation_acts_where_asked_and_leaves_no_trace(any_tiny: HookedModel) -> None:
    model, direction = any_tiny, some_direction(any_tiny)
    tokens, before = torch.arange(3, 20)[None], fingerprint(any_tiny)
    plain = model(tokens)
    with ablate_direction(model, direction, layers=[1]).on(model):
        _, cache = model.run_with_cache(tokens)
        changed = model(tokens)
    unit = direction.unit()
    assert (cache[Point(1).name] @ unit[1]).abs().max() < 1e-4
    assert (cache[Point(0).name] @ unit[0]).abs().max() > 1e-2
    assert (changed - plain).abs().max() > 1e-3
    assert (model(tokens) == plain).all()
    assert fingerprint(model) == before


def test_weights_can_hold_the_ablation(any_tiny: HookedModel, tmp_path) -> None:
    model, direction = any_tiny, some_direction(any_tiny)
    tokens = torch.arange(3, 20)[None]
    plain = model(tokens)
    with ablate_everywhere(model, direction, layer=1).on(model):
        hooked = model(tokens)
    if "gemma" in model.original_model.config.model_type:
        with pytest.raises(ValueError, match="norms what its blocks write"):
            orthogonalize_(model, direction, layer=1)
        assert (model(tokens) == plain).all()
        return
    orthogonalize_(model, direction, layer=1)
    assert (hooked - plain).abs().max() > 1e-3
    assert (model(tokens) - hooked).abs().max() < 1e-4
    save(model, tmp_path / "m")
    assert (load(str(tmp_path / "m"))(tokens) - hooked).abs().max() < 1e-4


def test_streamed_means_equal_plain_means(any_tiny: HookedModel, task: Task) -> None:
    texts = [task.prompt.letter_prompt(q) for q in task.forget[:9]]
    found = activation_statistics(any_tiny, texts, keep=50)
    rows = any_tiny.tokenizer(texts)["input_ids"]
    skip = next(i for i in range(30) if len({r[i] for r in rows}) > 1)
    stacks = []
    for row in rows:
        _, cache = any_tiny.run_with_cache(torch.tensor([row]))
        layers = [cache[Point(i).name][0, skip:] for i in range(any_tiny.cfg.n_layers)]
        stacks.append(torch.stack(layers))
    everything = torch.cat(stacks, dim=1)
    assert found.n == everything.shape[1]
    assert (found.mean - everything.mean(dim=1)).abs().max() < 1e-5
    assert 25 <= found.reservoir.shape[1] <= 100


def test_what_stands_before_any_text_does_not_count_in_a_single_one(
    tiny: Callable[[str], HookedModel], task: Task
) -> None:
    model = tiny("llama")
    text = task.prompt.letter_prompt(task.forget[0])
    (row,) = model.tokenizer([text])["input_ids"]
    one = activation_statistics(model, [text])
    assert one.n == len(row) - 1  # Less the first token.
    _, cache = model.run_with_cache(torch.tensor([row]))
    mean = torch.stack([cache[Point(i).name][0, 1:].mean(0) for i in range(3)])
    assert (one.mean - mean).abs().max() < 1e-5
    assert activation_statistics(model, [text], whole=True).n == len(row)


def test_dropped_tokens_do_not_count(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("llama")
    texts = [task.prompt.letter_prompt(q) for q in task.forget[:9]]
    letter = model.tokenizer.get_vocab()["A"]
    all_, fewer = (activation_statistics(model, texts, drop=frozenset(d)) for d in ((), (letter,)))
    assert all_.n - fewer.n == len(texts)


def test_outliers_are_found(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("llama")
    odd = model.tokenizer.get_vocab()["glow"]
    with torch.no_grad():
        model.embed.original_component.weight[odd] *= 30
    texts = [task.prompt.letter_prompt(q) for q in task.forget[:1] + task.retain[:40]]
    assert odd in outlier_tokens(model, texts)


def test_the_principal_component_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(12, generator=generator), dim=0)
    noise = torch.randn(2, 1, 400, 12, generator=generator)
    a, b = noise[0] + 8 * axis, noise[1] - 8 * axis
    found = first_component(a, b)[0].float()
    assert abs(torch.cosine_similarity(found, axis, dim=0)) > 0.99


def test_variants_are_drawn_at_their_last_edited_layer(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    """The original is the model under test with other last blocks."""
    original, model = tiny("llama"), tiny("llama")
    with torch.no_grad():
        model.blocks[1].mlp.out.original_component.weight.mul_(1.5)
    attack = DirectionAblation()
    seen = Seen.of(task, attack, asked=task.questions("forget", "select")[:12])
    config = DirectionConfig()
    search = attack.search(model, seen, attack.learn(original, seen, config), config)
    assert search.edited == (1,)
    (variants,) = search.variants()
    assert all(0 not in v.layers for v in variants if v.against == "original")
    variant = Ablation("original", (1, 2), "each layer", "zero")
    assert search.size(variant) == 2 > search.size(Ablation("benign", (1,), "each layer", "zero"))
    some = task.questions("forget", "confirm")[:5], task.questions("retain", "confirm")[:3]
    trace = search.view(variant)(original, Confirm(*some, task.prompt, task.scoring))
    texts = [task.prompt.text(q, task.scoring) for q in some[0]]
    along = project(original, search.directions["original"], 1, texts)
    assert (trace.layer, trace.direction) == (1, "original direction")
    assert trace.forget == tuple(round(x, 3) for x in along)
    assert len(trace.retain) == 3
    one, two = (search.sham(variant, seed).hooks for seed in (0, 1))
    x = torch.randn(1, 4, model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    assert [h.place for h in one] == [h.place for h in search.change(variant).hooks]
    assert not torch.allclose(*(hooks[0].function(x, None) for hooks in (one, two)))


def test_refusals(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    direction = some_direction(model)
    with pytest.raises(ValueError, match=r"layers \[3\] do not exist: this model has 0\.\.2"):
        ablate_direction(model, Direction("d", (3,), torch.ones(1, 32)))
    with pytest.raises(ValueError, match="at least one"):
        ablate_direction(model, direction, layers=[])
    with pytest.raises(ValueError, match="zero or non-finite"):
        ablate_direction(model, Direction("d", (1,), torch.zeros(1, 32)))
    with pytest.raises(ValueError, match="no tokens are left"):
        activation_statistics(model, ["glow"], drop=frozenset(range(1000)))
    assert np.isfinite(direction.vectors.numpy()).all()
