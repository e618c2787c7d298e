"""Finetune the unlearned model a little and watch what comes back, beside what had to be taught.

    L = -mean log pi(answer | prompt)      over answers alone, or over prompt and answer

One run gives a whole curve: accuracy after 0, 1, 2, 4, ... steps, for several learning rates and
seeds. The data decide what a recovery means: other facts of the forgotten domain (``disjoint``;
never the tested ones), the tested facts themselves (``tested``), facts that were to be kept
(``retain``), text (``text``) or questions (``questions``) about something else. Retain facts among
each step's examples (``keep``) make what comes back cost less of the rest. The sham trains on the
same prompts with shuffled answers: their format without their information (of sentences: with the
name of whom the prompt asks about). A model that never knew goes through the same runs; its curve
is the price of teaching. The preset ``sweep`` races rates, schedules, adapters and optimizers
instead of running each to its end; the never-knew model then goes through the chosen run.

Reference:
    Łucki et al. 2024, arXiv:2409.18025 (finetuning; their LoRA settings are the ``paper`` preset).
    Training on facts that are independent of the tested ones is RTT, Deeb and Roger 2024,
    arXiv:2410.08827.
    Differs: evaluations along one run instead of a run per number of samples; several learning
    rates and seeds; retain facts can be kept; rate and steps are chosen on the select fold, but the
    steps of runs that state forget facts are fixed: they are what a control is taught too.
    Disjoint facts, and retain facts where any are trained on, are halved into facts to train on and
    facts to choose by. What a curve shows is measured by whoever runs the attack.
    Limits: training can teach: what comes back counts only beyond what the never-knew model learns.
    The loss of retain accuracy is reported, but limits nothing: an attacker may mind it, but facts
    that return were there. Facts that do not return in these steps at these rates may in others.
"""

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from mechunlearn.attacks.protocol import Attack, Search, View
from mechunlearn.attacks.relearning_data import (
    Lessons,
    items_of,
    rows_of,
    wording_trace,
)
from mechunlearn.attacks.relearning_runs import Trained, copies, measure_run, relearning
from mechunlearn.attacks.relearning_settings import (
    INFORMATIVE,
    Data,
    RelearningConfig,
    Run,
    presets_of,
)
from mechunlearn.attacks.relearning_sweep import race, race_cost, settings_of
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.cost.memory import backward_bytes, forward_bytes, training_bytes, weight_copies
from mechunlearn.tasks.exchange import Item, shuffled
from mechunlearn.types import Change, HookedModel, Role

FACTS: frozenset[Need] = frozenset({"retain facts"})
NEEDS: Mapping[Data, frozenset[Need]] = {
    "disjoint": FACTS | {"other facts of the forget domain"},
    "tested": FACTS | {"the tested facts"},
    "retain": FACTS,
    "text": FACTS | {"benign text"},
    "questions": FACTS | {"unrelated questions"},
}
"""What it takes beside the model; retain facts, as any of them may keep some."""


@dataclass(frozen=True, slots=True)
class RelearningSearch(Search[Run]):
    """Runs that were measured on the way, each at every checkpoint."""

    model: HookedModel
    config: RelearningConfig
    items: Sequence[Item]
    lessons: Lessons
    runs: Sequence[Run]
    fixed: bool = False
    """Whether only the end of each run is a variant: what teaches is compared after as many steps
    on every model, and not where the model under test does best."""
    measure: Callable[[Run], list[Run]] | None = None
    """Measures a whole run of a sweep, which is not there yet."""
    last: list[Run] = field(default_factory=list)
    """Of a sweep what its last round measured."""
    exploded: set[Run] = field(default_factory=set)
    """Of its shorter runs."""
    done: Trained = field(default_factory=Trained)
    """Weights of what was measured."""

    def variants(self) -> Generator[Sequence[Run], Sequence[Scored], None]:
        """In the order in which they were measured; of a sweep round after round."""
        if self.measure is None:
            yield self._those(self.runs)
        else:
            yield from race(self.config, self._finished, self.exploded)

    def eligible(self, variant: Run) -> bool:
        """The shorter runs of a sweep only say which to train on."""
        return self.measure is None or variant in self.last

    def _finished(self, run: Run) -> list[Run]:
        assert self.measure is not None
        runs = list(self._those(self.measure(run)))
        self.last.extend(runs)
        return runs

    def _those(self, runs: Sequence[Run]) -> Sequence[Run]:
        ends = {run.name: run for run in runs}  # A run that explodes ends early.
        return list(ends.values()) if self.fixed else runs

    def change(self, variant: Run) -> Change:
        """The same training again."""
        told = None if self.eligible(variant) else self.exploded.add
        return relearning(self.lessons, self.config, variant, exploded=told, done=self.done)

    def sham(self, variant: Run, seed: int) -> Change:
        """The same prompts with shuffled answers, and the same retain facts."""
        items = shuffled(self.items, seed)
        lessons = dataclasses.replace(self.lessons, rows=rows_of(self.model, items, self.config))
        return relearning(lessons, self.config, variant)

    def view(self, variant: Run) -> View:
        """How much of the tested questions' wording was trained on."""
        return partial(wording_trace, items=self.items)


