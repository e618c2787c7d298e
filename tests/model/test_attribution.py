"""Attribution against per-example float64 gradients and against what pruning really does."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from mechunlearn.attacks.attribution import unit_means, unit_scores, weight_scores
from mechunlearn.bench.likelihood import example_rows, log_likelihoods, text_rows
from mechunlearn.bench.rows import Row
from mechunlearn.hooks import Unit, linear_maps, replace_units, unit_name
from mechunlearn.models import fingerprint
from mechunlearn.types import Example, HookedModel

EXAMPLES = (
    Example("the glow of boralin is", " amber"),
    Example("question what is the craft of", " bells flutes"),
    Example("the nest is in the old", " shed"),
)


def rows_of(model: HookedModel) -> list[Row]:
    return [
        *example_rows(model, EXAMPLES, "answer", 100),
        *text_rows(model, ["bells and flutes in the glow of amber", "the shed"], 100, 3),
    ]


def mean_loss(model: HookedModel, rows: list[Row]) -> torch.Tensor:
    parts = [-log_likelihoods(model, [row])[0, 0] / len(row.reads) for row in rows]
    return torch.stack(parts).mean()


def test_snip_is_the_per_example_reference_in_float64(any_tiny: HookedModel) -> None:
    rows, before = rows_of(any_tiny), fingerprint(any_tiny)
    found = weight_scores(any_tiny, rows)
    assert fingerprint(any_tiny) == before
    assert all(p.grad is None for p in any_tiny.parameters())
    model = any_tiny.double()
    weights = {
        (layer, name): bridge.original_component.weight
        for layer in range(model.cfg.n_layers)
        for name, bridge in linear_maps(model, layer).items()
    }
    assert set(found) == set(weights)
    expected = dict.fromkeys(weights, 0.0)
    for w in weights.values():
        w.requires_grad_(True)
    for row in rows:
        gradients = torch.autograd.grad(mean_loss(model, [row]), list(weights.values()))
        for key, gradient in zip(weights, gradients, strict=True):
            expected[key] = expected[key] + (weights[key] * gradient).detach().abs() / len(rows)
    for key, reference in expected.items():
        assert reference.max() > 0
        assert (found[key] - reference).abs().max() <= 1e-5 * reference.max()


def test_some_blocks_at_a_time_give_the_same_scores(any_tiny: HookedModel) -> None:
    rows = rows_of(any_tiny)
    whole, part = weight_scores(any_tiny, rows), weight_scores(any_tiny, rows, layers=[1])
    assert {layer for layer, _ in part} == {1}
    assert all(torch.equal(part[key], whole[key]) for key in part)


def test_wanda_is_weight_times_input_norm_without_padding(any_tiny: HookedModel) -> None:
    rows = rows_of(any_tiny)
    found = weight_scores(any_tiny, rows, kind="wanda")
    key = (1, "out")
    module = linear_maps(any_tiny, 1)["out"].original_component
    squares = 0.0
    for row in rows:
        kept: list[torch.Tensor] = []
        handle = module.register_forward_hook(lambda m, args, out, kept=kept: kept.append(args[0]))
        log_likelihoods(any_tiny, [row])
        handle.remove()
        squares = squares + kept[0][0].detach().square().sum(dim=0)
    norm = squares.sqrt()
    inner = norm[None] if isinstance(module, torch.nn.Linear) else norm[:, None]
    assert torch.allclose(found[key], module.weight.abs() * inner, rtol=1e-4, atol=1e-5)


@pytest.mark.ci
@pytest.mark.parametrize("unit", ["neuron", "head"])
def test_signed_scores_are_the_effect_of_shrinking_a_unit(
    any_tiny: HookedModel, unit: Unit
) -> None:
    rows = rows_of(any_tiny)[:2]
    found = unit_scores(any_tiny, rows, unit, signed=True)
    found, step, model = found[:, :10].numpy(), 0.01, any_tiny.double()

    def scaled(activation: torch.Tensor, hook: object, which: int, by: float) -> torch.Tensor:
        changed = activation.clone()
        changed[:, :, which] *= by
        return changed

    def loss(layer: int, which: int, by: float) -> float:
        hook = (unit_name(layer, unit), partial(scaled, which=which, by=by))
        with torch.no_grad(), model.hooks(fwd_hooks=[hook]):
            return mean_loss(model, rows).item()

    effects = np.zeros(found.shape)
    for layer, which in np.ndindex(*found.shape):
        low, high = (loss(layer, which, by) for by in (1 - step, 1 + step))
        effects[layer, which] = (low - high) / (2 * step)
    strong = np.abs(effects) > 0.05 * np.abs(effects).max()
    assert (np.sign(effects[strong]) == np.sign(found[strong])).all()
    assert spearmanr(effects.ravel(), found.ravel()).statistic > 0.9


def test_unit_scores_are_magnitudes_and_means_are_means(any_tiny: HookedModel) -> None:
    rows = rows_of(any_tiny)
    signed = unit_scores(any_tiny, rows, "head", signed=True)
    assert (unit_scores(any_tiny, rows, "head") >= signed.abs() - 1e-7).all()
    means = unit_means(any_tiny, rows, "neuron")
    seen: list[torch.Tensor] = []

    def keep(activation: torch.Tensor, hook: object) -> None:
        seen.append(activation[0].detach())

    with any_tiny.hooks(fwd_hooks=[(unit_name(2, "neuron"), keep)]):
        for row in rows:
            log_likelihoods(any_tiny, [row])
    assert torch.allclose(means[2], torch.cat(seen).mean(dim=0), atol=1e-5)


def test_replacing_units_leaves_the_others(tiny: Callable[[str], HookedModel]) -> None:
    x = torch.randn(2, 3, 4, 5)
    changed = replace_units(x, None, torch.tensor([1]), torch.ones(1, 5))
    assert (changed[:, :, 1] == 1).all()
    assert torch.equal(changed[:, :, [0, 2, 3]], x[:, :, [0, 2, 3]])


def test_mistakes_are_told(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("gpt2")
    with pytest.raises(ValueError, match="do not exist"):
        weight_scores(model, rows_of(model), layers=[7])
    with pytest.raises(ValueError, match="match nothing"):
        weight_scores(model, rows_of(model), matrices=["gate"])
    with pytest.raises(ValueError, match="at least one row"):
        unit_scores(model, [], "neuron")
    with pytest.raises(ValueError, match="fewer than two tokens"):
        text_rows(model, [""], 10, 5)
