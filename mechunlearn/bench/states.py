"""Hidden states of many prompts at chosen places: kept, put in, and what answers depend on."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import Row, pad
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.types import HookedModel, Point


@torch.no_grad()
def states_at(
    model: HookedModel,
    rows: Sequence[Sequence[int]],
    places: Sequence[Sequence[int]],
    points: Sequence[Point],
) -> dict[Point, Float[Tensor, "place d_model"]]:
    """What passes some points at some tokens, in one forward per batch.

    Args:
        rows: Tokens of each prompt.
        places: Of each prompt, the tokens that are kept.

    Returns:
        By point, in the model's type: the places of the first row, then of the second, ...
    """
    starts = [0]
    for own in places:
        starts.append(starts[-1] + len(own))
    blocks = 1 + max(point.layer for point in points)
    kept: dict[Point, Tensor] = {}

    def compute(batch: list[int]) -> None:
        tokens, _ = pad(model, [rows[i] for i in batch])
        width = tokens.shape[1]
        pick = [at * width + place for at, i in enumerate(batch) for place in places[i]]
        slots = [slot for i in batch for slot in range(starts[i], starts[i + 1])]
        count_flops(model, tokens.numel(), blocks)
        with capture(model, points, torch.tensor(pick, device=tokens.device)) as found:
            run_blocks(model, tokens, blocks)
        for point, states in found.items():
            if point not in kept:
                kept[point] = torch.empty(starts[-1], states.shape[1], dtype=states.dtype)
            kept[point][slots] = states.cpu()

    in_batches(model, [len(row) for row in rows], compute, backward=True)
    return kept


Put = tuple[Point, Float[Tensor, "read d_model"]]
"""States to be put in at every read of some rows, after the block of a point."""


@torch.no_grad()
def answer_log_probabilities(
    model: HookedModel, rows: Sequence[Row], put: Put | None = None
) -> Float[Tensor, " row"]:
    """Mean log-probability, per row, of the tokens that it reads.

    Args:
        put: The model computes on with these states at the places that are read.
    """
    values = torch.zeros(len(rows), dtype=torch.float64)

    def compute(batch: list[int]) -> None:
        own = [rows[i] for i in batch]
        hook = None if put is None else (put[0], put[1][_slots(rows, batch)])
        values[batch] = _per_row(_forward(model, own, hook), own).double().cpu()

    in_batches(model, [len(row.tokens) for row in rows], compute)
    return values


def answer_gradients(
    model: HookedModel, rows: Sequence[Row], points: Sequence[Point]
) -> dict[Point, Float[Tensor, "read d_model"]]:
    """Gradient of each row's mean log-probability by the states at the places that it reads.

    Returns:
        By point, on the host, in float32.
    """
    n = sum(len(row.reads) for row in rows)
    kept = {point: torch.zeros(n, model.cfg.d_model) for point in points}

    @torch.enable_grad()  # type: ignore[untyped-decorator]
    def compute(batch: list[int]) -> None:
        own = [rows[i] for i in batch]
        added: dict[Point, Tensor] = {}
        hooks = [(point.name, _adding(point, added)) for point in points]
        with model.hooks(fwd_hooks=hooks):
            total = _per_row(_forward(model, own), own).sum()
        slots, pick = _slots(rows, batch), _pick(own)
        found = torch.autograd.grad(total, [added[point] for point in points])
        for point, gradient in zip(points, found, strict=True):
            flat = gradient.flatten(0, 1)
            kept[point][slots] = flat[pick.to(flat.device)].float().cpu()

    in_batches(model, [len(row.tokens) for row in rows], compute, backward=True)
    return kept


def _adding(point: Point, added: dict[Point, Tensor]) -> Callable[..., Tensor]:
    """A hook that adds zeros, by which the gradient is taken."""

    def add(activation: Tensor, hook: object) -> Tensor:
        added[point] = torch.zeros_like(activation, requires_grad=True)
        return activation + added[point]

    return add


def _forward(model: HookedModel, rows: Sequence[Row], put: Put | None = None) -> Tensor:
    """Log-probability of each read's token, rows after rows."""
    final = Point(model.cfg.n_layers - 1)
    tokens, _ = pad(model, [row.tokens for row in rows])
    pick = _pick(rows).to(tokens.device)

    def replace(activation: Tensor, hook: object) -> Tensor:
        assert put is not None
        flat = activation.flatten(0, 1).clone()
        flat[pick.to(flat.device)] = put[1].to(flat)
        return flat.view_as(activation)

    hooks = [] if put is None else [(put[0].name, replace)]
    count_flops(model, tokens.numel())
    with model.hooks(fwd_hooks=hooks), capture(model, [final], pick) as found:
        run_blocks(model, tokens)
    wanted = torch.tensor([token for row in rows for _, token, _ in row.reads], device=pick.device)
    return unembed(model, found[final]).log_softmax(-1).gather(1, wanted[:, None])[:, 0]


def _pick(rows: Sequence[Row]) -> Int[Tensor, " read"]:
    """Flat places of the reads in a padded batch."""
    width = max(len(row.tokens) for row in rows)
    return torch.tensor([i * width + at for i, row in enumerate(rows) for at, _, _ in row.reads])


def _slots(rows: Sequence[Row], batch: Sequence[int]) -> list[int]:
    """Places, among the reads of all rows, of those of a batch."""
    starts = [0]
    for row in rows:
        starts.append(starts[-1] + len(row.reads))
    return [slot for i in batch for slot in range(starts[i], starts[i + 1])]


def _per_row(values: Float[Tensor, " read"], rows: Sequence[Row]) -> Float[Tensor, " row"]:
    parts = values.split([len(row.reads) for row in rows])
    return torch.stack([part.mean() for part in parts])
