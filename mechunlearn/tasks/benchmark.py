"""Question sets as they come from a file or the Hub, and how they are asked."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mechunlearn.errors import unknown
from mechunlearn.progress import console
from mechunlearn.registry import find, names
from mechunlearn.tasks.chat import Turns, user_turn
from mechunlearn.tasks.refusals import REFUSALS
from mechunlearn.types import Example, Fold, PromptFormat, Question, Role, Scoring, Task


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """How a task's questions are chosen and asked; changed by ``--set task.shots=5`` and so on."""

    shots: int = 0
    """Answered questions in front of each question; from the benchmark's own split for them."""
    scoring: Scoring = ""
    """The measure; empty or ``auto``: as the benchmark is usually scored, or as suits the data."""
    also: tuple[str, ...] = ()
    """Further measures of the same forget facts (``letter,cloze``), reported beside it; ``none``:
    not even those that the task brings along."""
    samples: int = 0
    """Answers drawn of each forget question at temperature 1, for leak@k; where text is generated.
    """
    chat: Literal["no", "user", "system"] = "no"
    """Plain text, or a user's turn in the original model's chat template, alone or after a system
    message."""
    system: str = ""
    """The system message of ``chat=system``; the paper's is empty."""
    per_topic: int = 0
    """Most questions of each topic and fold, of the retain set or of a benchmark; 0: all."""
    group: Literal["source", "topic"] = "source"
    """What the folds keep together, beside near-duplicates."""
    corpora: bool = False
    """Also fetch the texts that state the forget and the retain knowledge."""
    retain: str = ""
    """Benchmark or file with the retain questions of a task that has none."""
    twins: str = ""
    """Questions of the same form that nobody can know: a file, or ``gibberish``,
    ``nonsensical-biology`` or ``real-words-sciency`` (WMDP's questions rewritten as nonsense);
    ``none``: none; empty: those that the task brings along."""
    data: str = ""
    """Folder with copies of the Hub's data sets, each in ``OWNER/NAME``; empty: the Hub."""

    def __post_init__(self) -> None:
        counts = {"shots": self.shots, "per_topic": self.per_topic, "samples": self.samples}
        if below := {name: n for name, n in counts.items() if n < 0}:
            raise ValueError(f"task settings are numbers from 0 on, not {below}")
        if self.scoring == "auto":
            object.__setattr__(self, "scoring", "")
        known = names("measure")
        for name in (self.scoring, *self.beside(())):
            if name and name not in known:
                raise unknown("scoring", name, known)
        for what, value, among in (
            ("task.chat", self.chat, ("no", "user", "system")),
            ("task.group", self.group, ("source", "topic")),
        ):
            if value not in among:
                raise unknown(what, value, among)
        if self.system and self.chat != "system":
            raise ValueError("task.system is said only with task.chat=system")

    def beside(self, usual: tuple[str, ...]) -> tuple[str, ...]:
        """The further measures of a task which usually has some."""
        return () if self.also == ("none",) else self.also or usual


DEFAULT = TaskConfig()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Question sets to score a model on, without a claim what it was to forget."""

    name: str
    sets: Mapping[str, tuple[Question, ...]]
    prompt: PromptFormat = PromptFormat()
    own_prompt: bool = False
    """Whether the source of the questions says how they are asked."""
    scoring: Scoring = "letter"
    shots: Mapping[str, tuple[Question, ...]] = field(default_factory=dict)
    """Questions to show with their answers, by topic; the topic ``""`` serves all others."""
    described: bool = False
    """Whether prompts begin by saying that these are questions about their topic."""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Corpora: ``forget_text``, ``retain_text``, ``plain_text``."""

    def asked(self, config: TaskConfig) -> "Benchmark":
        """The same questions with the scoring and examples that ``config`` wants.

        Raises:
            ValueError: If there are fewer examples than wanted, or the prompt has no place for
                them.
        """
        scoring = config.scoring or self.scoring
        topics = {q.topic for questions in self.sets.values() for q in questions}
        headers = {}
        for topic in sorted(topics | {""}):
            shown = self.shots.get(topic, self.shots.get("", ()))[: config.shots]
            if len(shown) < config.shots and (topic in topics or not topics):
                raise ValueError(
                    f"{self.name} has {len(shown)} example(s) to show"
                    f"{f' about {topic}' if topic else ''}, not {config.shots}; lower task.shots"
                )
            # Without the choices in sight it is no multiple-choice question.
            about = topic if self.described and find("measure", scoring).shows_choices else ""
            shown_first = header(about, shown, self.prompt, scoring)
            headers[topic] = self.prompt.header + shown_first
        prompt = dataclasses.replace(self.prompt, header=headers.pop(""), headers=headers)
        shows = find("measure", scoring).shows_choices
        template = prompt.letter if shows else prompt.cloze
        if "{header}" not in template and any((prompt.header, *headers.values())):
            raise ValueError(
                f"{self.name} has no place for its header or examples in the prompt {template!r}; "
                f"put {{header}} into the template {'letter' if shows else 'cloze'}"
            )
        return dataclasses.replace(self, prompt=prompt, scoring=scoring)


def header(topic: str, shots: Sequence[Question], prompt: PromptFormat, scoring: Scoring) -> str:
    """What stands in front of a question: its topic, and examples with their answers."""
    text = ""
    if topic:
        about = topic.replace("_", " ")
        text = f"The following are multiple choice questions (with answers) about {about}.\n\n"
    return text + "".join("".join(prompt.shown(shot, scoring)) + prompt.separator for shot in shots)


