"""Activations over many texts: means layer by layer, outliers, and a principal component.

Everything is streamed: sums are kept in float64 and no token is stored, but for a bounded sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import encode, pad, placed, real_places
from mechunlearn.cost.memory import Shape, Sizes, forward_bytes, tokens_per_batch
from mechunlearn.hooks import capture, count_flops, run_blocks
from mechunlearn.types import HookedModel, Point

OUTLIER_TOKENS = 1000
"""Tokens among which outliers are looked for."""
OUTLIER_Z = 3.0


@dataclass(slots=True)
class Statistics:
    """Of activations at every layer: sums over tokens, and a bounded sample of them."""

    n: int = 0
    sums: Float[Tensor, "layer d_model"] | None = None
    sample: list[Float[Tensor, "layer token d_model"]] = field(default_factory=list)

    @property
    def mean(self) -> Float[Tensor, "layer d_model"]:
        """Mean activation, in float64."""
        assert self.sums is not None
        return self.sums / self.n

    @property
    def reservoir(self) -> Float[Tensor, "layer token d_model"]:
        """The sample as one tensor."""
        return torch.cat(self.sample, dim=1)


@torch.no_grad()
def activation_statistics(
    model: HookedModel,
    texts: Sequence[str],
    *,
    drop: frozenset[int] = frozenset(),
    keep: int = 0,
    whole: bool = False,
) -> Statistics:
    """Mean block outputs over the tokens of some texts.

    Args:
        texts: The leading tokens they all share are skipped.
        drop: Token ids that do not count (outliers).
        keep: Tokens to keep for a principal component, evenly spaced over all tokens.
        whole: Skip no leading tokens.

    Raises:
        ValueError: If no token is left.
    """
    rows = [row for row in model.tokenizer(list(texts))["input_ids"] if row]
    skip = 0 if whole else _shared(model, rows)
    total = sum(token not in drop for row in rows for token in row[skip:])
    if not total:
        raise ValueError("no tokens are left to average; are all texts the same?")
    points = [Point(i) for i in range(model.cfg.n_layers)]
    statistics = Statistics()
    spacing = max(1, total // keep) if keep else 0

    def compute(batch: list[int]) -> None:
        own = [rows[i] for i in batch]
        tokens, _ = pad(model, own)
        counted = _counted(own, tokens.shape[1], skip, drop)
        count_flops(model, tokens.numel())
        pick = placed(torch.tensor(counted, dtype=torch.long), tokens.device)
        some = slice(-statistics.n % spacing, None, spacing) if spacing else slice(0)

        def take(states: Tensor) -> tuple[Tensor, Tensor]:
            return states.double().sum(dim=0), states[some].clone()

        with capture(model, points, pick, take) as kept:
            run_blocks(model, tokens)
        # On the device: a batch at every layer takes longer to fetch than to compute.
        sums = torch.stack([kept[p][0] for p in points]).cpu()
        statistics.sums = sums if statistics.sums is None else statistics.sums + sums
        if spacing:
            statistics.sample.append(torch.stack([kept[p][1] for p in points]).float().cpu())
        statistics.n += len(counted)

    in_batches(model, [len(r) for r in rows], compute)
    return statistics


def _shared(model: HookedModel, rows: Sequence[Sequence[int]]) -> int:
    """Leading tokens that all rows share; of one row, what the tokenizer puts before any text."""
    if len(rows) == 1:
        rows = [*rows, [*encode(model.tokenizer, ""), -1]]  # -1: no token at all.
    skip = 0
    while rows and all(len(r) > skip + 1 and r[skip] == rows[0][skip] for r in rows):
        skip += 1
    return skip


def _counted(
    rows: Sequence[Sequence[int]], width: int, skip: int, drop: frozenset[int]
) -> list[int]:
    """Flat indices, in rows padded to a width, of the tokens that count."""
    return [
        i * width + at
        for i, row in enumerate(rows)
        for at, token in enumerate(row)
        if at >= skip and token not in drop
    ]


@torch.no_grad()
def outlier_tokens(model: HookedModel, texts: Sequence[str]) -> frozenset[int]:
    """Token ids whose activations lie far from all others at some layer.

    Among the first 1,000 tokens, those whose mean L1 distance to the others is more than three
    standard deviations above the average (protocol of Łucki et al.).
    """
    points = [Point(i) for i in range(model.cfg.n_layers)]
    rows, n = [], 0
    for row in model.tokenizer(list(texts))["input_ids"]:
        if n < OUTLIER_TOKENS:
            rows.append(row)
            n += len(row)
    ids: list[int] = []
    stacks: list[Tensor] = []

    def compute(batch: list[int]) -> None:
        own = [rows[i] for i in batch]
        tokens, _ = pad(model, own)
        with capture(model, points, placed(real_places(own), tokens.device)) as kept:
            run_blocks(model, tokens)
        ids.extend(token for row in own for token in row)
        stacks.append(torch.stack([kept[p] for p in points]))

    in_batches(model, [len(r) for r in rows], compute)
    far = torch.stack([_far(layer.float()) for layer in torch.cat(stacks, dim=1)])
    return frozenset(ids[i] for i in far.any(dim=0).nonzero()[:, 0].tolist())


def _far(states: Float[Tensor, "token d_model"]) -> Bool[Tensor, " token"]:
    """Which tokens lie far from the others."""
    distance = torch.cdist(states, states, p=1).mean(dim=1)
    return distance > distance.mean() + OUTLIER_Z * distance.std()


def first_component(
    a: Float[Tensor, "layer token d_model"], b: Float[Tensor, "layer token d_model"]
) -> Float[Tensor, "layer d_model"]:
    """First principal component of both samples together, per layer, in activation units."""
    both = torch.cat([a, b], dim=1).double()
    scale = both.std(dim=1, keepdim=True).clamp_min(1e-12)
    standard = (both - both.mean(dim=1, keepdim=True)) / scale
    _, _, right = torch.linalg.svd(standard, full_matrices=False)
    return right[:, 0] * scale[:, 0]


def statistics_bytes(shape: Shape, sizes: Sizes, keep: int = 0) -> float:
    """Peak memory of statistics of two models: a batch at one layer, or both samples' component.

    Args:
        keep: Tokens of each sample.
    """
    tokens = tokens_per_batch(shape, sizes)
    batch = (sizes.number + 8) * tokens * shape.d_model + forward_bytes(shape, sizes, tokens)
    sample = min(keep, sizes.longest * sizes.questions) * shape.layers * shape.d_model
    if sizes.kind != "cpu":  # Samples lie on the host, but for the last batch's.
        return float(batch + sizes.number * sample)
    component = 2 * sample * (4 + 3 * 8) + 8 * shape.layers * shape.d_model**2 if sample else 0
    return float(4 * 2 * sample + max(batch, component))
