"""Served formats as an attack: weights come back, and rounding undoes what hides below a step."""

from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.deployed import Deployed, DeployedConfig, Stored, store
from mechunlearn.attacks.formats import FORMATS, as_weight, in_blocks
from mechunlearn.attacks.quantization import matrices
from mechunlearn.bench import score
from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.models import fingerprint, load
from mechunlearn.types import Change, HookedModel, Task


@pytest.mark.parametrize("name", ["nf4", "2:4"])
def test_matrices_are_stored_and_come_back(name: str, any_tiny: HookedModel) -> None:
    before = fingerprint(any_tiny)
    held = [(w.T if turned else w).detach().clone() for w, turned in matrices(any_tiny)]
    with store(name).on(any_tiny):
        for (w, turned), plain in zip(matrices(any_tiny), held, strict=True):
            assert torch.equal(w.T if turned else w, FORMATS[name](plain.contiguous()))
    assert fingerprint(any_tiny) == before


def test_the_sham_has_the_same_errors_elsewhere(tiny: Callable[[str], HookedModel]) -> None:
    model = tiny("llama")
    weight = matrices(model)[0][0]
    plain = weight.detach().clone()
    with store("fp4").on(model):
        errors = weight - plain
    with store("fp4", shuffle=0).on(model):
        moved = weight - plain
    assert torch.allclose(*(e.flatten().sort().values for e in (errors, moved)), atol=1e-6)
    assert not torch.allclose(errors, moved, atol=1e-3)


def hide_below_a_step_(model: HookedModel, task: Task, name: str, block: int) -> None:
    """Weights that a format holds, each moved by less than it tells apart, so as to forget.

    Every weight goes along the sign of the gradient of the loss on forget answers, as far as the
    format still reads the same number.
    """
    with torch.no_grad(), store(name).on(model):
        kept = [(w.T if turned else w).detach().clone() for w, turned in matrices(model)]
    weights = matrices(model)
    with torch.no_grad():
        for (w, turned), rows in zip(weights, kept, strict=True):
            w.copy_(rows.T if turned else rows)
    rows = example_rows(model, [task.example(q) for q in task.forget[::4]], "answer", 256)
    for w, _ in weights:
        w.requires_grad_(True)
    loss = -log_likelihoods(model, rows).mean()
    gradients = torch.autograd.grad(loss, [w for w, _ in weights])
    for (w, turned), held, gradient in zip(weights, kept, gradients, strict=True):
        w.requires_grad_(False)
        blocks = in_blocks(held, block)
        largest = blocks.abs().amax(-1, keepdim=True)
        along = in_blocks((gradient.T if turned else gradient).contiguous(), block).sign()
        moved = 0.25 * largest * along * (blocks.abs() < largest)  # The largest gives the step.
        for _ in range(12):
            inside = (blocks + moved).clamp(-0.99 * largest, 0.99 * largest)
            near = inside.where(blocks.abs() < largest, blocks)
            same = FORMATS[name](as_weight(near, held)) == held
            moved = torch.where(in_blocks(same.float(), block) > 0, near - blocks, 0.7 * moved)
        hidden = as_weight(blocks + moved, held)
        assert torch.equal(FORMATS[name](hidden), held)
        w.data.copy_(hidden.T if turned else hidden)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("name", "block"), [pytest.param("nf4", 64, marks=pytest.mark.long), ("q4_0", 32)]
)
def test_what_hides_below_a_step_of_the_format_comes_back(
    name: str, block: int, task: Task
) -> None:
    hidden = load("organism:original")
    hide_below_a_step_(hidden, task, name, block)
    attack, config = Deployed(), DeployedConfig(formats=("int8", name))
    search = attack.search(hidden, Seen.of(task, attack), None, config)
    asked = task.questions("forget", "confirm")[:80]

    def right(change: Change) -> float:
        return score(hidden, asked, task, change=change).accuracy

    assert right(Change("none")) < 0.45
    assert right(search.change(Stored("int8"))) < 0.45
    assert right(search.sham(Stored(name), 0)) < 0.45
    assert right(search.change(Stored(name))) > 0.9


def test_formats_bring_nothing_to_a_model_that_never_knew(task: Task) -> None:
    model, attack = load("organism:never_knew"), Deployed()
    search = attack.search(model, Seen.of(task, attack), None, attack.presets["organism"])
    asked = task.questions("forget", "confirm")[:120]
    found = [
        score(model, asked, task, change=search.change(Stored(name))).accuracy
        for name in ("nf4", "q4_0", "magnitude_30")
    ]
    assert max(found) < 0.42


def test_unknown_formats() -> None:
    with pytest.raises(ValueError, match="unknown format 'nf5'; did you mean 'nf4'"):
        DeployedConfig(formats=("nf5",))
    with pytest.raises(ValueError, match="unknown format"):
        DeployedConfig(formats=())