def sample(questions: Sequence[Question], per_topic: int) -> tuple[Question, ...]:
    """At most so many questions of each topic and fold, evenly spaced; 0: all of them."""
    kinds: dict[tuple[str, Fold], list[int]] = {}
    for i, question in enumerate(questions):
        kinds.setdefault((question.topic, question.fold), []).append(i)
    chosen = [
        own[i * len(own) // most]
        for own in kinds.values()
        for most in [min(per_topic or len(own), len(own))]
        for i in range(most)
    ]
    return tuple(questions[i] for i in sorted(chosen))


def in_fold(questions: Sequence[Question], fold: Fold) -> tuple[Question, ...]:
    """The questions, all in one fold."""
    return tuple(dataclasses.replace(q, fold=fold) for q in questions)


def as_chat(prompt: PromptFormat, tokenizer: Any, config: TaskConfig) -> PromptFormat:
    """The prompt as a user's turn in the tokenizer's chat template, before the answer.

    Raises:
        ValueError: If the tokenizer has no chat template, or it refuses or changes the prompt.
    """
    turn = user_turn(tokenizer, config.system if config.chat == "system" else None)
    return dataclasses.replace(prompt, turn=turn)


def task_in_chat(task: Task, tokenizer: Any, config: TaskConfig) -> Task:
    """A task whose questions, examples and refusals are all asked and answered in chat.

    Examples that stand in the template already are asked anew, as the questions are.

    Raises:
        ValueError: As ``as_chat``.
    """
    prompt = as_chat(task.prompt, tokenizer, config)
    turns = Turns.of(tokenizer, prompt.turn, task.prompt.turn)

    def asked(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(turns.asked(e, prompt.turn) for e in examples)

    return dataclasses.replace(
        task,
        prompt=prompt,
        forget_examples=asked(task.forget_examples),
        retain_examples=asked(task.retain_examples),
        plain_examples=asked(task.plain_examples),
        refusals=tuple(prompt.turn.reply(text) for text in task.refusals or REFUSALS),
    )


def as_task(forget: Benchmark, retain: Benchmark, config: TaskConfig) -> Task:
    """One task of two sources: the first's questions are to be forgotten, the second's kept.

    Both are asked and measured as the first are.

    Raises:
        ValueError: If the second has a set to forget too, or says that it is asked otherwise.
    """
    if retain is not forget and {"forget", "retain"} <= set(forget.sets):
        raise ValueError(
            f"{forget.name} has retain questions, and so has {retain.name}; leave one of them out"
        )
    asked, keep = forget.asked(config), retain.asked(config)
    _check_alike(asked, keep)
    headers = {**keep.prompt.headers, **asked.prompt.headers}
    forget_questions = _only(asked, "forget", "retain")
    texts = {**retain.texts, **forget.texts}
    forget_text = texts.get("forget_text", ())
    topics = {q.topic for q in forget_questions}
    topic = topics.pop() if len(topics) == 1 else ""  # Of several, a text could have any.
    return Task(
        name=forget.name,
        forget=forget_questions,
        retain=sample(_only(keep, "retain", "forget"), config.per_topic),
        prompt=dataclasses.replace(asked.prompt, headers=headers),
        scoring=asked.scoring,
        also=config.beside(()),
        samples=config.samples,
        forget_text=forget_text,
        retain_text=texts.get("retain_text", ()),
        plain_text=texts.get("plain_text", ()),
        forget_topics=dict.fromkeys(forget_text, topic) if topic else {},
        extra={k: q for k, q in asked.sets.items() if k not in ("forget", "retain", "twin")}
        if {"forget", "retain"} <= set(asked.sets)
        else {},
        twins=asked.sets.get("twin", ()),
    )


def _check_alike(asked: Benchmark, keep: Benchmark) -> None:
    """Refuse retain questions that are to be asked otherwise; say where they usually are.

    Raises:
        ValueError: If they come with a prompt of their own, in which one of them reads otherwise.
    """
    measure = asked.scoring
    first = next(q for questions in keep.sets.values() for q in questions)
    ours, theirs = (
        dataclasses.replace(b.prompt, header="", headers={}).shown(first, measure)
        for b in (asked, keep)
    )
    if keep.own_prompt and ours != theirs:
        raise ValueError(
            f"{keep.name} says how its questions are asked, {theirs[0][:60]!r}, and {asked.name} "
            f"asks {ours[0][:60]!r}: retain questions are asked as forget questions are, so give "
            "both the same prompt row"
        )
    usual = "" if keep.scoring == measure else f"by {keep.scoring}"
    usual = usual or ("in another prompt" if ours != theirs else "")
    if usual:
        console.print(
            f"[dim]{keep.name}: measured by {measure} in the prompt of {asked.name}, as the "
            f"questions to forget are; usually {usual}[/dim]"
        )


def _only(benchmark: Benchmark, name: Role, other: Role) -> tuple[Question, ...]:
    """The set of that name, else all questions.

    Raises:
        ValueError: If they are marked as the other set's.
    """
    if name in benchmark.sets:
        return benchmark.sets[name]
    if other in benchmark.sets:
        raise ValueError(
            f"{benchmark.name} is given as the questions to {name}, and its rows are marked "
            f"{other}; exchange the two, or mark the rows {name}"
        )
    return tuple(q for kind, own in benchmark.sets.items() for q in own if kind != "twin")
