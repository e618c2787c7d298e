"""A hooked model's weights under their Hugging Face names, and what identifies them."""

import copy
import hashlib
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from mechunlearn.types import HookedModel

FUSED = {
    "gpt2": "transformer.h.{}.attn.c_attn",
    "gpt_neox": "gpt_neox.layers.{}.attention.query_key_value",
}
"""One matrix for queries, keys and values; the hooked model computes with three copies."""


def fuse(model: HookedModel, split: Sequence[Tensor]) -> Tensor:
    """Rows of the query, key and value matrices (or biases) in the fused matrix' order.

    GPT-2 has all queries, all keys, all values; GPT-NeoX all three of each head.
    """
    if model.original_model.config.model_type == "gpt2":
        return torch.cat(list(split))
    heads = [part.unflatten(0, (model.cfg.n_heads, -1)) for part in split]
    return torch.cat(heads, dim=1).flatten(0, 1)


def without_weights(model: HookedModel) -> PreTrainedModel:
    """The plain architecture, with weights of its own: of the same class, whoever wrote that.

    Asking transformers for the class would make it ask whether code of the model may run.
    """
    kind, config = type(model.original_model), copy.deepcopy(model.original_model.config)
    return kind._from_config(config, dtype=next(model.parameters()).dtype)


def plain_state(model: HookedModel) -> dict[str, Tensor]:
    """The weights under their Hugging Face names, as the hooked model uses them now."""
    config = model.original_model.config
    with torch.device("meta"):
        wanted = without_weights(model).state_dict()
    state = {}
    for name, weight in model.original_model.state_dict().items():
        short = name.replace("_original_component.", "")
        if short in wanted:
            state[short] = weight.detach()
    if config.model_type in FUSED:  # The bridge computes with split copies of the fused weights.
        for i, block in enumerate(model.blocks):
            split = [getattr(block.attn, x).original_component for x in "qkv"]
            name, transposed = FUSED[config.model_type].format(i), config.model_type == "gpt2"
            weight = fuse(model, [m.weight.detach() for m in split])
            state[f"{name}.weight"] = weight.T.contiguous() if transposed else weight
            state[f"{name}.bias"] = fuse(model, [m.bias.detach() for m in split])
    if missing := sorted(set(wanted) - set(state)):
        raise RuntimeError(f"the hooked model has no weights for {missing[:3]}")
    return state


def plain_names(model: HookedModel) -> dict[int, str]:
    """Hugging Face name of each parameter, by the parameter's ``id``."""
    with torch.device("meta"):
        plain = without_weights(model)
    wanted = {name for name, _ in plain.named_parameters(remove_duplicate=False)}
    names = {}
    for name, parameter in model.original_model.named_parameters(remove_duplicate=False):
        short = name.replace("_original_component.", "")
        if short in wanted:
            names[id(parameter)] = short
    return names


def fingerprint(model: HookedModel) -> str:
    """SHA-256 over the names, shapes and bytes of all weights."""
    return _digest(plain_state(model))


def checksum(model: HookedModel) -> list[int]:
    """Sums over the bits of all weights by row and by column, far quicker than ``fingerprint``.

    For telling whether a model was changed since; within one process.
    """
    sums = []
    for weight in model.parameters():
        bits = weight.detach().reshape(max(1, len(weight)) if weight.ndim else 1, -1)
        whole = bits.shape[1] * bits.element_size() % 4 == 0
        bits = bits.contiguous().view(torch.int32 if whole else torch.uint8)
        for axis in (0, 1):
            found = bits.sum(dim=axis, dtype=torch.int32).long()
            places = torch.arange(1, 2 * len(found), 2, device=found.device)
            sums.append(int((found * places).sum()))
    return sums


def block_fingerprints(model: HookedModel) -> list[str]:
    """One SHA-256 per block: comparing two models' lists shows which blocks were edited."""
    state = plain_state(model)
    blocks: list[dict[str, Tensor]] = [{} for _ in range(model.cfg.n_layers)]
    for name, weight in state.items():
        if number := re.search(r"\.(\d+)\.", name):
            blocks[int(number.group(1))][name] = weight
    return [_digest(block) for block in blocks]


def _digest(state: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        weight = state[name].contiguous().cpu()
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.view(torch.uint8).numpy().data)
    return digest.hexdigest()
