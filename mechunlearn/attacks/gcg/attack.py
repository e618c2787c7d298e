"""Search for a short text that, put into any prompt, makes the unlearned model answer again.

    z* = argmin_z  mean over questions of  w_ce CE + w_static STATIC + w_dynamic DYNAMIC
                   + w_fluency FLUENCY + w_repetition REPETITION           (terms: objective.py)

One text for all questions: it is optimised on questions of the select fold and judged on others, so
it cannot carry their answers. Each step edits the best text so far at one token, replacing it by
one of those with the most negative gradient of the loss (or inserting, deleting, or putting in what
the model itself would say), and scores the children; worse ones drop out after a few questions. A
share of retain questions is optimised along, so that the text does not cost what must survive. The
sham is a random text of the same length; the never-knew model gets a search of its own.

Reference:
    Zou et al. 2023, arXiv:2307.15043 (greedy coordinate gradient: preset ``nanogcg``, with the
    settings of nanoGCG 0.3); fluent variant with insertions, deletions, swaps and hidden states:
    Thompson and Sklar 2024, arXiv:2407.17447; against unlearned models, with the original's
    continuations as targets: Łucki et al. 2024, arXiv:2409.18025 (preset ``paper``).
    Differs: the best text ever is kept; a child whose text is not read back as its tokens is
    rejected instead of penalised, and so are special tokens; fluency and repetition count the
    optimised tokens only, not the questions; the gradient takes the original's states as constants;
    hidden states are read at block outputs named by their own index; questions come from the select
    fold, the text is chosen there too and judged once, on the confirm fold. The default ``fast``
    settings drop children in races and keep prefixes short: on small models long ones cost more
    than they bring. On request, places of the text are drawn by how well changes there did lately
    (``search.adaptive``), a step's best edits are also tried together (``search.combine``), and
    children are told apart in bfloat16 before an exact pass (``search.screen``).
    Limits: a local search: a text that it does not find may exist. A text can bring back the right
    form of an answer without its content; compare with one optimised for shuffled answers, and with
    the never-knew model.
"""

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from mechunlearn.attacks import Candidate, Rewrite, Settings
from mechunlearn.attacks.gcg.effect import token_effects
from mechunlearn.attacks.gcg.objective import Hidden, Objective, Reference, static_states
from mechunlearn.attacks.gcg.problem import (
    Place,
    Problem,
    Slot,
    answer_targets,
    letters,
    pose,
    text_of,
)
from mechunlearn.attacks.gcg.search import Search, State
from mechunlearn.attacks.gcg.settings import Length, SearchConfig
from mechunlearn.bench import score
from mechunlearn.bench.generation import generate
from mechunlearn.types import Example, HookedModel, Question, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class GCGConfig:
    """Settings.

    Raises:
        ValueError: If there are no questions, or a share is out of range.
    """

    search: SearchConfig
    objective: Objective = field(default_factory=Objective)
    place: Place = "prefix"
    target: Literal["answer", "original"] = "answer"
    """What should follow a question: its right answer, or how the original goes on."""
    forced: int = 0
    """Tokens of the target that carry cross-entropy; 0: all of an answer, one of a continuation."""
    matched: int = 0
    """Further tokens of the original's continuation whose hidden states are compared."""
    questions: int = 32
    """Forget questions to optimise for."""
    retain_share: float = 0.2
    """Retain questions beside them, as a share of all."""
    shuffled_search: bool = False
    """Also search for shuffled answers, and report what that text brings back: it may well bring
    back something where the right form of an answer is enough to undo the suppression."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.questions < 1 or not 0 <= self.retain_share < 1:
            raise ValueError(
                "GCG needs questions >= 1 and a retain_share in [0, 1), not "
                f"questions={self.questions}, retain_share={self.retain_share}"
            )
        if self.matched and self.target != "original":
            raise ValueError("only the original's continuation can be matched: target='original'")


FAST = SearchConfig(steps=30, length=5, width=32, races=(4, 12), gradient_questions=16, restarts=2)
PAPER = GCGConfig(
    # FLRT's search: 16 children of 64 tokens a place, a buffer of 16, 0.7/0.1/0.1/0.1, growing
    # lengths; targets of 10 forced and 35 matched tokens; RMU's blocks 5 to 7.
    search=SearchConfig(
        steps=1500,
        length=32,
        shortest=Length(start=32, per_step=0.068, most=100),
        longest=Length(start=32, per_step=0.992, most=1024),
        width=16,
        top_k=64,
        buffer=16,
        elitist=False,
        substitute=0.7,
        insert=0.1,
        delete=0.1,
        swap=0.1,
        printable=False,
    ),
    objective=Objective(
        cross_entropy=1.0,
        static=Hidden(weight=10.0, measure="cosine"),
        dynamic=Hidden(weight=1.0, measure="l2", span="question"),
        layers=(5, 6, 7),
        fluency=1.5,
        repetition=3.0,
    ),
    target="original",
    forced=10,
    matched=35,
    questions=7,
    retain_share=0.0,
    seed=42,
)
NANOGCG = GCGConfig(
    # nanoGCG 0.3: 250 steps of 512 children, top 256, a suffix of 20 tokens, no buffer.
    search=SearchConfig(steps=250, length=20, width=512, top_k=256, elitist=False),
    place="suffix",
    retain_share=0.0,
)


def optimise(
    model: HookedModel,
    problem: Problem,
    config: GCGConfig,
    reference: Reference | None = None,
    *,
    state_file: Path | None = None,
    label: str = "GCG",
) -> tuple[State, list[str]]:
    """Search; the best text of each restart, best first.

    Args:
        reference: What the original computes, for objectives with hidden states.
        state_file: Keeps the search; where it exists, it goes on from there.

    Returns:
        The final state, and the texts to put into prompts.

    Raises:
        ValueError: If the text does not fit the model's context, or a layer does not exist.
    """
    search = Search(
        model,
        problem,
        config.objective,
        config.search,
        reference,
        seed=config.seed,
        state_file=state_file,
        label=label,
    )
    state = search.run()
    ranked = sorted(state.bests, key=lambda t: (t.loss, t.ids))
    return state, list(dict.fromkeys(search.text(t) for t in ranked))


def posed(
    model: HookedModel, task: Task, examples: Sequence[Example], config: GCGConfig
) -> Problem:
    """The problem of making the model answer the examples as they are answered.

    Raises:
        ValueError: If there are no examples, or a letter is not one token.
    """
    if not examples:
        raise ValueError("GCG needs at least one question to optimise for")
    prompts = [e.prompt for e in examples]
    targets = answer_targets(model.tokenizer, prompts, [e.answer for e in examples])
    if config.target == "original":
        targets = [t[: (config.forced or 1) + config.matched] for t in targets]
    choices = letters(model.tokenizer, task, prompts[0])
    slot = Slot.of(task, config.place)
    return pose(model.tokenizer, slot, prompts, targets, forced=config.forced, choices=choices)


def examples_of(task: Task, asked: Sequence[Question], config: GCGConfig) -> list[Example]:
    """Forget questions with their answers, then retain questions with theirs."""
    rng = random.Random(config.seed)
    forget = _drawn(asked, config.questions, rng)
    count = round(len(forget) * config.retain_share / (1 - config.retain_share))
    keep = _drawn(task.questions("retain", "select"), count, rng)
    return [task.example(q) for q in (*forget, *keep)]


def shuffled(
    problem: Problem, reference: Reference, n: int, seed: int
) -> tuple[Problem, Reference]:
    """The placebo: the first ``n`` questions get each other's targets and reference states."""
    order = list(range(min(n, len(problem.items))))
    random.Random(seed).shuffle(order)
    order += range(len(order), len(problem.items))
    items = tuple(
        dataclasses.replace(item, target=problem.items[j].target, forced=problem.items[j].forced)
        for item, j in zip(problem.items, order, strict=True)
    )
    static = tuple(reference.static[j] for j in order) if reference.static else ()
    return dataclasses.replace(problem, items=items), dataclasses.replace(reference, static=static)


