"""Store the weights as they are served: NF4, FP4, INT8, grouped INT4, GGUF, or sparse.

    W -> read(write(W)) for every weight matrix of the blocks,        format by format

``quantization`` asks at which precision a change of the weights is lost; this asks what happens
under the formats that people use without thinking of an attack. The functions are in ``formats.py``
and give the numbers of the reference implementations.

Reference:
    Zhang et al. 2024, arXiv:2410.16454 (4 bits restore what was unlearned); the formats' papers
    stand in ``formats.py``.
    Differs: weights only, computed with in the model's own type; embeddings stay as they are;
    formats calibrated on data (GPTQ, AWQ) are not among them, nor NF4's doubly quantised scales.
    Limits: while it is applied a copy of the weights is kept; models that are stored in 4 or 8 bits
    already are refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from mechunlearn.attacks.formats import FORMATS
from mechunlearn.attacks.protocol import Attack, Grid
from mechunlearn.attacks.quantization import matrices
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import forward_bytes, weight_copies
from mechunlearn.errors import unknown
from mechunlearn.train import restored
from mechunlearn.types import Change, HookedModel

STORING = 6 * 4
"""Bytes beside each weight of a matrix that is stored: six arrays of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedConfig:
    """Settings.

    Raises:
        ValueError: If a format is unknown, or there is none.
    """

    formats: tuple[str, ...] = tuple(FORMATS)

    def __post_init__(self) -> None:
        for name in self.formats or ("",):
            if name not in FORMATS:
                raise unknown("format", name, FORMATS)


@dataclass(frozen=True, slots=True)
class Stored:
    """How the weights are stored."""

    format: str


@contextmanager
def _stored(model: HookedModel, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    with restored(model):
        with torch.no_grad():
            for w, turned in matrices(model):
                w.copy_(change(w.T.contiguous()).T if turned else change(w))
        yield


def store(format_: str, shuffle: int | None = None) -> Change:
    """Every block's weight matrices as a format gives them back, while the change is on.

    Args:
        shuffle: Seed; adds the same errors to other weights of the matrix instead (sham).
    """
    if shuffle is None:
        return Change(format_, edits=(partial(_stored, change=FORMATS[format_]),))

    def edit(model: HookedModel) -> AbstractContextManager[None]:
        generator = torch.Generator().manual_seed(shuffle)

        def elsewhere(weight: Tensor) -> Tensor:
            error = (FORMATS[format_](weight) - weight).flatten()
            order = torch.randperm(error.numel(), generator=generator).to(error.device)
            return weight + error[order].view_as(weight)

        return _stored(model, elsewhere)

    return Change(f"errors of {format_} elsewhere", edits=(edit,))


class Deployed(Attack[DeployedConfig, None, Stored]):
    """Formats of served models as a registered attack."""

    family: ClassVar[Family] = "precision"
    access: frozenset[Access] = frozenset({"weights"})
    needs: frozenset[Need] = frozenset()
    variant = Stored
    presets: Mapping[str, DeployedConfig] = {
        "organism": DeployedConfig(),
        "small": DeployedConfig(),
        "paper": DeployedConfig(formats=("nf4", "fp4", "int8")),
    }

    def by_name(self, config: DeployedConfig) -> bool:
        """See ``Attack``: every matrix of every block."""
        return True

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: DeployedConfig
    ) -> Grid[Stored]:
        """There is nothing to find: the model is only stored differently.

        Raises:
            ValueError: If the weights are quantised already.
        """
        matrices(model)
        return Grid(
            [Stored(name) for name in config.formats],
            lambda v: store(v.format),
            lambda v, seed: store(v.format, shuffle=seed),
        )

    def cost(self, config: DeployedConfig, job: Job) -> Cost:
        """Copies of the weights, and one matrix that is stored."""
        storing = float(STORING * job.shape.largest)
        peak = max(forward_bytes(job.shape, job.sizes), storing)
        return Cost(
            search=float(job.forget_select * len(config.formats)),
            variants=0.0,
            memory=weight_copies(job.shape, job.sizes) | {"activations": peak},
        )
