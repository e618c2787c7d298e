"""Served formats as an attack: weights come back, and errors elsewhere are as large."""

from collections.abc import Callable

import pytest
import torch

from mechunlearn.attacks import Seen
from mechunlearn.attacks.deployed import Deployed, DeployedConfig, Stored, store
from mechunlearn.attacks.formats import FORMATS
from mechunlearn.attacks.quantization import matrices
from mechunlearn.bench import score
from mechunlearn.models import fingerprint, load
from mechunlearn.types import HookedModel, Task


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