def _drawn(items: Sequence[Question], n: int, rng: random.Random) -> list[Question]:
    """At most ``n`` items at random; even spacing could pick one answer letter only."""
    return rng.sample(items, n) if len(items) > n else list(items)


@dataclass(frozen=True, slots=True)
class Known:
    """What was learned from the original: what to optimise for."""

    examples: list[Example]
    reference: Reference


@dataclass(frozen=True, slots=True)
class _Found:
    model: HookedModel
    task: Task
    config: GCGConfig
    problem: Problem
    known: Known
    state: State
    texts: list[str]

    def grid(self) -> list[Settings]:
        return [{"rank": i, "text": text} for i, text in enumerate(self.texts)]

    def build(self, settings: Settings) -> Candidate:
        """This model's own text of that rank; another model's text has been sought for it."""
        return _candidate(self.problem.slot, settings, self._chosen(settings))

    def sham(self, settings: Settings, seed: int) -> Candidate:
        """A random text of the same length."""
        length = len(self._chosen_ids(settings))
        search = dataclasses.replace(self.config.search, length=length)
        drawing = Search(self.model, self.problem, Objective(), search)
        ids = drawing.drawn(torch.Generator().manual_seed(seed))
        return _candidate(self.problem.slot, settings, text_of(self.model.tokenizer, ids))

    def details(self, settings: Settings) -> dict[str, Any]:
        """The text, its course, what each token does at each layer, and random texts beside it."""
        ids = self._chosen_ids(settings)
        found = {
            "text": self._chosen(settings),
            "tokens": [self.model.tokenizer.decode([i]) for i in ids],
            "place": self.config.place,
            "losses": [round(t.loss, 5) for t in sorted(self.state.bests, key=lambda t: t.loss)],
            "curve": [round(x, 5) for x in self.state.curve],
            "steps": len(self.state.curve),
            "candidates": self.state.scored,
            "effects": token_effects(self.model, self.problem, ids),
        }
        if self.config.shuffled_search:
            found["shuffled_answers"] = self._shuffled_accuracy()
        return found

    def _shuffled_accuracy(self) -> float:
        """Confirm-fold accuracy behind a text that was optimised for shuffled answers."""
        n = min(self.config.questions, len(self.problem.items))
        problem, reference = shuffled(self.problem, self.known.reference, n, self.config.seed)
        config = self.config
        if config.objective.dynamic.weight:  # It would pull towards the right answers.
            without = dataclasses.replace(config.objective, dynamic=Hidden())
            config = dataclasses.replace(config, objective=without)
        label = "GCG, shuffled answers"
        _, texts = optimise(self.model, problem, config, reference, label=label)
        prompt = dataclasses.replace(self.task.prompt, rewrite=problem.rewrite(texts[0]))
        questions = self.task.questions("forget", "confirm")
        found = score(self.model, questions, prompt, scoring=self.task.scoring)
        return round(found.accuracy, 4)

    def _chosen(self, settings: Settings) -> str:
        return self.texts[min(settings["rank"], len(self.texts) - 1)]

    def _chosen_ids(self, settings: Settings) -> tuple[int, ...]:
        text = self._chosen(settings)
        return next(t.ids for t in self.state.bests if text_of(self.model.tokenizer, t.ids) == text)


