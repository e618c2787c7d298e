"""What GCG works on: questions in tokens around the ones it may change, and what should follow.

Prompts are always read whole, with a text in the slot, and cut afterwards: a part that is read
alone gets other tokens (SentencePiece puts a space in front of it, byte pairs merge over its ends).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mechunlearn.bench.rows import continuation
from mechunlearn.errors import unknown
from mechunlearn.registry import find
from mechunlearn.types import HookedModel, PromptFormat, Scoring, Turn

Place = Literal["prefix", "suffix"]
PLACES: tuple[Place, ...] = get_args(Place)
"""In front of the question, or behind it and before the cue for the answer; inside its turn."""
PROBES = ("the", "x", "A", "7", "!")
"""Texts with which prompts are read to find the tokens around the slot."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the optimised text stands in a question, and the question in its chat template.

    Raises:
        ValueError: For an unknown place.
    """

    place: Place = "prefix"
    separator: str = "\n\n"
    """Between a prefix and the question."""
    cue: str = ""
    """The end of every question that stays behind a suffix, such as ``Answer:``."""
    turn: Turn = Turn()

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise unknown("place", self.place, PLACES)

    @classmethod
    def of(cls, prompt: PromptFormat, scoring: Scoring, place: Place) -> "Slot":
        """The slot in prompts of one format."""
        return cls(place, prompt.separator, find("measure", scoring).cue(prompt), prompt.turn)

    def around(self, question: str) -> tuple[str, str]:
        """The question's text before and after the slot."""
        if self.place == "prefix":
            return "", self.separator + question
        cut = len(question) - (len(self.cue) if question.endswith(self.cue) else 0)
        return question[:cut], question[cut:]

    def fill(self, text: str, question: str) -> str:
        """The question with ``text`` in the slot."""
        before, after = self.around(question)
        return f"{before} {text}{after}" if before else text + after

    def whole(self, text: str, prompt: str) -> str:
        """A whole prompt, in its chat template, with ``text`` in the slot."""
        return self.turn.around(self.fill(text, self.turn.inside(prompt)))

    def span(self, text: str, prompt: str) -> tuple[int, int]:
        """First and last character of ``text``, with the space before it, in ``whole``."""
        before, after = self.around(self.turn.inside(prompt))
        end = len(self.whole(text, prompt)) - len(after) - len(self.turn.after)
        return len(self.turn.before) + len(before), end


