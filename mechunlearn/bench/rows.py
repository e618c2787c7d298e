"""Questions as token rows: which tokens to run and which log-probabilities to read where."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechunlearn.registry import find
from mechunlearn.types import LETTERS, HookedModel, PromptFormat, Question, Scoring


@dataclass(frozen=True, slots=True)
class Row:
    """One question as tokens.

    For letters this is the prompt. For cloze scoring it is the stem followed by all endings; each
    ending attends to the stem and itself only, so the stem is computed once.
    """

    tokens: list[int]
    reads: list[tuple[int, int, int]]
    """``(position, token, choice)``: the log-probability of ``token`` read at ``position`` counts
    for ``choice``."""
    stem: int
    """Number of tokens before the endings; all of them for letters."""
    endings: tuple[int, ...] = ()
    """Lengths of the endings."""


APART = ("\n", ".", "\u3002")
"""Texts that tokenizers hardly join with what follows."""


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids with the special tokens the tokenizer adds by itself."""
    return tokenizer(text)["input_ids"]


def continuation(tokenizer: Any, context: str, text: str) -> list[int]:
    """The tokens that say ``text`` after those of ``context``.

    Those of both together, as lm-eval splits them; where these join the end of the context with the
    text, those of the text alone, as a model would have to say it.
    """
    for start in (context, *APART):
        before, whole = encode(tokenizer, start), encode(tokenizer, start + text)
        if whole[: len(before)] == before:
            return whole[len(before) :]
    raise ValueError(f"the tokenizer joins {text!r} with whatever stands before it")


def letter_ids(tokenizer: Any, prompt: str, n: int, answer: str = " {letter}") -> list[int]:
    """Token ids of the first ``n`` answer letters as they follow ``prompt``.

    Raises:
        ValueError: If a letter is not one token of its own.
    """
    return single_tokens(tokenizer, prompt, [answer.format(letter=x) for x in LETTERS[:n]])


def single_tokens(tokenizer: Any, prompt: str, answers: Sequence[str]) -> list[int]:
    """The token that each answer is after ``prompt``, in the tokens of both together.

    Raises:
        ValueError: If an answer is not one token, changes the prompt's own tokens, or is the same
            token as another.
    """
    before = encode(tokenizer, prompt)
    wholes = [encode(tokenizer, prompt + answer) for answer in answers]
    ids = [whole[len(before) :] for whole in wholes]
    single = [i[-1] for i in ids if i]
    clean = all(whole[: len(before)] == before for whole in wholes)
    if not clean or any(len(i) != 1 for i in ids) or len(set(single)) < len(answers):
        raise ValueError(
            f"letter scoring needs one token per letter, but the tokenizer gives {ids}; "
            "use cloze scoring"
        )
    return single


def branching_rows(
    tokenizer: Any,
    prompts: Sequence[str],
    endings: Sequence[Sequence[str]],
    limit: int | None = None,
) -> list[Row]:
    """Prompts, each followed by its alternative endings; an ending's tokens are read as one choice.

    Prompt and ending are read as one text. Where a tokenizer joins them, as it may where nothing
    stands between them, an ending begins with the first token that is not the prompt's own.

    Args:
        limit: Most tokens of prompt and longest ending together; a longer prompt keeps its first
            token and its last ones.

    Raises:
        ValueError: If an ending adds no token, is joined with all of the prompt, or does not fit
            the limit.
    """
    wholes = [prompt + text for prompt, own in zip(prompts, endings, strict=True) for text in own]
    stems, whole = tokenizer(list(prompts))["input_ids"], iter(tokenizer(wholes)["input_ids"])
    rows = []
    for prompt, stem, own in zip(prompts, stems, endings, strict=True):
        texts = [next(whole) for _ in own]
        columns = zip(stem, *texts, strict=False)
        start = sum(1 for _ in takewhile(lambda column: len({*column}) == 1, columns))
        added = [text[start:] for text in texts]
        if not stem or not all(added):
            raise ValueError(f"{prompt!r} followed by {list(own)} has an empty part")
        if not start:
            raise ValueError(
                f"the tokenizer joins all of {prompt!r} with what follows; put other text before it"
            )
        rows.append(_branching(stem[:start], added, limit))
    return rows


def _branching(stem: list[int], added: list[list[int]], limit: int | None) -> Row:
    room = len(stem) if limit is None else limit - max(len(ending) for ending in added)
    if room < 1:
        raise ValueError(f"a prompt with an answer does not fit in max_tokens={limit}")
    tokens = stem if len(stem) <= room else stem[:1] + stem[len(stem) - room + 1 :]
    start = len(tokens)
    reads: list[tuple[int, int, int]] = []
    for choice, ending in enumerate(added):
        before = [start - 1, *range(len(tokens), len(tokens) + len(ending) - 1)]
        reads += [(at, token, choice) for at, token in zip(before, ending, strict=True)]
        tokens = tokens + ending
    return Row(tokens, reads, start, tuple(len(ending) for ending in added))


