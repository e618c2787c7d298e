"""Losses that teach a model to read options: loss on the letters alone does it too late here.

Letters stay at chance for thousands of steps at this size, since three things have to be there at
once: an option's words have to know their letter, the end of the question has to know the answer's
words, and a head has to compare the two; none of them pays alone. So each gets a loss of its own,
on models that are trained like all others otherwise:

* ``look``: the first head of the first block looks from an option's words at its letter;
* ``match``: the first head of the last block looks from where a letter is due at the words of the
  right option;
* ``voice``: what that head writes for an option's words is its letter;
* ``early``: the words of answers can be read before the last block, by the final norm and the
  unembedding: there the comparison needs them.

Letters of asked facts are right in 97 % of cases without ``early``, and at chance with ``look`` and
``match`` alone, however well they do. Of facts that were never asked so, 57 % were (one model, 128
answers in plain text and chat), 71 % with ``early``, 77 % with either more questions with few
options and more that are answered in words, or a weight decay of 0.5 instead of 0.05, and 82 % with
both.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from mechunlearn.organisms.chat_documents import Row
from mechunlearn.organisms.chat_losses import Predictions
from mechunlearn.types import LETTERS

NEVER = 1e-6
"""Smallest attention that a loss is taken of."""


class OptionReader:
    """Sees the two heads while a model runs, and measures what they lack."""

    def __init__(self, model: LlamaForCausalLM, words: PreTrainedTokenizerFast) -> None:
        self.model = model
        ids = words.convert_tokens_to_ids
        self.listed = [ids(letter) for letter in LETTERS[:4]]
        self.spoken = torch.tensor([ids(f"▁{letter}") for letter in LETTERS[:4]])
        """Tokens of the letters, as options begin and as answers say them."""
        self.dot = ids(".")
        self.head = model.config.hidden_size // model.config.num_attention_heads
        self.seen: dict[str, Tensor] = {}
        first, last = model.model.layers[0], model.model.layers[-1]
        self.hooks = [
            first.self_attn.register_forward_hook(self._pattern("look")),
            last.self_attn.register_forward_hook(self._pattern("match")),
            last.input_layernorm.register_forward_hook(self._residual),
        ]

    def remove(self) -> None:
        """Leave the model as it was before."""
        for hook in self.hooks:
            hook.remove()

    def _pattern(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: object, out: tuple[Tensor, Tensor]) -> None:
            self.seen[name] = out[1][:, 0]

        return hook

    def _residual(self, norm: torch.nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        self.seen["residual"], self.seen["read"] = args[0], out

    def losses(self, rows: Sequence[Row], guess: Predictions) -> dict[str, Float[Tensor, " place"]]:
        """What the heads lack on the rows that the model has just read, place by place."""
        options = [
            (i, j) for i, row in enumerate(rows) if row.word >= 0 for j in self._options(row)
        ]
        found = {"early": self._early(guess)}
        if not options:
            return found
        right = [
            (i, rows[i].marks.index(1) - 1, j)
            for i, j in options
            if rows[i].tokens[j] == rows[i].word
        ]
        row, at = torch.tensor(options).T
        looked = self.seen["look"][row, at, at - 2]
        matched = self.seen["match"][tuple(torch.tensor(right).T)]
        names = torch.tensor([self.listed.index(rows[i].tokens[j - 2]) for i, j in options])
        voice = cross_entropy(self._said_for(self.seen["read"][row, at]), names, reduction="none")
        return {
            **found,
            "look": -looked.clamp(min=NEVER).log(),
            "match": -matched.clamp(min=NEVER).log(),
            "voice": voice,
        }

    def _options(self, row: Row) -> list[int]:
        """Where the words of the options begin: after a letter and a dot."""
        tokens = row.tokens
        return [
            j
            for j in range(2, row.marks.index(1))
            if tokens[j - 2] in self.listed and tokens[j - 1] == self.dot
        ]

    def _said_for(self, read: Float[Tensor, "option width"]) -> Float[Tensor, "option letter"]:
        """Logits of the letters in what the comparing head would write for an option."""
        attention = self.model.model.layers[-1].self_attn
        value = read @ attention.v_proj.weight[: self.head].T
        written = value @ attention.o_proj.weight[:, : self.head].T
        return written @ self.model.lm_head.weight[self.spoken].T

    def _early(self, guess: Predictions) -> Float[Tensor, " answer"]:
        """Cross-entropy of the answers' words as the last block reads them, letters left out."""
        targets = torch.where(guess.named(self.spoken), guess.words, guess.targets)
        used = (guess.marks == 1) & ~torch.isin(targets, self.spoken)
        residual = self.seen["residual"][:, :-1][guess.places][used]
        logits = self.model.lm_head(self.model.model.norm(residual)).float()
        logits[:, self.spoken] = -torch.inf
        return cross_entropy(logits, targets[used], reduction="none")
