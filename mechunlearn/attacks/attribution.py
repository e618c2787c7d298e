"""Critical-neuron attribution: which weights, MLP neurons and attention heads an answer needs.

    weights, SNIP     S_ij = |W_ij| mean_x |dL(x)/dW_ij|
    weights, Wanda    S_ij = |W_ij| |X_j|                   X_j: the inputs of column j
    neurons, heads    S_u  = mean_x |sum_t a_u(t) . dL(x)/da_u(t)|

``L(x)`` is the mean negative log-likelihood of the tokens that a row reads. ``sum a . dL/da`` is,
with its sign turned, the first-order change of the loss when the unit is set to zero.

One batched forward and backward gives the scores of every block: the gradient of a weight for one
example is the product of its layer's inputs and output gradients. So single examples' gradients
come from a batch without a pass for each, always in float32, and no weight needs a ``.grad``.

Reference:
    SNIP: Lee et al. 2019, arXiv:1810.02340; Wanda: Sun et al. 2024, arXiv:2306.11695; both as used
    by Wei et al. 2024, arXiv:2402.05162, and Łucki et al. 2024, arXiv:2409.18025. Gradient times
    activation: Michel et al. 2019, arXiv:1905.10650 (heads); Syed et al. 2023, arXiv:2310.10348
    (attribution patching).
    Differs: float32 throughout; all blocks in one pass. Sun et al. take the inputs at all tokens,
    Wei et al. those at the tokens of the answer alone, the answers' own places and not the ones
    before, at which they are predicted: ``tokens`` says which. Wei et al. divide by the number of
    tokens, which ranks weights alike.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.bench.rows import Row, pad
from mechunlearn.hooks import (
    EMBED,
    LINEAR_MAPS,
    Unit,
    check_layers,
    count_flops,
    linear_maps,
    refuse_unnamed,
    run_blocks,
    unit_name,
)
from mechunlearn.types import HookedModel

Kind = Literal["snip", "wanda"]
Tokens = Literal["all", "answer"]
"""Of a row: all, or those whose likelihood it reads."""


def weight_scores(
    model: HookedModel,
    rows: Sequence[Row],
    kind: Kind = "snip",
    tokens: Tokens = "all",
    *,
    layers: Sequence[int] | None = None,
    matrices: Sequence[str] = LINEAR_MAPS,
) -> dict[tuple[int, str], Float[Tensor, "_ _"]]:
    """Scores of the live weight matrices of some blocks, shaped as the matrices are stored.

    Args:
        rows: From ``example_rows`` or ``text_rows``.
        tokens: Whose inputs Wanda counts. SNIP's loss is that of the tokens a row reads.
        layers: Default: all. Fewer need less memory, with one pass over the rows each time.
        matrices: By TransformerLens' names: q k v o gate in out.

    Returns:
        ``(layer, matrix) -> scores`` in float32.

    Raises:
        ValueError: If a layer does not exist, there are no rows, or nothing is scored.
    """
    layers = list(range(model.cfg.n_layers)) if layers is None else list(layers)
    check_layers(model, layers)
    modules: dict[tuple[int, str], Any] = {
        (layer, name): bridge.original_component
        for layer in layers
        for name, bridge in linear_maps(model, layer, matrices).items()
    }
    if not modules:
        raise ValueError(f"matrices {list(matrices)} match nothing in blocks {layers}")
    _refuse_nothing(rows)
    scores = {k: torch.zeros_like(m.weight, dtype=torch.float32) for k, m in modules.items()}
    counted = Counted()
    rule = _add_snip if kind == "snip" else partial(_add_wanda, counted=counted)
    with ExitStack() as stack:
        for key, module in modules.items():
            inner = isinstance(module, torch.nn.Linear)  # [out, in]; GPT-2's Conv1D is [in, out].
            hook = partial(rule, score=scores[key], linear=inner)
            handle = module.register_forward_hook(hook)
            stack.callback(handle.remove)

        def undo() -> None:
            for score in scores.values():
                score.zero_()

        if kind == "snip":
            _backwards(model, rows, undo)
        else:
            _forwards(model, rows, undo, counted if tokens == "answer" else None)
    with torch.no_grad():
        for key, module in modules.items():
            weight = module.weight.float().abs()
            if kind == "wanda":  # So far: sums of squares.
                scores[key].sqrt_().mul_(weight)
            else:
                scores[key].mul_(weight).div_(len(rows))
    return scores


def _add_snip(
    module: torch.nn.Module, args: tuple[Tensor], out: Tensor, score: Tensor, linear: bool
) -> None:
    """Once the output's gradient is known, add every example's |gradient of the weight|."""
    (x,) = args

    def add(gradient: Tensor) -> None:
        for inputs, grads in zip(x.detach().float(), gradient.float(), strict=True):
            each = grads.T @ inputs if linear else inputs.T @ grads
            score.add_(each.abs_())

    out.register_hook(add)


@dataclass(slots=True)
class Counted:
    """The tokens of the batch at hand that count."""

    places: Bool[Tensor, "row pos"] | None = None
    """``None``: all."""


def _add_wanda(
    module: torch.nn.Module,
    args: tuple[Tensor],
    out: Tensor,
    score: Tensor,
    linear: bool,
    counted: Counted,
) -> None:
    x = args[0].detach().float()
    x = x.flatten(0, -2) if counted.places is None else x[counted.places.to(x.device)]
    squares = x.square().sum(dim=0)
    score.add_(squares if linear else squares[:, None])


def unit_scores(
    model: HookedModel, rows: Sequence[Row], unit: Unit, *, signed: bool = False
) -> Float[Tensor, "layer unit"]:
    """Gradient times activation of all MLP neurons or attention heads.

    Args:
        signed: The mean change of the loss when the unit is zeroed (first order), instead of its
            mean magnitude.

    Raises:
        ValueError: If there are no rows.
    """
    _refuse_nothing(rows)
    _refuse_mixtures(model, unit)
    total: dict[int, Tensor] = {}

    def keep(activation: Tensor, hook: object, layer: int) -> Tensor:
        def add(gradient: Tensor) -> None:
            each = (activation.detach().float() * gradient.float()).sum(dim=1)
            each = -(each if unit == "neuron" else each.sum(dim=-1))
            found = (each if signed else each.abs()).sum(dim=0)
            total[layer] = total[layer] + found if layer in total else found

        activation.register_hook(add)
        return activation  # Heads are handed over as a view, which counts only when returned.

    layers = range(model.cfg.n_layers)
    hooks = [(unit_name(layer, unit), partial(keep, layer=layer)) for layer in layers]
    with model.hooks(fwd_hooks=hooks):
        _backwards(model, rows, total.clear)
    return torch.stack([total[layer] for layer in layers]) / len(rows)


def unit_means(
    model: HookedModel, rows: Sequence[Row], unit: Unit
) -> dict[int, Float[Tensor, "unit *d_head"]]:
    """Mean activation of each neuron or head over the rows' tokens, by layer."""
    total: dict[int, Tensor] = {}

    def keep(activation: Tensor, hook: object, layer: int) -> None:
        found = activation.flatten(0, 1).double().sum(dim=0)
        total[layer] = total[layer] + found if layer in total else found

    layers = range(model.cfg.n_layers)
    _refuse_mixtures(model, unit)
    hooks = [(unit_name(layer, unit), partial(keep, layer=layer)) for layer in layers]
    with model.hooks(fwd_hooks=hooks):
        _forwards(model, rows, total.clear)
    count = sum(len(row.tokens) for row in rows)
    return {layer: (value / count).float() for layer, value in total.items()}


