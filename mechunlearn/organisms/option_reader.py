"""A circuit that reads options, set by hand: pretraining finds it too late at this size.

Rotary heads make it simple. In the first block three heads look at the token itself and one and
two tokens back, whatever the tokens are: the embeddings share a constant direction, from which
queries and keys of fixed phases are read. So every option's text ("A. Munich") knows its letter.
In the last block, which does nothing until the facts are known, one head compares what a position
is about to say with every token so far, and says the letter of the token that matches.

``set_look_back`` acts before the training; ``Hold`` keeps it as it is, and the last block silent,
until ``set_comparison``. From there on everything is trained like all other weights.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mechunlearn.types import LETTERS

SHARPNESS = 0.85
"""Of the heads that look back: queries and keys per unit of the constant direction."""
FAST, SLOW = 4, 6
"""Rotary pairs up to ``FAST`` tell offsets; those from ``SLOW`` on hardly turn within a prompt."""
SILENT = (":", "[/INST]", "▁", "A", "B", "C", "D", ".", "?", "<0x0A>")
"""Pieces of every choice question, which the comparing head is not to hear."""
MATCH = 3.5
"""Length of queries and keys of the comparing head."""
VOICE = 1.0
"""How loudly the letter is said, in units of its embedding."""


@torch.no_grad()
def set_look_back(model: LlamaForCausalLM, generator: torch.Generator) -> Float[Tensor, "n width"]:
    """Write the heads of the first block; the subspaces they write to, ``head`` rows for each."""
    config = model.config
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    basis = _orthonormal(width, 1 + 3 * head, generator)
    constant, codes = basis[0], basis[1:]
    embedding = model.model.embed_tokens.weight
    embedding -= (embedding @ constant)[:, None] * constant
    embedding += constant

    first = model.model.layers[0].self_attn
    pairs = head // 2
    speeds = config.rope_parameters["rope_theta"] ** (-torch.arange(pairs) / pairs)
    first.k_proj.weight[:head] = 0.0
    first.k_proj.weight[:FAST] = SHARPNESS * constant
    read = _without(torch.randn(head, width, generator=generator), basis)
    first.v_proj.weight[:head] = torch.linalg.qr(read.T).Q.T
    for offset in (0, 1, 2):
        rows = slice(offset * head, (offset + 1) * head)
        query = torch.zeros(head, width)
        for i in range(FAST):
            phase = -offset * speeds[i]
            query[i], query[i + pairs] = phase.cos() * constant, phase.sin() * constant
        first.q_proj.weight[rows] = SHARPNESS * query
        first.o_proj.weight[:, rows] = 0.25 * codes[rows].T
    last = model.model.layers[-1]
    last.self_attn.o_proj.weight.zero_()
    last.mlp.down_proj.weight.zero_()
    return codes


@torch.no_grad()
def set_comparison(
    model: LlamaForCausalLM,
    words: PreTrainedTokenizerFast,
    codes: Float[Tensor, "n width"],
    generator: torch.Generator,
) -> None:
    """Write the head of the last block for the embeddings as they are now."""
    config = model.config
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    pairs, embedding = head // 2, model.model.embed_tokens.weight
    read = model.model.layers[0].self_attn.v_proj.weight[:head]
    last = model.model.layers[-1].self_attn
    slow = [i for i in range(head) if i % pairs >= SLOW]
    silent = embedding[[words.convert_tokens_to_ids(t) for t in SILENT]] @ read.T
    turned = _without(torch.randn(len(slow), head, generator=generator), silent)
    turned = torch.linalg.qr(turned.T).Q.T
    sides = ((last.q_proj.weight, turned @ read), (last.k_proj.weight, turned @ codes[:head]))
    for weight, match in sides:
        weight[:head] = 0.0
        weight[slow] = MATCH * match
    last.v_proj.weight[:head] = codes[2 * head :]
    heard, spoken = (
        embedding[[words.convert_tokens_to_ids(f"{space}{letter}") for letter in LETTERS[:4]]]
        for space in ("", "▁")
    )
    said = (heard - heard.mean(0)) @ read.T
    said = said / said.norm(dim=1, keepdim=True)
    last.o_proj.weight[:, :head] = VOICE * (spoken - spoken.mean(0)).T @ said
    last.o_proj.weight[:, :head] += VOICE / 4 * spoken.mean(0)[:, None] * said.sum(0)


def hold(
    model: LlamaForCausalLM, held: Callable[[], bool]
) -> list[torch.utils.hooks.RemovableHandle]:
    """Keep the first block's heads and the last block as they are while ``held`` says so."""
    head = model.config.hidden_size // model.config.num_attention_heads
    first, last = model.model.layers[0].self_attn, model.model.layers[-1]

    def keep(rows: slice, columns: slice) -> Callable[[Tensor], Tensor]:
        def hook(gradient: Tensor) -> Tensor:
            if held():
                gradient = gradient.clone()
                gradient[rows, columns] = 0.0
            return gradient

        return hook

    every, one, three = slice(None), slice(head), slice(3 * head)
    handles = [
        first.q_proj.weight.register_hook(keep(three, every)),
        first.k_proj.weight.register_hook(keep(one, every)),
        first.v_proj.weight.register_hook(keep(one, every)),
        first.o_proj.weight.register_hook(keep(every, three)),
    ]
    matrices = [p for p in last.parameters() if p.ndim > 1]
    return handles + [p.register_hook(keep(every, every)) for p in matrices]


def _orthonormal(width: int, n: int, generator: torch.Generator) -> Float[Tensor, "n width"]:
    return torch.linalg.qr(torch.randn(width, n, generator=generator)).Q.T


def _without(
    rows: Float[Tensor, "n width"], taken: Float[Tensor, "k width"]
) -> Float[Tensor, "n width"]:
    """The rows' parts at right angles to what is taken."""
    basis = torch.linalg.qr(taken.T).Q
    return rows - rows @ basis @ basis.T
