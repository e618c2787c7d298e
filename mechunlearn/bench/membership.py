"""Can texts that a model was trained on be told from texts that nobody could know?

    loss     mean_t log p_t, where p_t is the probability of token t after those before it
    min-k    mean of the lowest k % of log p_t
    min-k++  the same of (log p_t - mean log p) / std log p, both over the vocabulary at t
    zlib     sum_t log p_t / bytes of the text, compressed

Higher is more like a member in each. Members are the forget questions' facts as statements, the
others twin questions' facts: the same form, about entities that were made up.

Reference:
    Yeom et al. 2018, arXiv:1709.01604 (loss); Carlini et al. 2021, arXiv:2012.07805 (zlib); Shi et
    al. 2024, arXiv:2310.16789 (Min-K); Zhang et al. 2024, arXiv:2404.02936 (Min-K++).
    Differs: k is 20 for every text, as in these papers' tables; the mean and the standard deviation
    of Min-K++ are of the model's own distribution in float32.
    Limits: says what a model's likelihood gives away, not what can be drawn from it; texts that are
    not of one form are told apart by form alone, for which the never-knew model is the measure.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import pad
from mechunlearn.bench.vocabulary import over_rows
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.types import HookedModel, Point, PromptFormat, Question, Turn

SHARE = 0.2
"""Of the tokens, the least likely ones, that Min-K and Min-K++ look at."""


def statements(questions: Sequence[Question], prompt: PromptFormat) -> list[str]:
    """Each question's fact as plain text: what is stated, and the right answer."""
    plain = dataclasses.replace(prompt, turn=Turn(), header="", headers={})
    texts = []
    for question in questions:
        statement, endings = plain.cloze_prompt(question)
        texts.append(statement + endings[question.answer])
    return texts


@torch.no_grad()
def membership_scores(
    model: HookedModel, texts: Sequence[str]
) -> Mapping[str, Float[np.ndarray, " text"]]:
    """How much each text looks like one that the model was trained on, by four scores.

    Raises:
        ValueError: If a text has fewer than two tokens.
    """
    rows = [row[: model.cfg.n_ctx or len(row)] for row in model.tokenizer(list(texts))["input_ids"]]
    if any(len(row) < 2 for row in rows):
        raise ValueError("a text has fewer than two tokens; nothing in it can be likely or not")
    found = {name: np.zeros(len(rows)) for name in ("loss", "min-k", "min-k++", "zlib")}

    def compute(batch: list[int]) -> None:
        plain, normed = _token_scores(model, [rows[i] for i in batch])
        for i, own, standard in zip(batch, plain, normed, strict=True):
            size = len(zlib.compress(texts[i].encode()))
            found["loss"][i] = own.mean()
            found["min-k"][i] = _lowest(own)
            found["min-k++"][i] = _lowest(standard)
            found["zlib"][i] = own.sum() / size

    in_batches(model, [len(row) for row in rows], compute)
    return found


def _lowest(values: Float[np.ndarray, " token"]) -> float:
    """Mean of the least likely tokens, of at least one."""
    return float(np.sort(values)[: max(1, int(SHARE * len(values)))].mean())


def _token_scores(
    model: HookedModel, rows: Sequence[Sequence[int]]
) -> tuple[list[Float[np.ndarray, " token"]], list[Float[np.ndarray, " token"]]]:
    """Log-probability of each token but the first of each row, and the same standardised."""
    tokens, real = pad(model, rows)
    width = tokens.shape[1]
    places = real[:, 1:].flatten().nonzero()[:, 0]
    pick = places + places // (width - 1)
    final = Point(model.cfg.n_layers - 1)
    count_flops(model, tokens.numel())
    with capture(model, [final], pick) as kept:
        run_blocks(model, tokens)
    states, wanted = kept[final], tokens[:, 1:].flatten()[places]

    def scores(part: slice) -> Tensor:
        log = unembed(model, states[part]).log_softmax(-1)
        own = log.gather(1, wanted[part, None])[:, 0]
        probability = log.exp()
        mean = (probability * log).sum(-1)
        variance = (probability * log.square()).sum(-1) - mean.square()
        return torch.stack([own, (own - mean) / variance.clamp_min(1e-12).sqrt()], dim=1)

    parts = over_rows(scores, len(pick), model.cfg.d_vocab, states.device)
    both = torch.cat(parts).double().cpu().numpy()
    ends = np.cumsum([len(row) - 1 for row in rows])[:-1]
    return np.split(both[:, 0], ends), np.split(both[:, 1], ends)
