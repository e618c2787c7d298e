"""One question as a model reads it, and the answers that are compared."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.bench.rows import continuation, encode
from mechunlearn.hooks import capture, run_blocks, unembed
from mechunlearn.registry import find
from mechunlearn.types import HookedModel, Point, Question, Task


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text, the answer that is right behind it, and others that are not.

    What is measured everywhere is the *lead*: the logit of the right answer's first token, less the
    mean of the wrong ones', at the last token of the text.

    Raises:
        ValueError: If there is no text, or no answer to compare with.
    """

    text: str
    right: str
    """Continues the text, with its leading space."""
    wrong: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.right.strip() or not self.wrong:
            raise ValueError(f"a prompt needs a text, a right answer and wrong ones, not {self}")

    @classmethod
    def of(cls, task: Task, question: Question) -> "Prompt":
        """A task's question as the task asks it: with letters, or as a statement to complete."""
        answers = list(task.prompt.answers(question, task.scoring))
        right = answers.pop(find("measure", task.scoring).right(question))
        return cls(task.prompt.text(question, task.scoring), right, tuple(answers))

    def tokens(self, model: HookedModel) -> Int[Tensor, "1 pos"]:
        """The text."""
        return torch.tensor([encode(model.tokenizer, self.text)], device=model.cfg.device)

    def words(self, model: HookedModel) -> list[str]:
        """The text, token by token."""
        return [model.tokenizer.decode([t]) for t in encode(model.tokenizer, self.text)]

    def first_tokens(self, model: HookedModel) -> list[int]:
        """The first token of every answer, the right one's first.

        Raises:
            ValueError: If an answer adds no token.
        """
        given = (self.right, *self.wrong)
        rows = [continuation(model.tokenizer, self.text, answer) for answer in given]
        if not all(rows):
            raise ValueError(f"an answer of {given} adds no token to the text")
        return [row[0] for row in rows]

    def answers(self, model: HookedModel) -> Int[Tensor, " answer"]:
        """First tokens of the answers that are compared, the right one's first.

        Wrong answers that begin with the same token as the right one are left out.

        Raises:
            ValueError: If an answer adds no token, or all begin like the right one.
        """
        right, *wrong = self.first_tokens(model)
        other = [token for token in wrong if token != right]
        if not other:
            raise ValueError(
                f"{self.right!r} and all wrong answers begin with the same token; compare others"
            )
        return torch.tensor([right, *other], device=model.cfg.device)

    def logits(self, model: HookedModel) -> Float[Tensor, " answer"]:
        """Of the answers, in float32, the right one's first; hooks that are on count."""
        return last_logits(model, self.tokens(model), self.answers(model))[0]


@torch.no_grad()
def last_logits(
    model: HookedModel, tokens: Int[Tensor, "batch pos"], ids: Int[Tensor, " answer"] | None = None
) -> Float[Tensor, "batch answer"]:
    """Logits after the last token of rows that are equally long."""
    point = Point(model.cfg.n_layers - 1)
    with capture(model, [point]) as kept:
        run_blocks(model, tokens)
    return unembed(model, kept[point][:, -1], ids)


def lead(logits: Float[Tensor, "*batch answer"]) -> Float[Tensor, "*batch"]:
    """How far the right answer, which is first, is ahead of the mean of the others."""
    return logits[..., 0] - logits[..., 1:].mean(dim=-1)
