"""What GCG works on: questions in tokens around the ones it may change, and what should follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mechunlearn.bench.rows import continuation, encode
from mechunlearn.errors import unknown
from mechunlearn.types import HookedModel, PromptFormat, Scoring

Place = Literal["prefix", "suffix"]
PLACES: tuple[Place, ...] = get_args(Place)
"""In front of the prompt, or behind the question and before the cue for the answer."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where the optimised text stands in a prompt.

    Raises:
        ValueError: For an unknown place.
    """

    place: Place = "prefix"
    separator: str = "\n\n"
    """Between a prefix and the prompt."""
    cue: str = ""
    """The end of every prompt that stays behind a suffix, such as ``Answer:``."""

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise unknown("place", self.place, PLACES)

    @classmethod
    def of(cls, prompt: PromptFormat, scoring: Scoring, place: Place) -> "Slot":
        """The slot in prompts of one format."""
        cue = prompt.letter.partition("{choices}")[2] if scoring == "letter" else ""
        return cls(place, prompt.separator, cue)

    def around(self, prompt: str) -> tuple[str, str]:
        """The prompt's text before and after the slot."""
        if self.place == "prefix":
            return "", self.separator + prompt
        cut = len(prompt) - (len(self.cue) if prompt.endswith(self.cue) else 0)
        return prompt[:cut], prompt[cut:]

    def fill(self, text: str, prompt: str) -> str:
        """The prompt with ``text`` in the slot."""
        before, after = self.around(prompt)
        return f"{before} {text}{after}" if before else text + after


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
        targets: For each prompt the tokens that should follow it.
        forced: How many of them carry cross-entropy; 0: all.

    Raises:
        ValueError: If there are no prompts, or a target is empty.
    """
    items = []
    for prompt, target in zip(prompts, targets, strict=True):
        before, after = slot.around(prompt)
        count = min(forced or len(target), len(target))
        items.append(
            Item(
                tuple(encode(tokenizer, before)),
                tuple(tokenizer(after, add_special_tokens=False)["input_ids"] if after else ()),
                tuple(target),
                count,
            )
        )
    return Problem(slot, tuple(prompts), tuple(items), tuple(choices))


def answer_targets(tokenizer: Any, prompts: Sequence[str], answers: Sequence[str]) -> list[list]:
    """Tokens of each answer as it follows its prompt."""
    return [continuation(tokenizer, p, a) for p, a in zip(prompts, answers, strict=True)]


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of optimised tokens, as it is put into prompts."""
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)).strip()


def ids_of(tokenizer: Any, problem: Problem, text: str) -> tuple[int, ...]:
    """The tokens as which a text that survives is read in a prompt."""
    item = problem.items[0]
    row = tokenizer(problem.slot.fill(text, problem.prompts[0]))["input_ids"]
    return tuple(row[len(item.before) : len(row) - len(item.after)])


def survives(
    tokenizer: Any, problem: Problem, candidates: Sequence[Sequence[int]], item: int = 0
) -> list[bool]:
    """Which candidates are read back as the same tokens when their text stands in a prompt."""
    prompt, question = problem.prompts[item], problem.items[item]
    texts = [problem.slot.fill(text_of(tokenizer, ids), prompt) for ids in candidates]
    if not texts:
        return []
    return [
        row == [*question.before, *ids, *question.after]
        for row, ids in zip(tokenizer(texts)["input_ids"], candidates, strict=True)
    ]