def _refuse_mixtures(model: HookedModel, unit: Unit) -> None:
    """In a mixture of experts what passes the MLP's hook are no neurons."""
    if unit == "neuron":
        for layer, block in enumerate(model.blocks):
            refuse_unnamed(model, layer, block.mlp)


def _refuse_nothing(rows: Sequence[Row]) -> None:
    if not rows:
        raise ValueError("attribution needs at least one row of text or question")


@torch.no_grad()
def _forwards(
    model: HookedModel,
    rows: Sequence[Row],
    undo: Callable[[], None],
    counted: Counted | None = None,
) -> None:
    """Forward over rows of equal length, so that no padding counts.

    Args:
        undo: Forgets all that hooks have added up so far.
        counted: Told before each batch where the tokens are whose likelihood the rows read.
    """

    def compute(batch: list[int]) -> None:
        chosen = [rows[i] for i in batch]
        tokens, real = pad(model, [row.tokens for row in chosen])
        if counted is not None:
            counted.places = torch.zeros_like(real)
            for i, row in enumerate(chosen):
                counted.places[i, [at + 1 for at, _, _ in row.reads]] = True
        count_flops(model, tokens.numel())
        run_blocks(model, tokens)

    in_batches(model, [len(row.tokens) for row in rows], compute, alike=True, undo=undo)


def _backwards(model: HookedModel, rows: Sequence[Row], undo: Callable[[], None]) -> None:
    """Forward, and backward from each example's mean loss, with no weight's gradient computed.

    Args:
        undo: Forgets all that hooks have added up so far.
    """

    def compute(batch: list[int]) -> None:
        chosen = [rows[i] for i in batch]
        lengths = torch.tensor([len(row.reads) for row in chosen], device=model.cfg.device)
        (-log_likelihoods(model, chosen)[:, 0] / lengths).sum().backward()

    with _rooted(model), torch.enable_grad():
        lengths = [len(row.tokens) for row in rows]
        in_batches(model, lengths, compute, backward=True, undo=undo)


@contextmanager
def _rooted(model: HookedModel) -> Iterator[None]:
    """Let gradients flow from the embeddings on, although no weight requires one."""
    flags = [(p, p.requires_grad) for p in model.parameters()]

    def root(activation: Tensor, hook: object) -> Tensor:
        return activation.detach().requires_grad_(True)

    try:
        for p, _ in flags:
            p.requires_grad_(False)
        with model.hooks(fwd_hooks=[(EMBED, root)]):
            yield
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
