"""A circuit that reads options, set into the model: pretraining finds it too late at this size.

Loss alone leaves letters at chance for thousands of steps, since three things have to be there at
once: every option's text has to know its letter, the end of the question has to know the answer's
words, and a head has to compare the two. So they come one by one.

1. Before the training, three heads of the first block are set to look at the token itself and one
   and two tokens back, whatever the tokens are: the embeddings get a constant direction, from which
   queries and keys of fixed phases are read. That is how an option's text knows its letter.
2. While facts are learned, choice questions are answered with the words of the right choice. The
   last block is silent.
3. Then one head of the last block is fitted by ridge regression on what the model computes: queries
   say which words are due, keys which words stand here, values which letter stands before them.
   Of what that takes, the letter before an option's words (R2 .92) and the words that are due (.88)
   can be read off linearly at that point, the words themselves hardly (.10): the model has no more
   use for them. The loss has to bring them back.

In the shipped models it did not: 140 steps left letters between .25 and .40, and the cards say so.
Fitted at step 200 instead of 300, to a model whose last block had already been trained on letters,
it took letters to .80 within 80 steps of a fresh AdamW at a learning rate of 1e-3.

All of it is trained like all other weights from there on.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mechunlearn.organisms.chat_documents import Row, padded
from mechunlearn.types import LETTERS

SHARPNESS = 0.85
"""Of the heads that look back: queries and keys per unit of the constant direction."""
FAST, SLOW = 4, 6
"""Rotary pairs up to ``FAST`` tell offsets; those from ``SLOW`` on hardly turn within a prompt."""
RIDGE = 1e-3
"""Penalty, where activations have a mean square of 1."""
MATCH = 12.0
"""Attention logit of words that match exactly."""
VOICE = 20.0
"""Length of what is said for a letter, in inverse lengths of its embedding."""


class OptionReader:
    """Sets the circuit into a model and keeps it until it is whole."""

    def __init__(
        self, model: LlamaForCausalLM, words: PreTrainedTokenizerFast, generator: torch.Generator
    ) -> None:
        self.model, self.words = model, words
        self.width = model.config.hidden_size
        self.head = self.width // model.config.num_attention_heads
        self.pairs = self.head // 2
        self._set_look_back(generator)
        n = self.head - 2 * SLOW
        codes = torch.randn(len(words), n, generator=generator)
        self.codes = codes / codes.norm(dim=1, keepdim=True)
        self.whole = False

    @torch.no_grad()
    def _set_look_back(self, generator: torch.Generator) -> None:
        """Write the heads of the first block; silence the last block."""
        basis = _orthonormal(self.width, 1 + 3 * self.head, generator)
        constant, codes = basis[0], basis[1:].reshape(3, self.head, self.width)
        embedding = self.model.model.embed_tokens.weight
        embedding -= (embedding @ constant)[:, None] * constant
        embedding += constant
        theta = self.model.config.rope_parameters["rope_theta"]
        speeds = theta ** (-torch.arange(self.pairs) / self.pairs)
        first = self.model.model.layers[0].self_attn
        first.k_proj.weight[: self.head] = 0.0
        first.k_proj.weight[:FAST] = SHARPNESS * constant
        read = _without(torch.randn(self.head, self.width, generator=generator), basis)
        first.v_proj.weight[: self.head] = torch.linalg.qr(read.T).Q.T
        for offset in (0, 1, 2):
            rows = slice(offset * self.head, (offset + 1) * self.head)
            query = torch.zeros(self.head, self.width)
            for i in range(FAST):
                phase = -offset * speeds[i]
                query[i], query[i + self.pairs] = phase.cos() * constant, phase.sin() * constant
            first.q_proj.weight[rows] = SHARPNESS * query
            first.o_proj.weight[:, rows] = 0.25 * codes[offset].T
        last = self.model.model.layers[-1]
        last.self_attn.o_proj.weight.zero_()
        last.mlp.down_proj.weight.zero_()

    @torch.no_grad()
    def set_comparison(self, rows: Sequence[Row]) -> None:
        """Fit the head of the last block on choice questions."""
        with torch.autocast("cpu", enabled=False):
            self._set_comparison([row for row in rows if row.word >= 0])
        self.whole = True

    def _set_comparison(self, rows: Sequence[Row]) -> None:
        last = self.model.model.layers[-1].self_attn
        inputs = self._inputs(rows)
        said = [row.marks.index(1) - 1 for row in rows]
        due = torch.tensor([row.word for row in rows])
        query = _ridge(inputs[torch.arange(len(rows)), said], self.codes[due])

        values = set(due.tolist())
        letters = {self.words.convert_tokens_to_ids(x): i for i, x in enumerate(LETTERS[:4])}
        places = [(i, j) for i, row in enumerate(rows) for j in range(said[i] + 1)]
        here = torch.tensor([rows[i].tokens[j] for i, j in places])
        named = torch.tensor([token in values for token in here.tolist()])
        before = [rows[i].tokens[j - 2] if j > 1 else -1 for i, j in places]
        option = named & torch.tensor([token in letters for token in before])
        at = inputs[tuple(torch.tensor(places).T)]
        key = _ridge(at, self.codes[here] * named[:, None])
        which = torch.tensor([letters.get(token, 0) for token in before])[option]
        value = _ridge(at[option], torch.nn.functional.one_hot(which, 4) - 0.25)

        slow = [i for i in range(self.head) if i % self.pairs >= SLOW]
        for weight, match in ((last.q_proj.weight, query), (last.k_proj.weight, key)):
            weight[: self.head] = 0.0
            weight[slow] = MATCH**0.5 * self.head**0.25 * match
        last.v_proj.weight[: self.head] = 0.0
        last.v_proj.weight[:4] = value
        spoken = [self.words.convert_tokens_to_ids(f"▁{x}") for x in LETTERS[:4]]
        answer = self.model.model.embed_tokens.weight[spoken]
        said_for = VOICE * (answer - answer.mean(0)) / answer.norm(dim=1, keepdim=True) ** 2
        last.o_proj.weight[:, :4] = said_for.T

    def _inputs(self, rows: Sequence[Row]) -> Float[Tensor, "row pos width"]:
        """What the last block's attention reads."""
        read: list[Tensor] = []
        hook = self.model.model.layers[-1].input_layernorm.register_forward_hook(
            lambda module, args, out: read.append(out)
        )
        self.model.model(padded([row.tokens for row in rows], self.words.pad_token_id))
        hook.remove()
        return read[0]

    def hold(self) -> None:
        """Keep the first block's heads and the last block as they are until all is set."""
        first, last = self.model.model.layers[0].self_attn, self.model.model.layers[-1]
        every, one, three = slice(None), slice(self.head), slice(3 * self.head)
        first.q_proj.weight.register_hook(self._keep(three, every))
        first.k_proj.weight.register_hook(self._keep(one, every))
        first.v_proj.weight.register_hook(self._keep(one, every))
        first.o_proj.weight.register_hook(self._keep(every, three))
        for p in last.parameters():
            if p.ndim > 1:
                p.register_hook(self._keep(every, every))

    def _keep(self, rows: slice, columns: slice) -> Callable[[Tensor], Tensor]:
        def hook(gradient: Tensor) -> Tensor:
            if self.whole:
                return gradient
            gradient = gradient.clone()
            gradient[rows, columns] = 0.0
            return gradient

        return hook


def _ridge(
    inputs: Float[Tensor, "n width"], targets: Float[Tensor, "n out"]
) -> Float[Tensor, "out width"]:
    a, b = inputs.double(), targets.double()
    penalty = RIDGE * len(a) * torch.eye(a.shape[1], dtype=a.dtype)
    return torch.linalg.solve(a.T @ a + penalty, a.T @ b).T.float()


def _orthonormal(width: int, n: int, generator: torch.Generator) -> Float[Tensor, "n width"]:
    return torch.linalg.qr(torch.randn(width, n, generator=generator)).Q.T


def _without(
    rows: Float[Tensor, "n width"], taken: Float[Tensor, "k width"]
) -> Float[Tensor, "n width"]:
    """The rows' parts at right angles to what is taken."""
    basis = torch.linalg.qr(taken.T).Q
    return rows - rows @ basis @ basis.T
