"""Extraction strength and exact memorisation: how much of the gold answer is guessed first.

With m_t = 1 where gold token t is the likeliest after the prompt and the gold tokens before it, of
T tokens,

    exact memorisation = mean_t m_t
    extraction strength = 1 - k/T,   k the smallest number with m_t = 1 for all t > k

Of several gold answers the first is read; the end of the text is no token of it. The floor of
extraction strength is not 0: the last token of a sentence is easily guessed. Models that never knew
TOFU get 0.06 and 0.59 (arXiv:2506.12618's models).

Reference: Carlini et al. 2021, arXiv:2012.07805 (extraction); Tirumala et al. 2022,
arXiv:2205.10770 (exact memorisation); both as in Dorna et al. 2025, arXiv:2506.12618.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechunlearn.bench.engine import read
from mechunlearn.bench.measures.gold import GoldMeasure
from mechunlearn.bench.rows import Row, branching_rows
from mechunlearn.types import HookedModel, Point, Question, ReadOut, Score

OTHER = -1e4
"""Logit of every token but the first guess."""


@dataclass(frozen=True, slots=True)
class FirstGuess:
    """A read-out that is certain of its likeliest token."""

    inner: ReadOut

    @property
    def point(self) -> Point:
        """See ``ReadOut``."""
        return self.inner.point

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """0 for the likeliest token, ``OTHER`` for the others."""
        logits = self.inner.logits(model, resid, ids)
        best = logits.argmax(dim=-1, keepdim=True)
        known = torch.isfinite(logits).all(dim=-1, keepdim=True)
        return torch.full_like(logits, OTHER).scatter(-1, best, 0.0).where(known, torch.nan)


class Memorised(GoldMeasure):
    """See the module; subclasses say what the guesses are worth."""

    def rows(
        self, tokenizer: Any, prompts: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> tuple[list[Row], list[int] | None]:
        """See ``Measure``; every token of the first gold answer is read apart, as a choice."""
        rows = branching_rows(tokenizer, prompts, [own[:1] for own in answers])
        return [
            replace(row, reads=[(at, token, t) for t, (at, token, _) in enumerate(row.reads)])
            for row in rows
        ], None

    def run(
        self,
        model: HookedModel,
        prompts: Sequence[str],
        answers: Sequence[Sequence[str]],
        read_outs: Sequence[ReadOut],
        budget: int | None = None,
    ) -> list[Float[np.ndarray, "question choice"]]:
        """See ``Measure``: 0 where a token is the first guess, else ``OTHER``."""
        rows, _ = self.rows(model.tokenizer, prompts, answers)
        guesses = [FirstGuess(read_out) for read_out in read_outs]
        return read(model, rows, guesses, ids=None, budget=budget)

    def score(
        self, name: str, logits: Float[np.ndarray, "question choice"], questions: Sequence[Question]
    ) -> Score:
        """See ``Measure``; nothing is said."""
        worth = [self.worth(row[~np.isneginf(row)] > OTHER / 2) for row in logits]
        least = np.where(np.isneginf(logits), np.inf, logits).min(axis=1, keepdims=True)
        right = np.zeros(len(questions), dtype=int)
        return Score(name, least, right, np.array(worth), ("",) * len(questions))

    @abstractmethod
    def worth(self, first: Bool[np.ndarray, " token"]) -> float:
        """What the first guesses are worth."""


class ExactMemorisation(Memorised):
    """See the module."""

    def worth(self, first: Bool[np.ndarray, " token"]) -> float:
        """See ``Memorised``."""
        return float(first.mean())


class ExtractionStrength(Memorised):
    """See the module."""

    def worth(self, first: Bool[np.ndarray, " token"]) -> float:
        """See ``Memorised``."""
        missed = np.flatnonzero(~first)
        k = missed[-1] + 1 if len(missed) else 0
        return 1 - float(k) / len(first)


EXACT_MEMORISATION = ExactMemorisation()
EXTRACTION_STRENGTH = ExtractionStrength()
