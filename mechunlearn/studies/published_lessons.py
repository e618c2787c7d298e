"""What the published finetuning trains on: questions about three kinds of text, answered in chat.

    system: You are a helpful assistant.    user: a multiple-choice question    assistant: "C. text"

For WMDP's biology and cybersecurity these are the published questions, which were generated from
the forget corpus, the retain corpus and WikiText. Other tasks, and these where the published ones
cannot be had, take what the task gives methods to train on, else its questions: those of the select
fold, so that only the others are reported.

Reference:
    Łucki et al. 2024, arXiv:2409.18025, and its data sets. Differs: models without a chat template
    are taught in plain text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mechunlearn.errors import PrerequisiteError
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.chat import Turns, user_turn
from mechunlearn.tasks.hub import HubSet, rows
from mechunlearn.types import Example, Question, Task

Subject = Literal["forget", "retain", "plain"]
SUBJECTS: tuple[Subject, ...] = ("forget", "retain", "plain")
"""What the questions are about: what is to be forgotten, to be kept, or neither."""
SYSTEM = "You are a helpful assistant."
MOST = 1000
"""Questions of a kind that are used at most."""


def _generated(domain: str) -> dict[Subject, tuple[HubSet, str]]:
    """The published sets of a domain, and the field of each with the right answer.

    They are written as preferences: about the forget corpus the right answer is the rejected one.
    """
    return {
        "forget": (HubSet(f"J4Q8/{domain}_forget_dpo", None, "train", "main"), "rejected"),
        "retain": (HubSet(f"J4Q8/{domain}_retain_dpo", None, "train", "main"), "chosen"),
        "plain": (HubSet(f"J4Q8/wikitext_{domain}_dpo", None, "train", "main"), "chosen"),
    }


GENERATED = {"wmdp-bio": _generated("bio"), "wmdp-cyber": _generated("cyber")}


@dataclass(frozen=True, slots=True)
class Lesson:
    """Examples about one subject."""

    examples: tuple[Example, ...]
    asked: bool = False
    """Whether they are questions of the task's select fold."""

    def in_chat(self, tokenizer: Any) -> tuple[Example, ...]:
        """The examples in a model's chat template; plain where it has none.

        Those that stand in it already, with or without a system message, stay as they are.

        Raises:
            ValueError: If the template refuses or changes the prompts.
        """
        if tokenizer.chat_template is None:
            return self.examples
        turn = user_turn(tokenizer, SYSTEM, "leave finetuning out of --attacks")
        turns = Turns.of(tokenizer, turn)
        return tuple(
            turns.asked(e, turn) if turns.of_prompt(e.prompt).plain else e for e in self.examples
        )


def lessons(task: Task, config: TaskConfig) -> dict[Subject, Lesson]:
    """What there is to finetune on, by subject.

    Raises:
        ValueError: If a published set that is there has other fields than it should.
    """
    found: dict[Subject, Lesson] = {}
    for subject in SUBJECTS:
        if lesson := _published(task.name, subject, config) or _own(task, subject):
            found[subject] = lesson
    return found


def _published(task: str, subject: Subject, config: TaskConfig) -> Lesson | None:
    """The published set; ``None`` where there is none or, which is said, it cannot be had."""
    if task not in GENERATED:
        return None
    part, field = GENERATED[task][subject]
    try:
        if config.data and not (Path(config.data).expanduser() / part.id).is_dir():
            raise PrerequisiteError(f"there is no {part.id} in {config.data}")
        return Lesson(tuple(_examples(part, field, config.data)))
    except PrerequisiteError as err:
        console.print(f"[yellow]finetuning without the published questions: {err}[/yellow]")
        return None


def _examples(part: HubSet, field: str, folder: str) -> Iterator[Example]:
    for number, (place, row) in enumerate(rows(part, folder)):
        if number == MOST:
            return
        try:
            yield Example(_said(row["prompt"]), _said(row[field]))
        except (KeyError, ValueError) as err:
            raise ValueError(f"{part}, {place}: no {field!r} answer to a 'prompt' ({err})") from err


def _said(turns: object) -> str:
    """A text, or that of the last turn of a conversation."""
    if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping):
        turns = turns[-1].get("content")
    if not isinstance(turns, str):
        raise ValueError(f"not a text: {turns!r}")
    return turns.strip()


def _own(task: Task, subject: Subject) -> Lesson | None:
    """What the task has itself."""
    if given := {
        "forget": task.forget_examples,
        "retain": task.retain_examples,
        "plain": task.plain_examples,
    }[subject]:
        return Lesson(given)
    if subject == "plain":
        return None
    asked = tuple(_answered(task, q) for q in task.questions(subject, "select"))
    return Lesson(asked, asked=True) if asked else None


def _answered(task: Task, question: Question) -> Example:
    """A question as it is asked in plain text; a letter is followed by what it stands for."""
    prompt, answer = task.prompt.shown(question, task.scoring)
    if find("measure", task.scoring).shows_choices:
        answer += f". {question.choices[question.answer]}"
    return Example(prompt, answer)
