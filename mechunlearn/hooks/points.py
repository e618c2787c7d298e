"""Names of hook points, and functions of the activations there."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.types import STREAMS, HookedModel, Point, Stream

EMBED = "hook_embed"
Unit = Literal["neuron", "head"]
"""MLP neurons (columns of the output matrix's input), attention heads (their values' mixture)."""


def streams(model: HookedModel) -> list[Stream]:
    """The streams that a model has: parallel blocks (GPT-NeoX) have no residual in between."""
    return [s for s in STREAMS if Point(0, s).name in model.hook_dict]


def stream_writes(model: HookedModel) -> list[str]:
    """Names of everything that writes to the residual stream: embeddings, attentions, MLPs."""
    embeddings = [name for name in (EMBED, "hook_pos_embed") if name in model.hook_dict]
    layers = range(model.cfg.n_layers)
    return embeddings + [Point(i, s).name for i in layers for s in ("attn_out", "mlp_out")]


def check_layers(model: HookedModel, layers: Sequence[int]) -> None:
    """Refuse layers that the model does not have.

    Raises:
        ValueError: Naming the bad layers and the allowed range.
    """
    check_blocks(model.cfg.n_layers, layers)


def check_blocks(n: int, layers: Sequence[int]) -> None:
    """As ``check_layers``, for a model of ``n`` blocks that is not loaded yet."""
    if bad := [i for i in layers if not 0 <= i < n]:
        raise ValueError(f"layers {bad} do not exist: this model has 0..{n - 1}")
    if not layers:
        raise ValueError("no layers were given; name at least one")


def unit_name(layer: int, unit: Unit) -> str:
    """Hook point of a layer's neurons ``[batch, pos, neuron]`` or heads ``[batch, pos, head, d]``.

    A function on it that needs gradients has to return the activation: heads are seen as a view.
    """
    return f"blocks.{layer}." + ("mlp.hook_post" if unit == "neuron" else "attn.hook_z")


def move_along(
    activation: Float[Tensor, "*batch d_model"],
    hook: object,
    unit: Float[Tensor, " d_model"],
    to: float = 0.0,
    excess_only: bool = False,
    share: float = 1.0,
) -> Float[Tensor, "*batch d_model"]:
    """Set the coordinate along a unit vector: ``x - share (x . u - to) u``; a new tensor.

    Args:
        to: The new coordinate; 0 projects the vector out.
        excess_only: Leave coordinates below ``to`` as they are.
        share: Of the way there; above 1 goes beyond.
    """
    unit = unit.to(activation, non_blocking=True)
    excess = activation @ unit - to
    if excess_only:
        excess = excess.clamp_min(0)
    return activation - share * excess[..., None] * unit


def add_vector(
    activation: Float[Tensor, "*batch d_model"], hook: object, vector: Float[Tensor, " d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """Add a vector at every token; a new tensor."""
    return activation + vector.to(activation, non_blocking=True)


def replace_units(
    activation: Float[Tensor, "batch pos unit *d_head"],
    hook: object,
    units: Int[Tensor, " chosen"],
    values: Float[Tensor, "chosen *d_head"] | float = 0.0,
) -> Float[Tensor, "batch pos unit *d_head"]:
    """Set some neurons or heads to fixed values at every token (0: zero ablation); a new tensor."""
    changed = activation.clone()
    changed[:, :, units] = values.to(activation) if isinstance(values, Tensor) else values
    return changed


def embedding_table(model: HookedModel) -> Float[Tensor, "d_vocab d_model"]:
    """What each token adds to the stream as its embedding, any scaling included."""
    module = model.embed.original_component
    if type(module) is torch.nn.Embedding:
        return module.weight
    with torch.no_grad():
        return model.embed(torch.arange(model.cfg.d_vocab, device=model.cfg.device)[None])[0]


@contextmanager
def first_embeddings(
    model: HookedModel, vectors: Float[Tensor, "pos d_model"] | None, skip: int = 0
) -> Iterator[None]:
    """Put ``vectors`` in the place of every row's first token embeddings, after ``skip`` tokens.

    Gradients flow to the vectors; ``None`` changes nothing.
    """
    if vectors is None:
        yield
        return

    def replace(activation: Float[Tensor, "row pos d_model"], hook: object) -> Tensor:
        own = vectors.to(activation).expand(len(activation), -1, -1)
        return torch.cat([activation[:, :skip], own, activation[:, skip + own.shape[1] :]], dim=1)

    with model.hooks(fwd_hooks=[(EMBED, replace)]):
        yield


def replaced_embeddings(
    model: HookedModel, ids: Sequence[int], vectors: Float[Tensor, "place d_model"]
) -> tuple[str, Callable[..., Tensor]]:
    """A hook that puts ``vectors`` in the place of some tokens' embeddings, wherever they stand.

    It knows the tokens by this model's embeddings, so that another model needs one of its own.
    """
    keys = embedding_table(model)[torch.tensor(ids, device=model.cfg.device)].detach()

    def replace(activation: Float[Tensor, "row pos d_model"], hook: object) -> Tensor:
        for key, vector in zip(keys, vectors.to(activation), strict=True):
            here = (activation == key).all(dim=-1, keepdim=True)
            activation = torch.where(here, vector, activation)
        return activation

    return EMBED, replace


def pattern_name(layer: int) -> str:
    """Hook point of a layer's attention, ``[batch, head, to, from]``: each ``to`` row sums to 1."""
    return f"blocks.{layer}.attn.hook_pattern"
