"""A model's weights by what they do, and how they are changed for a while."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from mechunlearn.types import HookedModel

LinearMap = Literal["q", "k", "v", "o", "gate", "in", "out"]
LINEAR_MAPS: tuple[LinearMap, ...] = get_args(LinearMap)
"""A block's weight matrices by TransformerLens' names; ``gate`` only where the MLP has one."""


def mlp_parameters(
    model: HookedModel, layer: int, which: Literal["down_proj", "mlp"]
) -> list[torch.nn.Parameter]:
    """The live parameters of one block's MLP, or of its output matrix alone."""
    mlp = model.blocks[layer].mlp
    part = mlp.out if which == "down_proj" else mlp
    return list(dict.fromkeys(part.parameters()))


def linear_maps(
    model: HookedModel, layer: int, names: Sequence[str] = LINEAR_MAPS
) -> dict[str, torch.nn.Module]:
    """Bridges of one block's live weight matrices; the matrix itself is ``.original_component``.

    Args:
        names: Which of them, out of ``LINEAR_MAPS``; those the block lacks are left out.
    """
    block = model.blocks[layer]
    parts = {name: block.attn if name in "qkvo" else block.mlp for name in names}
    return {n: getattr(part, n) for n, part in parts.items() if n in part._modules}


def live_parameters(model: HookedModel) -> list[torch.nn.Parameter]:
    """All parameters that the forward uses; GPT-2's fused ``qkv`` is a dead copy in the bridge."""
    fused = [b.attn.get_submodule("qkv") for b in model.blocks if "qkv" in b.attn._modules]
    dead = {id(p) for part in fused for p in part.parameters()}
    return [p for p in model.parameters() if id(p) not in dead]


def stream_weights(model: HookedModel) -> list[tuple[torch.nn.Parameter, int]]:
    """Every parameter that writes to the residual stream, and its axis of size ``d_model``.

    Raises:
        ValueError: If a norm stands between the weights and the stream (Gemma 2 and 3), so that no
            change of the weights alone is a change of what is written.
    """
    if "ln1_post" in model.blocks[0]._modules:
        name = type(model.original_model).__name__
        raise ValueError(
            f"{name} norms what its blocks write, so a direction cannot be taken out of the "
            "weights; use the hooked ablation (ablate_everywhere)"
        )
    tables = [model.embed] + ([model.pos_embed] if hasattr(model, "pos_embed") else [])
    weights = [(table.original_component.weight, -1) for table in tables]
    for block in model.blocks:
        for write in (block.attn.o.original_component, block.mlp.out.original_component):
            # GPT-2's Conv1D holds [in, out], every Linear [out, in].
            weights.append((write.weight, 0 if isinstance(write, torch.nn.Linear) else -1))
            if write.bias is not None:
                weights.append((write.bias, -1))
    return weights


def untie_(model: HookedModel) -> None:
    """Give the embedding a weight of its own where it shares the unembedding's."""
    embedding, unembedding = model.embed.original_component, model.unembed.original_component
    if embedding.weight is unembedding.weight:
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
        embedding.weight.requires_grad_(False)
        model.original_model.config.tie_word_embeddings = False