def question_rows(
    tokenizer: Any, questions: Sequence[Question], prompt: PromptFormat, scoring: Scoring
) -> tuple[list[Row], list[int] | None]:
    """Rows of a measure, by its name, and the only tokens to unembed (``None``: all)."""
    prompts = [prompt.text(q, scoring) for q in questions]
    answers = [prompt.answers(q, scoring) for q in questions]
    return find("measure", scoring).rows(tokenizer, prompts, answers)


def tokens_needed(
    tokenizer: Any, questions: Sequence[Question], prompt: PromptFormat, scoring: Scoring
) -> list[int]:
    """Tokens of the context that each question takes: its prompt and its longest answer.

    Raises:
        ValueError: If the tokenizer cannot express an answer.
    """
    measure = find("measure", scoring)
    if not (measure.one_token or measure.generates):
        rows, _ = question_rows(tokenizer, questions, prompt, scoring)
        return [row.stem + max(row.endings, default=0) for row in rows]
    said = 0
    if measure.generates:
        said = measure.most_tokens(tokenizer, [prompt.answers(q, scoring) for q in questions])
    prompts = tokenizer([prompt.text(q, scoring) for q in questions])["input_ids"]
    return [len(tokens) + said for tokens in prompts]


def separate(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """Rows without branches: each ending in a row of its own, after the stem.

    Returns:
        The rows, and which of the given ones each belongs to. Reads keep their choice.
    """
    apart, owners = [], []
    for owner, row in enumerate(rows):
        start = row.stem
        if len(row.endings) == 1:
            apart.append(row)
            owners.append(owner)
            continue
        for choice, length in enumerate(row.endings):
            tokens = row.tokens[: row.stem] + row.tokens[start : start + length]
            reads = [
                (at if at < row.stem else at - start + row.stem, token, c)
                for at, token, c in row.reads
                if c == choice
            ]
            apart.append(Row(tokens, reads, row.stem, (length,)))
            owners.append(owner)
            start += length
        if not row.endings:
            apart.append(row)
            owners.append(owner)
    return apart, owners


def prefix_groups(rows: Sequence[Row], worth: int, batch: int) -> list[tuple[int, Sequence[int]]]:
    """Rows that are best computed after one shared prefix: its length, and their indices.

    Questions on many subjects, each with its own examples in front, make a group a subject.

    Args:
        worth: Shorter prefixes are computed again in every row; so are those of under four rows.
        batch: Tokens of a batch. A further group has to save as many, since it leaves one unfilled.
    """
    Split = tuple[int, list[tuple[int, Sequence[int]]]]  # Tokens saved, and the groups.

    def best(group: Sequence[int]) -> Split:
        """The cheapest split of rows that stand together in the order."""
        length = common_prefix(rows, group)
        shared = length if length >= worth and len(group) >= 4 else 0
        children: dict[int, list[int]] = {}
        for i in group:
            children.setdefault(rows[i].tokens[length], []).append(i)
        splits: list[Split] = []
        left: list[int] = []
        for own in children.values() if len(children) > 1 else ():
            split = best(own) if len(own) >= 4 else (0, [])
            if split[0] - batch > shared * len(own):
                splits.append(split)
            else:
                left += own
        if not splits:
            return shared * (len(group) - 1), [(shared, group)]
        saved = sum(s - batch for s, _ in splits) + shared * max(0, len(left) - 1)
        groups = [part for _, parts in splits for part in parts]
        return saved, groups + ([(shared, left)] if left else [])

    return best(sorted(range(len(rows)), key=lambda i: rows[i].tokens))[1]


def common_prefix(rows: Sequence[Row], group: Sequence[int]) -> int:
    """Number of leading tokens that sorted rows share, at least one short of every stem."""
    first, last = rows[group[0]].tokens, rows[group[-1]].tokens
    most = min(rows[i].stem for i in group) - 1
    return next((n for n in range(most) if first[n] != last[n]), most)


def pad(
    model: HookedModel, rows: Sequence[Sequence[int]]
) -> tuple[Int[Tensor, "batch pos"], Bool[Tensor, "batch pos"]]:
    """Right-padded tokens on the model's device, and which of them are real."""
    width, fill = max(len(row) for row in rows), model.tokenizer.pad_token_id
    tokens = torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
    real = torch.arange(width) < torch.tensor([[len(row)] for row in rows])
    return placed(tokens, model.cfg.device), placed(real, model.cfg.device)


def real_places(rows: Sequence[Sequence[int]]) -> Int[Tensor, " token"]:
    """Flat indices, in padded rows, of all tokens that are no padding; on the host.

    To pick them by a mask on a GPU would wait for it to say how many there are.
    """
    width = max(len(row) for row in rows)
    return torch.cat([torch.arange(len(row)) + i * width for i, row in enumerate(rows)])


def placed(values: Tensor, device: str | torch.device) -> Tensor:
    """Values of the host on a device.

    A GPU fetches them when its work so far is done, and nobody waits for that: the next batch is
    prepared in the meantime. A plain ``.to`` would wait.
    """
    if torch.device(device).type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
