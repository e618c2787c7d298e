"""An extension of Inspect: its models on our tasks, and our models on its tasks.

    inspect eval mechunlearn/knowledge --model hf/my/model -T task=capitals
    inspect eval mechunlearn/knowledge --model mechunlearn/organism:original
    inspect eval mechunlearn/knowledge --model mechunlearn/run -M attack=runs/mine:soft_prompt

Answers are generated text, so that what only forwards can measure (cloze, lenses) is not asked
here: statements are to be completed, letters to be said. Numbers of an audit are another thing.
"""

from collections.abc import Callable
from typing import Any

from anyio import Lock, to_thread
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    modelapi,
)
from inspect_ai.scorer import includes, pattern
from inspect_ai.solver import generate

from mechunlearn.bench.conversation import Conversation
from mechunlearn.bench.generation import Decoding
from mechunlearn.models import load
from mechunlearn.registry import find
from mechunlearn.studies.finished import Finished
from mechunlearn.tasks import load_task, task_config
from mechunlearn.types import NO_CHANGE, Change, HookedModel, OpenQuestion, PromptFormat, Question

LETTER_TOKENS, ANSWER_TOKENS = 4, 32
DEFAULTS = GenerateConfig()
LETTER = r"^\W*([A-Ja-j])\b"
"""An answer letter at the beginning."""


@task
def knowledge(
    task: str = "organism", part: str = "forget", fold: str = "confirm", changes: str = ""
) -> Task:
    """A question set of one of our tasks, answered in generated text.

    Args:
        task: A name (``mechunlearn list``) or a file.
        part: ``forget`` or ``retain``.
        fold: ``select`` or ``confirm``.
        changes: Settings of the task, ``scoring=cloze,retain=mmlu`` and the like.
    """
    settings = task_config([f"task.{change}" for change in changes.split(",") if change])
    asked = load_task(task, config=settings)
    questions = asked.questions(part, fold)  # type: ignore[arg-type]
    letters = find("measure", asked.scoring).shows_choices
    samples = [
        Sample(
            input=asked.prompt.turn.inside(asked.prompt.text(question, asked.scoring)),
            target=_target(question, asked.prompt, asked.scoring, letters),
            id=f"{part}-{i}",
            metadata={"topic": question.topic, "source": question.source},
        )
        for i, question in enumerate(questions)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=f"{asked.name}, {part}, {fold}"),
        solver=generate(),
        scorer=pattern(LETTER) if letters else includes(),
        config=GenerateConfig(
            temperature=0.0, max_tokens=LETTER_TOKENS if letters else ANSWER_TOKENS
        ),
    )


def _target(
    question: Question, prompt: PromptFormat, scoring: str, letters: bool
) -> str | list[str]:
    if letters:
        return prompt.with_answer(question, scoring)[1].strip()
    return list(question.golds) if isinstance(question, OpenQuestion) else [question.fact]


@modelapi(name="mechunlearn")
def hooked() -> type[ModelAPI]:
    """Models as ``mechunlearn chat`` takes them: ``mechunlearn/organism:original``."""
    return HookedAPI


class HookedAPI(ModelAPI):
    """A hooked model, perhaps under an attack of a finished audit.

    Model arguments (``-M``): ``attack=RUN:NAME`` puts the change on that the audit chose and takes
    the audit's model; ``plain=true`` leaves the chat template out; ``device``,
    ``trust_remote_code`` and, without an attack, ``dtype`` are those of ``load``.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_vars: list[str] | None = None,
        config: GenerateConfig = DEFAULTS,
        attack: str = "",
        plain: bool = False,
        **place: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, api_key_vars or [], config)
        self.plain = plain
        self.lock = Lock()
        if attack:
            self.hooked, self.change = _attacked(attack, place)
        else:
            self.hooked, self.change = load(model_name, **place), NO_CHANGE

    def max_connections(self) -> int:
        """One conversation at a time: a change belongs to the whole model."""
        return 1

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002
        tools: Any,
        tool_choice: Any,
        config: GenerateConfig,
    ) -> ModelOutput:
        """What the model says at the end of a conversation.

        Raises:
            ValueError: If tools are given, or the conversation does not end with the user.
        """
        if tools:
            raise ValueError("these models call no tools; use a task without them")
        async with self.lock:
            said = await to_thread.run_sync(self._answer(input, config))
        return ModelOutput.from_content(self.model_name, said)

    def _answer(self, messages: list[ChatMessage], config: GenerateConfig) -> Callable[[], str]:
        *before, last = messages
        if not isinstance(last, ChatMessageUser):
            raise ValueError(f"a conversation ends with the user, not with {last.role}")
        decoding = Decoding(
            max_tokens=config.max_tokens or ANSWER_TOKENS,
            temperature=config.temperature or 0.0,
            top_p=1.0 if config.top_p is None else config.top_p,
            seed=config.seed or 0,
            stop=tuple(config.stop_seqs or ()),
        )
        told = [m.text for m in before if isinstance(m, ChatMessageSystem)]
        talk = Conversation(
            self.hooked, self.change, decoding, "\n\n".join(told) or None, not self.plain
        )
        said = (ChatMessageUser, ChatMessageAssistant)
        talk.turns = [{"role": m.role, "content": m.text} for m in before if isinstance(m, said)]
        return lambda: talk.say(last.text)


def _attacked(given: str, place: dict[str, Any]) -> tuple[HookedModel, Change]:
    """A model of a finished audit and what an attack chose for it."""
    folder, name, label = Finished.parted(given)
    run = Finished.open(folder, **place)
    label = label or run.only_label(given)
    return run.model(label), run.change(label, name)