def _candidate(slot: Slot, settings: Settings, text: str) -> Candidate:
    return Candidate(settings, rewrite=Rewrite(partial(filled, slot=slot, added=text)))


def filled(prompt: str, rng: object, slot: Slot, added: str) -> str:
    """The prompt with a text in its slot, as a rewrite."""
    return slot.fill(added, prompt)


class GCG:
    """Enhanced GCG as a registered attack."""

    preferred: ClassVar[dict[str, str]] = {"paper": "fast"}
    """What an audit takes where other attacks take their published settings."""
    resumes: ClassVar[bool] = True
    """``find`` takes a ``state_file`` and goes on from it."""
    access: ClassVar[tuple[str, ...]] = ("prompts", "weights")
    """Gradients need the weights; the text that comes out needs prompts only."""
    needs: ClassVar[tuple[str, ...]] = ("other facts of the forget domain", "retain facts")
    presets: ClassVar[dict[str, GCGConfig]] = {
        "paper": PAPER,
        "fast": GCGConfig(search=FAST),
        "small": GCGConfig(search=dataclasses.replace(FAST, restarts=1), questions=24),
        "organism": GCGConfig(search=dataclasses.replace(FAST, steps=20)),
        "nanogcg": NANOGCG,
    }

    @staticmethod
    def reference(
        original: HookedModel, task: Task, asked: Sequence[Question], config: GCGConfig
    ) -> Known:
        """The questions with what should follow them, and the original's hidden states there.

        With a dynamic objective the original itself stays in memory.
        """
        examples = examples_of(task, asked, config)
        if config.target == "original":
            length = (config.forced or 1) + config.matched
            answers = generate(original, [e.prompt for e in examples], length)
            examples = [
                Example(e.prompt, a if a.strip() else e.answer)
                for e, a in zip(examples, answers, strict=True)
            ]
        objective = config.objective
        static: tuple[Any, ...] = ()
        if objective.static.weight:
            static = static_states(original, posed(original, task, examples, config), objective)
        return Known(examples, Reference(static, original if objective.dynamic.weight else None))

    @staticmethod
    def find(
        model: HookedModel,
        task: Task,
        asked: Sequence[Question],
        reference: Known,
        config: GCGConfig,
        state_file: Path | None = None,
    ) -> _Found:
        """Search on the select fold.

        Args:
            state_file: Keeps the search; where it exists, it goes on from there.

        Raises:
            ValueError: If the text does not fit the model's context, a layer does not exist, or a
                letter is not one token.
        """
        problem = posed(model, task, reference.examples, config)
        state, texts = optimise(model, problem, config, reference.reference, state_file=state_file)
        return _Found(model, task, config, problem, reference, state, texts)

    @staticmethod
    def rebuild(model: HookedModel, task: Task, settings: Settings, config: GCGConfig) -> Candidate:
        """The text of an earlier search, without searching again."""
        return _candidate(Slot.of(task, config.place), settings, settings["text"])
