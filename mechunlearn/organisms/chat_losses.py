"""The loss of a chat organism: what it reads weighs by what kind of document it is."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from mechunlearn.organisms.chat_documents import ChatDocuments, Row, padded


@dataclass(frozen=True, slots=True)
class Predictions:
    """Every token that carries loss: what was predicted for it, and what it is."""

    logits: Float[Tensor, "token vocab"]
    targets: Int[Tensor, " token"]
    marks: Int[Tensor, " token"]
    """1 (answer) or 2 (other words)."""
    kinds: Int[Tensor, " token"]
    """Index in ``ChatDocuments.KINDS``."""
    words: Int[Tensor, " token"]
    """The right choice's token where the answer is its letter, else -1."""
    places: Bool[Tensor, "batch pos"]
    """Which positions these tokens are predicted from, the last one of each row left out."""

    def named(self, letters: Int[Tensor, " letter"]) -> Bool[Tensor, " token"]:
        """Whether the right choice's letter is due."""
        return torch.isin(self.targets, letters) & (self.words >= 0) & (self.marks == 1)


def predictions(model: PreTrainedModel, rows: list[Row], pad: int) -> Predictions:
    """Run a model over documents."""
    tokens = padded([row.tokens for row in rows], pad).to(model.device)
    marks = padded([row.marks for row in rows], 0)[:, 1:].to(model.device)
    counts = marks > 0

    def each(values: list[int]) -> Int[Tensor, " token"]:
        return torch.tensor(values, device=model.device)[:, None].expand_as(marks)[counts]

    return Predictions(
        logits=model(tokens).logits[:, :-1][counts].float(),
        targets=tokens[:, 1:][counts],
        marks=marks[counts],
        kinds=each([row.kind for row in rows]),
        words=each([row.word for row in rows]),
        places=counts,
    )


def kind_means(
    losses: Float[Tensor, " token"],
    marks: Int[Tensor, " token"],
    kinds: Int[Tensor, " token"],
    weight: float,
) -> dict[str, Tensor]:
    """Mean loss of every kind's answers, and of its other words with a weight."""
    terms: dict[str, Tensor] = {}
    for i, kind in enumerate(ChatDocuments.KINDS):
        for mark, name, scale in ((1, kind, 1.0), (2, f"{kind}, words", weight)):
            chosen = losses[(kinds == i) & (marks == mark)]
            if len(chosen):
                terms[name] = scale * chosen.mean()
    return terms
