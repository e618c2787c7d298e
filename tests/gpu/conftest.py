"""The same tests on the host, with a tiny model, and on a GPU where there is one."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mechunlearn.types import HookedModel


@pytest.fixture(scope="session", params=[pytest.param("cpu", marks=pytest.mark.long), "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Where a model is; the tests of a GPU are skipped where there is none.

    On the host other tests show the same, quickly; these show that the tests work.
    """
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU, and there is none here")
    return request.param


@pytest.fixture(scope="session")
def tiny_folder(
    new_tiny: Callable[..., "HookedModel"], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved model with random weights, of Mistral's architecture."""
    from mechunlearn.models import save

    return save(new_tiny("mistral"), tmp_path_factory.mktemp("gpu") / "tiny")


@pytest.fixture
def placed_tiny(tiny_folder: Path, device: str) -> "HookedModel":
    """The same model on a device, in float32."""
    from mechunlearn.models import load

    return load(str(tiny_folder), device=device, dtype="float32")
