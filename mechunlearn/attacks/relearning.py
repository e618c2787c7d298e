"""Finetune the unlearned model a little and watch what comes back, beside what had to be taught.

    L = -mean log pi(answer | prompt)      over answers alone, or over prompt and answer

One run gives a whole curve: accuracy after 0, 1, 2, 4, ... steps, for several learning rates and
seeds. The data decide what a recovery means: other facts of the forgotten domain (``disjoint``;
never the tested ones), the tested facts themselves (``tested``), facts that were to be kept
(``retain``), text (``text``) or questions (``questions``) about something else. Retain facts among
each step's examples (``keep``) make what comes back cost less of the rest. The sham trains on the
same prompts with shuffled answers: their format without their information. A model that never knew
goes through the same runs; its curve is the price of teaching.

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
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mechunlearn.attacks.protocol import Attack, Search
from mechunlearn.attacks.relearning_data import Item, Lessons, items_of, rows_of, shuffled
from mechunlearn.attacks.relearning_settings import (
    INFORMATIVE,
    Data,
    RelearningConfig,
    presets_of,
)
from mechunlearn.attacks.seen import Progress, Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.cost.job import BACKWARD, Cost, Job
from mechunlearn.cost.memory import backward_bytes, forward_bytes, training_bytes, weight_copies
from mechunlearn.hooks import metered
from mechunlearn.progress import console
from mechunlearn.train import Draws, Share, Watch, fit, restored, trained
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
class Run:
    """A training run up to a number of steps."""

    rate: float
    """Learning rate."""
    seed: int
    steps: int


def relearn_(
    model: HookedModel,
    lessons: Lessons,
    config: RelearningConfig,
    run: Run,
    watch: Watch | None = None,
) -> None:
    """Train the model in place on the mean loss per token of the rows' reads.

    Args:
        lessons: Of its retain rows each step takes ``config.keep``, in a term of equal weight.
        run: Stops after its steps; the schedule stays that of all of ``config.steps``.

    Raises:
        ValueError: If the loss explodes, LoRA targets match nothing, or there are retain rows and
            no ``config.keep``, or the other way round.
    """
    rows, retain = lessons.rows, lessons.retain
    if bool(retain) != bool(config.keep):
        raise ValueError(
            f"keep={config.keep} with {len(retain)} rows to keep: give both or neither"
        )
    generator = torch.Generator().manual_seed(run.seed)
    sets = {"answers": (rows, Draws(len(rows), config.batch, config.steps, generator))}
    if retain:
        sets["kept"] = retain, Draws(len(retain), config.keep, config.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        counts = [sum(len(pool[i].reads) for i in draws[step]) for pool, draws in sets.values()]
        batch = [[pool[i] for i in share(draws[step])] for pool, draws in sets.values()]
        values = log_likelihoods(model, [row for part in batch for row in part])  # In one pass.
        parts = values.split([len(part) for part in batch])
        return {k: -x.sum() / n for k, x, n in zip(sets, parts, counts, strict=True)}

    with trained(model, config.lora, seed=run.seed) as (parameters, _):
        # As the paper does: it makes room on a GPU.
        recompute = str(model.cfg.device).startswith("cuda")
        fit(
            parameters,
            loss,
            config.optimizer(run.rate, recompute=recompute),
            label="relearning",
            watch=watch,
            model=model,
            seed=run.seed,
            stop=run.steps,
        )


def relearning(lessons: Lessons, config: RelearningConfig, run: Run) -> Change:
    """``relearn_`` as a reversible change: trains on entry, restores bit for bit on exit."""

    @contextmanager
    def edit(model: HookedModel) -> Iterator[None]:
        with restored(model):
            relearn_(model, lessons, config, run)
            yield

    return Change(f"relearned, lr {run.rate:g}, {run.steps} steps", edits=(edit,))


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

    def variants(self) -> Generator[Sequence[Run], Sequence[Scored], None]:
        """In the order in which they were measured."""
        ends = {(run.rate, run.seed): run for run in self.runs}  # A run that explodes ends early.
        yield list(ends.values()) if self.fixed else self.runs

    def change(self, variant: Run) -> Change:
        """The same training again."""
        return relearning(self.lessons, self.config, variant)

    def sham(self, variant: Run, seed: int) -> Change:
        """The same prompts with shuffled answers, and the same retain facts."""
        items = shuffled(self.items, seed)
        lessons = dataclasses.replace(self.lessons, rows=rows_of(self.model, items, self.config))
        return relearning(lessons, self.config, variant)


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
        return config.lora.rank > 0 and not set(config.lora.targets) <= set("qkvo")

    def check(self, config: RelearningConfig, seen: Seen, layers: int) -> None:
        """Refuse rates that are none, and more samples than there are."""
        for rate in config.rates:
            config.optimizer(rate)
        items_of(seen, self.data, config.samples)

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: RelearningConfig
    ) -> RelearningSearch:
        """Runs of every learning rate and seed, measured by ``seen.watch`` at the checkpoints.

        Raises:
            ValueError: If there are no such data, too few of them, or they cannot be halved.
        """
        items, lessons = self._lessons(model, seen, config)
        reads = [len(row.reads) if self.data in INFORMATIVE else 0 for row in lessons.rows]
        runs: list[Run] = []
        for rate in config.rates:
            for seed in config.seeds:
                whole = Run(rate, seed, config.steps)
                runs += _measured(model, lessons, config, whole, seen, reads)
        return RelearningSearch(model, config, items, lessons, runs, self.data in INFORMATIVE)

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
        training = BACKWARD * config.steps * (config.batch + config.keep)
        measuring = (1 + len(config.checkpoints)) * (2 * job.forget_select + job.forget_confirm)
        runs = len(config.rates) * len(config.seeds)
        return Cost(runs * (training + measuring), 0.0, training, _memory(config, job))

    def _lessons(
        self, model: HookedModel, seen: Seen, config: RelearningConfig
    ) -> tuple[list[Item], Lessons]:
        items = items_of(seen, self.data, config.samples)
        rows = rows_of(model, items, config)
        if not config.keep:
            return items, Lessons(rows)
        retain = [seen.example(q) for q in seen.retain]
        return items, Lessons(rows, rows_of(model, retain, config))


def _measured(
    model: HookedModel,
    lessons: Lessons,
    config: RelearningConfig,
    whole: Run,
    seen: Seen,
    reads: Sequence[int],
) -> list[Run]:
    """What was measured of one run from start to end; a run that explodes ends early.

    Args:
        reads: Tokens of forget information in each row.
    """
    generator = torch.Generator().manual_seed(whole.seed)
    order = Draws(len(lessons.rows), config.batch, config.steps, generator).all
    runs: list[Run] = []
    with metered() as meter, restored(model):
        measuring = 0

        def measure(steps: int) -> dict[str, float]:
            nonlocal measuring
            flops, samples = meter.flops - measuring, steps * config.batch
            tokens = sum(reads[i] for i in order[:samples])
            run = dataclasses.replace(whole, steps=steps)
            name = f"lr {whole.rate:g}, seed {whole.seed}"
            progress = Progress(name, steps, samples, tokens, flops)
            values = seen.watch(model, run if steps else None, progress)
            measuring = meter.flops - flops
            runs.extend([run] if steps else [])
            return {"forget": values.forget}

        watch = Watch(measure=measure, at=(0, *config.checkpoints), printed=False)
        try:
            relearn_(model, lessons, config, whole, watch)
        except ValueError as error:
            if not runs:
                raise
            console.print(f"[dim]{error}[/dim]")
    return runs


def _memory(config: RelearningConfig, job: Job) -> dict[str, float]:
    """Copies of the weights, gradients and two moments of what is trained."""
    shape, sizes = job.shape, job.sizes
    parts = weight_copies(shape, sizes)
    weights = float(shape.parameters)
    if config.lora.rank:
        weights = float(config.lora.rank * shape.ends)
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
