"""Store the weights in fewer bits: changes smaller than half a step are rounded away.

    w -> s round(w / s),    s = max abs(w) / 2^(bits - 1)

for every row of a block's weight matrices (or every ``group`` of its inputs). Unlearning that keeps
the utility moves weights little, so that the original and the unlearned model may round to the same
numbers. Whoever serves a model in four bits makes this attack without meaning to.

Reference:
    Zhang et al. 2024, arXiv:2410.16454 (round to nearest).
    Differs: fewer and more than their 4 and 8 bits are tried, and the select fold decides;
    embeddings stay as they are. Computes in the model's own type: what rounding does to the
    answers, not the kernels of a quantised model.
    Limits: while it is applied a copy of the weights is kept; models that are stored in 4 or
    8 bits already are refused.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.protocol import Attack, Search
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import forward_bytes, weight_copies
from mechunlearn.hooks import linear_maps
from mechunlearn.train import restored
from mechunlearn.types import Change, HookedModel

ROUNDING = 4 * 4
"""Bytes beside each weight of a matrix that is rounded: four arrays of float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationConfig:
    """Settings.

    Raises:
        ValueError: If a number of bits is not from 2 to 16, or ``group`` is negative.
    """

    bits: tuple[int, ...] = (8, 4)
    """Numbers of bits to try."""
    group: int = 0
    """Inputs that share a step; 0: a whole row."""

    def __post_init__(self) -> None:
        if not self.bits or not all(2 <= b <= 16 for b in self.bits) or self.group < 0:
            raise ValueError(f"quantization needs bits from 2 to 16 and group >= 0, not {self}")


def rounded(weight: Float[Tensor, "out in"], bits: int, group: int = 0) -> Float[Tensor, "out in"]:
    """The nearest multiples of each group's step; zeros stay zero.

    Args:
        group: Inputs that share a step; 0, or a number that does not divide ``in``: the whole row.
    """
    size = group if group and weight.shape[1] % group == 0 else weight.shape[1]
    groups = weight.float().unflatten(1, (-1, size))
    step = groups.abs().amax(-1, keepdim=True) / 2 ** (bits - 1)
    step = step.clamp_min(torch.finfo(torch.float32).tiny)
    return (step * (groups / step).round()).flatten(1).to(weight.dtype)


def quantize(bits: int, group: int = 0, shuffle: int | None = None) -> Change:
    """Round every block's weight matrices while the intervention is on.

    Args:
        shuffle: Seed; adds the same rounding errors to other weights of the matrix instead (sham).
    """

    @contextmanager
    def edit(model: HookedModel) -> Iterator[None]:
        change = _errors_elsewhere(shuffle) if shuffle is not None else rounded
        with restored(model):
            with torch.no_grad():
                for w, turned in matrices(model):
                    w.copy_(change(w.T, bits, group).T if turned else change(w, bits, group))
            yield

    name = f"{bits} bits" if shuffle is None else f"errors of {bits} bits elsewhere"
    return Change(name, edits=(edit,))


def matrices(model: HookedModel) -> list[tuple[Tensor, bool]]:
    """Every block's weight matrices, and whether they are stored as ``[in, out]``.

    Raises:
        ValueError: If the weights are no floating-point numbers.
    """
    found = []
    for layer in range(model.cfg.n_layers):
        for bridge in linear_maps(model, layer).values():
            inner: Any = bridge.original_component  # GPT-2's Conv1D holds [in, out].
            if not inner.weight.is_floating_point():
                raise ValueError(
                    f"block {layer} holds {inner.weight.dtype} weights, so is quantised already; "
                    "load the model in float32, bfloat16 or float16"
                )
            found.append((inner.weight, not isinstance(inner, torch.nn.Linear)))
    return found


def _errors_elsewhere(seed: int) -> Callable[[Tensor, int, int], Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def change(weight: Tensor, bits: int, group: int) -> Tensor:
        error = (rounded(weight, bits, group) - weight).flatten()
        order = torch.randperm(error.numel(), generator=generator).to(error.device)
        return weight + error[order].view_as(weight)

    return change


@dataclass(frozen=True, slots=True)
class Precision:
    """How the weights are stored."""

    bits: int
    group: int
    """Inputs that share a step; 0: a whole row."""


@dataclass(frozen=True, slots=True)
class QuantizationSearch(Search[Precision]):
    """The precisions to try."""

    grid: Sequence[Precision]

    def variants(self) -> Generator[Sequence[Precision], Sequence[Scored], None]:
        """See ``Search``."""
        yield self.grid

    def change(self, variant: Precision) -> Change:
        """See ``Search``."""
        return quantize(variant.bits, variant.group)

    def sham(self, variant: Precision, seed: int) -> Change:
        """The same errors at other weights of each matrix."""
        return quantize(variant.bits, variant.group, shuffle=seed)


class Quantization(Attack[QuantizationConfig, None, Precision]):
    """Rounding to fewer bits as a registered attack."""

    family: ClassVar[Family] = "precision"
    access: frozenset[Access] = frozenset({"weights"})
    needs: frozenset[Need] = frozenset()
    variant = Precision
    presets: Mapping[str, QuantizationConfig] = {
        "paper": QuantizationConfig(),
        "small": QuantizationConfig(bits=(8, 6, 5, 4, 3)),
        "organism": QuantizationConfig(bits=(8, 6, 5, 4, 3)),
    }

    def by_name(self, config: QuantizationConfig) -> bool:
        """See ``Attack``: every matrix of every block."""
        return True

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: QuantizationConfig
    ) -> QuantizationSearch:
        """There is nothing to find: the model is only stored differently.

        Raises:
            ValueError: If the weights are quantised already.
        """
        matrices(model)
        return QuantizationSearch([Precision(bits, config.group) for bits in config.bits])

    def cost(self, config: QuantizationConfig, job: Job) -> Cost:
        """Copies of the weights, and one matrix that is rounded."""
        rounding = float(ROUNDING * job.shape.largest)
        peak = max(forward_bytes(job.shape, job.sizes), rounding)
        return Cost(
            search=float(job.forget_select * len(config.bits)),
            variants=0.0,
            memory=weight_copies(job.shape, job.sizes) | {"activations": peak},
        )