class Relearning(Attack[RelearningConfig, None, Run]):
    """Relearning from one kind of data.

    The loss of retain accuracy is reported and decides nothing.
    """

    family: ClassVar[Family] = "relearn"
    access: frozenset[Access] = frozenset({"weights"})
    variant = Run
    limited: ClassVar[bool] = False

    def __init__(self, data: Data) -> None:
        self.data: Data = data
        self.needs = NEEDS[data]
        self.presets = presets_of(data)

    def splits(self, config: RelearningConfig) -> frozenset[Role]:
        """Sets of which it trains on one half."""
        roles: set[Role] = {"forget"} if self.data == "disjoint" else set()
        return frozenset(roles | ({"retain"} if config.keep or self.data == "retain" else set()))

    def by_name(self, config: RelearningConfig) -> bool:
        """See ``Attack``: adapters of MLPs."""
        ranks = config.sweep.ranks if config.sweep.schedules else (config.lora.rank,)
        return max(ranks) > 0 and not set(config.lora.targets) <= set("qkvo")

    def check(self, config: RelearningConfig, seen: Seen, layers: int) -> None:
        """Refuse rates that are none, and more samples than there are."""
        for rate in (*config.rates, *config.sweep.sgd_rates):
            config.optimizer(rate)
        items_of(seen, self.data, config.samples)

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: RelearningConfig
    ) -> RelearningSearch:
        """Runs of every learning rate and seed, measured by ``seen.watch`` at the checkpoints.

        Those of a sweep are trained when they are asked for.

        Raises:
            ValueError: If there are no such data, too few of them, or they cannot be halved.
        """
        fixed = self.data in INFORMATIVE
        done = Trained(ends_only=fixed)
        items, lessons, measure = self._prepared(model, seen, config, done)
        if config.sweep.schedules:
            return RelearningSearch(model, config, items, lessons, (), fixed, measure, done=done)
        whole = [Run(r, seed, config.steps) for r in config.rates for seed in config.seeds]
        runs = [measured for run in whole for measured in measure(run)]
        return RelearningSearch(model, config, items, lessons, runs, fixed, done=done)

    def repeat(
        self,
        model: HookedModel,
        seen: Seen,
        reference: None,
        variant: Run,
        config: RelearningConfig,
    ) -> RelearningSearch:
        """Of a sweep the run that was chosen, measured on this model too."""
        if not config.sweep.schedules:
            return self.search(model, seen, reference, config)
        done = Trained(self.data in INFORMATIVE)
        items, lessons, measure = self._prepared(model, seen, config, done)
        runs = measure(dataclasses.replace(variant, steps=config.steps))
        return RelearningSearch(model, config, items, lessons, runs, done=done)

    def rebuild(
        self,
        model: HookedModel,
        seen: Seen,
        reference: None,
        variant: Run,
        config: RelearningConfig,
    ) -> RelearningSearch:
        """A search with this run alone, which is not measured again."""
        return RelearningSearch(model, config, *self._lessons(model, seen, config), (variant,))

    def cost(self, config: RelearningConfig, job: Job) -> Cost:
        """Training and measuring of all runs; copies, gradients and moments of what is trained."""
        ends_only = self.data in INFORMATIVE
        training = BACKWARD * config.steps * (config.batch + config.keep)
        measuring = (1 + len(config.checkpoints)) * (2 * job.forget_select + job.forget_confirm)
        whole = training + measuring
        if not config.sweep.schedules:
            runs = len(config.rates) * len(config.seeds)
            return Cost(runs * whole, 0.0, training, _memory(config, job, ends_only))
        short, last = race_cost(config)
        tried = 2 * len(settings_of(config)) + (short + (last - 1) * whole) / job.forget_select
        return Cost(whole, tried, training, _memory(config, job, ends_only))

    def _prepared(
        self, model: HookedModel, seen: Seen, config: RelearningConfig, done: Trained
    ) -> tuple[list[Item], Lessons, Callable[[Run], list[Run]]]:
        """Data, and what measures a run and keeps its weights."""
        items, lessons = self._lessons(model, seen, config)
        reads = [len(row.reads) if self.data in INFORMATIVE else 0 for row in lessons.rows]
        measure = partial(measure_run, model, lessons, config, seen=seen, reads=reads, done=done)
        return items, lessons, measure

    def _lessons(
        self, model: HookedModel, seen: Seen, config: RelearningConfig
    ) -> tuple[list[Item], Lessons]:
        items = items_of(seen, self.data, config.samples)
        rows = rows_of(model, items, config)
        if not config.keep:
            return items, Lessons(rows)
        retain = [seen.example(q) for q in seen.retain]
        return items, Lessons(rows, rows_of(model, retain, config))


def _memory(config: RelearningConfig, job: Job, ends_only: bool) -> dict[str, float]:
    """Copies of the weights, gradients and two moments of what is trained."""
    shape, sizes = job.shape, job.sizes
    parts = weight_copies(shape, sizes)
    if held := parts.get("copies"):
        parts["copies"] = held * (1 + copies(held, config, ends_only))
    weights = float(shape.parameters)
    ranks = config.sweep.ranks if config.sweep.schedules else (config.lora.rank,)
    if min(ranks):
        weights = float(max(ranks) * shape.ends)
        parts["adapters"] = 4.0 * weights
    tokens = (config.batch + config.keep) * sizes.longest
    training = training_bytes(shape, sizes, tokens, tokens, weights)
    if sizes.kind != "cpu":  # Blocks are recomputed one by one; only their inputs are kept.
        inputs = sizes.number * tokens * shape.d_model * shape.layers
        activations = backward_bytes(shape, sizes, tokens)
        training["gradients"] += activations / shape.layers + inputs - activations
    training["gradients"] = max(training["gradients"], forward_bytes(shape, sizes))
    return parts | training


DISJOINT = Relearning("disjoint")
TESTED = Relearning("tested")
RETAIN = Relearning("retain")
TEXT = Relearning("text")
QUESTIONS = Relearning("questions")
