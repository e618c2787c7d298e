"""Placebos of equal measured size, against sizes measured by other means."""

from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.direction_ablation import (
    Ablation,
    DirectionAblation,
    DirectionConfig,
    ablate_direction,
)
from mechunlearn.attacks.equal_size import change_sizes, of_equal_size
from mechunlearn.types import Direction, HookedModel, Point, Task


def test_the_size_is_the_mean_norm_of_the_change(any_tiny: HookedModel, task: Task) -> None:
    """One hook: what it changes is what the plain run has along the direction."""
    model, texts = any_tiny, [task.prompt.letter_prompt(q) for q in task.forget[:5]]
    vectors = torch.randn(1, model.cfg.d_model, generator=torch.Generator().manual_seed(0))
    change = ablate_direction(model, Direction("d", (1,), vectors))
    (size,) = change_sizes(model, change, texts)
    norms = []
    for text in texts:
        tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
        _, cache = model.run_with_cache(tokens)
        norms.append((cache[Point(1).name][0] @ (vectors[0] / vectors[0].norm())).abs())
    assert size == pytest.approx(float(torch.cat(norms).mean()), rel=1e-3)


@pytest.mark.ci
@pytest.mark.parametrize(
    "variant",
    [
        Ablation("original", (0, 1), "each layer", "zero"),
        Ablation("original", (0, 1), "each layer", "at most reference"),
        Ablation("benign", (1,), "each layer", "reference"),
        Ablation("original", (1,), "every write", "zero"),
    ],
)
def test_the_sham_moves_activations_as_far_as_the_attack(
    tiny: Callable[[str], HookedModel], task: Task, variant: Ablation
) -> None:
    """A3: within 10 % on the asked questions, at every place; what was scaled was lost before."""
    model, attack = tiny("llama"), DirectionAblation()
    seen = Seen.of(task, attack)
    reference = attack.learn(model, seen, DirectionConfig())
    with torch.no_grad():  # Unlearning that moves what every block writes.
        for name, weight in model.named_parameters():
            if "mlp" in name:
                weight *= 3
    search = attack.search(model, seen, reference, DirectionConfig())
    texts = list(search.texts)
    wanted = change_sizes(model, search.change(variant), texts)
    assert max(wanted) > 0
    for seed in range(2):
        sham = search.sham(variant, seed)
        measured = change_sizes(model, sham, texts)
        for size, target in zip(measured, wanted, strict=True):
            assert size == pytest.approx(target, rel=0.1, abs=1e-6)
        assert sum(measured) > 0


def test_other_places_are_refused(any_tiny: HookedModel) -> None:
    vectors = torch.ones(2, any_tiny.cfg.d_model)
    both = Direction("d", (0, 1), vectors)
    one = ablate_direction(any_tiny, both, layers=[0])
    with pytest.raises(ValueError, match="needs the attack's places"):
        of_equal_size(any_tiny, one, ablate_direction(any_tiny, both), ["a"])
