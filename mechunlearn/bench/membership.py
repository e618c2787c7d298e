"""Membership: can facts that a model was trained on be told from others by their likelihood alone?

    loss     mean_t log p_t over the answer's tokens, each after the statement and those before it
    min-k    mean of the lowest k % of log p_t
    min-k++  the same of (log p_t - mean log p) / std log p, both over the vocabulary at t
    zlib     sum_t log p_t / bytes of the answer, compressed
    reference  the loss, less that under a model that does not know (or does)

Higher is more like a member in each. Members are the forget questions with their right answers,
others the same questions with wrong ones, given out so that every answer is wrong as often as it is
right. Only the answer's tokens count. Questions about made-up names are no measure: the names alone
decide, also in a model that never knew (0.16 on the word organism, where it should be a half).

Reference:
    Yeom et al. 2018, arXiv:1709.01604 (loss); Carlini et al. 2021, arXiv:2012.07805 (zlib,
    reference); Shi et al. 2024, arXiv:2310.16789 (Min-K); Zhang et al. 2024, arXiv:2404.02936
    (Min-K++).
    Differs: answers behind their statements instead of texts; k is 20, as in these papers' tables.
    Limits: answers of one token have one probability, so that loss and Min-K are the same there.
    Says what likelihood gives away, not what can be drawn from a model; the never-knew model is the
    measure of what form gives away, and failed membership is no forgetting.
"""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from torch import Tensor

from mechunlearn.bench.batches import in_batches
from mechunlearn.bench.rows import Row, branching_rows, pad
from mechunlearn.bench.vocabulary import over_rows
from mechunlearn.hooks import capture, count_flops, run_blocks, unembed
from mechunlearn.types import Example, HookedModel, Point, PromptFormat, Question

SHARE = 0.2
"""Of the tokens, the least likely ones, that Min-K and Min-K++ look at."""


def right_and_wrong(
    questions: Sequence[Question], prompt: PromptFormat
) -> tuple[list[Example], list[Example]]:
    """Each question's statement with its right answer, and with one of its wrong ones.

    As many questions as possible get a wrong answer that is another one's right answer, each of
    these once.
    """
    owners: dict[str, list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        owners[question.choices[question.answer]].append(i)
    pairs = [
        (i, j)
        for i, question in enumerate(questions)
        for at, choice in enumerate(question.choices)
        if at != question.answer
        for j in owners.get(choice, ())
    ]
    given: Sequence[int] = [-1] * len(questions)
    if pairs:
        at = np.array(pairs).T
        fits = csr_array((np.ones(len(pairs)), at), shape=2 * (len(questions),))
        given = maximum_bipartite_matching(fits, perm_type="column")
    right, wrong = [], []
    for question, other in zip(questions, given, strict=True):
        statement, endings = prompt.cloze_prompt(question)
        own = questions[other] if other >= 0 else None
        choice = (
            (question.answer + 1) % len(endings)
            if own is None
            else question.choices.index(own.choices[own.answer])
        )
        right.append(Example(statement, endings[question.answer]))
        wrong.append(Example(statement, endings[choice]))
    return right, wrong


@torch.no_grad()
def membership_scores(
    model: HookedModel, examples: Sequence[Example]
) -> Mapping[str, Float[np.ndarray, " example"]]:
    """How much each answer looks like one that the model was trained on, by four scores.

    Raises:
        ValueError: If an answer adds no token.
    """
    prompts, answers = [e.prompt for e in examples], [[e.answer] for e in examples]
    rows = branching_rows(model.tokenizer, prompts, answers)
    found = {name: np.zeros(len(rows)) for name in ("loss", "min-k", "min-k++", "zlib")}

    def compute(batch: list[int]) -> None:
        plain, normed = _token_scores(model, [rows[i] for i in batch])
        for i, own, standard in zip(batch, plain, normed, strict=True):
            size = len(zlib.compress(examples[i].answer.strip().encode()))
            found["loss"][i] = own.mean()
            found["min-k"][i] = _lowest(own)
            found["min-k++"][i] = _lowest(standard)
            found["zlib"][i] = own.sum() / size

    in_batches(model, [len(row.tokens) for row in rows], compute)
    return found


def _lowest(values: Float[np.ndarray, " token"]) -> float:
    """Mean of the least likely tokens, of at least one."""
    return float(np.sort(values)[: max(1, int(SHARE * len(values)))].mean())


def _token_scores(
    model: HookedModel, rows: Sequence[Row]
) -> tuple[list[Float[np.ndarray, " token"]], list[Float[np.ndarray, " token"]]]:
    """Log-probability of each token that the rows read, and the same standardised."""
    tokens, _ = pad(model, [row.tokens for row in rows])
    reads = [
        (i * tokens.shape[1] + at, token) for i, r in enumerate(rows) for at, token, _ in r.reads
    ]
    pick, wanted = torch.tensor(reads, device=tokens.device).T
    final = Point(model.cfg.n_layers - 1)
    count_flops(model, tokens.numel())
    with capture(model, [final], pick) as kept:
        run_blocks(model, tokens)
    states = kept[final]

    def scores(part: slice) -> Tensor:
        log = unembed(model, states[part]).log_softmax(-1)
        own = log.gather(1, wanted[part, None])[:, 0]
        p = log.exp()
        mean = (p * log).sum(-1)
        deviation = (p * (log - mean[:, None]).square()).sum(-1).sqrt()
        return torch.stack([own, (own - mean) / deviation.clamp_min(1e-6)], dim=1)

    parts = over_rows(scores, len(pick), model.cfg.d_vocab, states.device)
    both = torch.cat(parts).double().cpu().numpy()
    ends = np.cumsum([len(row.reads) for row in rows])[:-1]
    return np.split(both[:, 0], ends), np.split(both[:, 1], ends)