@dataclass(frozen=True, slots=True)
class Item:
    """One question in tokens: ``before``, then the optimised tokens, then the rest."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    target: tuple[int, ...]
    """What should follow."""
    forced: int = 1
    """The first tokens of the target whose cross-entropy counts; the rest is only matched."""

    def __post_init__(self) -> None:
        if not 1 <= self.forced <= len(self.target):
            raise ValueError(
                f"a target of {len(self.target)} tokens cannot have {self.forced} forced ones"
            )


@dataclass(frozen=True)
class Problem:
    """Questions for which one text is sought.

    Raises:
        ValueError: If there are no questions.
    """

    slot: Slot
    prompts: tuple[str, ...]
    """Whole, in their chat template, with nothing in the slot."""
    items: tuple[Item, ...]
    choices: tuple[int, ...] = ()
    """Tokens of the answer letters, where answers are letters."""

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("GCG needs at least one question to optimise for")

    @property
    def shared(self) -> bool:
        """Whether everything before the slot is the same for all questions."""
        return len({item.before for item in self.items}) == 1

    def room(self, model: HookedModel, longest: int) -> None:
        """Refuse a text of ``longest`` tokens that does not fit beside some question.

        Raises:
            ValueError: If it does not fit the model's context.
        """
        most = max(len(i.before) + len(i.after) + len(i.target) for i in self.items) + longest
        if model.cfg.n_ctx and most > model.cfg.n_ctx:
            raise ValueError(
                f"{longest} optimised tokens and the longest question make {most} tokens, but the "
                f"model's context is {model.cfg.n_ctx}; lower length, or ask shorter questions"
            )


def pose(
    tokenizer: Any,
    slot: Slot,
    prompts: Sequence[str],
    targets: Sequence[Sequence[int]],
    *,
    forced: int = 0,
    choices: Sequence[int] = (),
) -> Problem:
    """A problem in tokens.

    Args:
        prompts: Whole prompts, in their chat template.
        targets: For each prompt the tokens that should follow it.
        forced: How many of them carry cross-entropy; 0: all.

    Raises:
        ValueError: If there are no prompts, a target is empty, or no text can be put into a prompt
            without changing the tokens around it.
    """
    items = [
        Item(before, after, tuple(target), min(forced or len(target), len(target)))
        for (before, after), target in zip(
            tokens_around(tokenizer, slot, prompts), targets, strict=True
        )
    ]
    return Problem(slot, tuple(prompts), tuple(items), tuple(choices))


def tokens_around(
    tokenizer: Any, slot: Slot, prompts: Sequence[str]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Tokens before and after the slot of each prompt, as they are with a text in it.

    Raises:
        ValueError: If every probe merges with what stands around it.
    """
    around: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for probe in PROBES if prompts else ():
        left = [i for i in range(len(prompts)) if i not in around]
        if not left:
            break
        wholes = [slot.whole(probe, prompts[i]) for i in left]
        rows = tokenizer(wholes, return_offsets_mapping=True)
        for i, ids, offsets in zip(left, rows["input_ids"], rows["offset_mapping"], strict=True):
            start, end = slot.span(probe, prompts[i])
            first = next((k for k, (_, e) in enumerate(offsets) if e > start), len(ids))
            last = next((k for k in range(first, len(ids)) if offsets[k][0] >= end), len(ids))
            held = offsets[first:last]
            if held and held[0][0] >= start and held[-1][1] <= end:
                around[i] = tuple(ids[:first]), tuple(ids[last:])
    if len(around) < len(prompts):
        failed = next(prompt for i, prompt in enumerate(prompts) if i not in around)
        raise ValueError(
            f"the tokenizer merges any text put into {failed[:60]!r} with what stands around it; "
            "give the task another separator, or another place to the text"
        )
    return [around[i] for i in range(len(prompts))]


def answer_targets(tokenizer: Any, prompts: Sequence[str], answers: Sequence[str]) -> list[list]:
    """Tokens of each answer as it follows its prompt."""
    return [continuation(tokenizer, p, a) for p, a in zip(prompts, answers, strict=True)]


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of optimised tokens, as it is put into prompts."""
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)).strip()


def ids_of(tokenizer: Any, problem: Problem, text: str) -> tuple[int, ...]:
    """The tokens as which a text that survives is read in a prompt."""
    item = problem.items[0]
    row = tokenizer(problem.slot.whole(text, problem.prompts[0]))["input_ids"]
    return tuple(row[len(item.before) : len(row) - len(item.after)])


def survives(
    tokenizer: Any, problem: Problem, candidates: Sequence[Sequence[int]], item: int = 0
) -> list[bool]:
    """Which candidates are read back as the same tokens when their text stands in a prompt."""
    prompt, question = problem.prompts[item], problem.items[item]
    texts = [problem.slot.whole(text_of(tokenizer, ids), prompt) for ids in candidates]
    if not texts:
        return []
    return [
        row == [*question.before, *ids, *question.after]
        for row, ids in zip(tokenizer(texts)["input_ids"], candidates, strict=True)
    ]


def survives_everywhere(tokenizer: Any, problem: Problem, ids: Sequence[int]) -> bool:
    """Whether a candidate is read back as the same tokens in every prompt."""
    text = text_of(tokenizer, ids)
    rows = tokenizer([problem.slot.whole(text, prompt) for prompt in problem.prompts])["input_ids"]
    return all(
        row == [*item.before, *ids, *item.after]
        for row, item in zip(rows, problem.items, strict=True)
    )
