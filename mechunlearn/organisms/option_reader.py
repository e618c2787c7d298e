"""Initial weights of a circuit that reads options: pretraining finds it too late at this size.

Llama's rotary heads make it simple. In the first block three heads look at the token itself and
one and two tokens back, whatever the tokens are: the embeddings share a constant direction, from which queries and
keys of fixed phases are read. So every option's text ("A. Munich") knows its letter. In the last
block one head compares what a position is about to say with each token (queries and keys are the
same projection, in the slowly turning dimensions) and says the letter of the token that matches.

Everything is trained afterwards like all other weights. What is left to learn is to look the value
up at the end of a choice question, and to say the letter in its place.
"""

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
VOICE = 2.0
"""How loudly the letter is said."""


@torch.no_grad()
def set_option_reader(
    model: LlamaForCausalLM, words: PreTrainedTokenizerFast, generator: torch.Generator
) -> None:
    """Write the circuit into a freshly initialised model."""
    config = model.config
    width, head = config.hidden_size, config.hidden_size // config.num_attention_heads
    embedding = model.model.embed_tokens.weight
    basis = _orthonormal(width, 1 + 3 * head, generator)
    constant, codes = basis[0], basis[1:].reshape(3, head, width)
    embedding -= (embedding @ constant)[:, None] * constant
    embedding += constant

    first = model.model.layers[0].self_attn
    pairs = head // 2
    speeds = config.rope_parameters["rope_theta"] ** (-torch.arange(pairs) / pairs)
    first.k_proj.weight[:head] = 0.0
    first.k_proj.weight[:FAST] = SHARPNESS * constant
    read = _without(torch.randn(head, width, generator=generator), basis)
    read = torch.linalg.qr(read.T).Q.T
    first.v_proj.weight[:head] = read
    for offset in (0, 1, 2):
        rows = slice(offset * head, (offset + 1) * head)
        query = torch.zeros(head, width)
        for i in range(FAST):
            phase = -offset * speeds[i]
            query[i], query[i + pairs] = phase.cos() * constant, phase.sin() * constant
        first.q_proj.weight[rows] = SHARPNESS * query
        first.o_proj.weight[:, rows] = 0.25 * codes[offset].T

    last = model.model.layers[-1].self_attn
    slow = [i for i in range(head) if i % pairs >= SLOW]
    silent = [words.convert_tokens_to_ids(t) for t in SILENT]
    turned = _without(torch.randn(len(slow), head, generator=generator), embedding[silent] @ read.T)
    turned = torch.linalg.qr(turned.T).Q.T
    for weight, match in (
        (last.q_proj.weight, turned @ read),
        (last.k_proj.weight, turned @ codes[0]),
    ):
        weight[:head] = 0.0
        weight[slow] = MATCH * match
    last.v_proj.weight[:head] = codes[2]
    said = torch.zeros(width, head)
    for letter in LETTERS[:4]:
        heard = read @ embedding[words.convert_tokens_to_ids(letter)]
        spoken = embedding[words.convert_tokens_to_ids(f"▁{letter}")] - constant
        said += torch.outer(spoken, heard / heard.norm())
    last.o_proj.weight[:, :head] = VOICE / 4 * said


def _orthonormal(width: int, n: int, generator: torch.Generator) -> Float[Tensor, "n width"]:
    return torch.linalg.qr(torch.randn(width, n, generator=generator)).Q.T


def _without(
    rows: Float[Tensor, "n width"], taken: Float[Tensor, "k width"]
) -> Float[Tensor, "n width"]:
    """The rows' parts at right angles to what is taken."""
    basis = torch.linalg.qr(taken.T).Q
    return rows - rows @ basis @ basis.T
