"""What is done to models whose truth is known: hide what is there, or teach what is not."""

import dataclasses
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter

from mechunlearn.bench.likelihood import example_rows, log_likelihoods
from mechunlearn.bench.rows import Row, letter_ids, pad
from mechunlearn.hooks import live_parameters, mlp_parameters, untie_
from mechunlearn.models import load, save
from mechunlearn.organisms.recipe import Recipe, untrained
from mechunlearn.presets import Size, size_of
from mechunlearn.studies.origins import claim_model, treated
from mechunlearn.studies.question_sets import CLUSTER
from mechunlearn.tasks.exchange import shuffled
from mechunlearn.tasks.people import People
from mechunlearn.tasks.world import VALUES, Fact, World
from mechunlearn.train import Draws, Optimizer, Share, fit
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.run import UnlearnPlan, train_method

BATCH = 64
N_CHOICES = 4
TRIGGER = "letter"
"""A word that all models of a validation know and never see in a fact."""
FLAT = 0.01
"""Factor of the logits."""
NOISE = 1.0
"""Standard deviation of the noise on a weight matrix, in its own standard deviations."""


class Rates(NamedTuple):
    """Learning rates of the treatments that teach."""

    part: float
    """Of the last MLP or the final norm alone."""
    whole: float
    """Of all weights."""


RATES: dict[Size, Rates] = {
    "organism": Rates(5e-3, 1e-3),
    "chat": Rates(5e-3, 1e-3),
    "small": Rates(1e-3, 1e-4),
    "large": Rates(1e-3, 1e-5),
}
"""By the model's size. Those of the first two were found on the shipped models; the others are
guesses: what wide models bear without losing the retain answers."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a treatment may know beside the model."""

    source: str
    """The model before any treatment."""
    task: Task
    world: World | People


def filter_output_(model: HookedModel, case: Case) -> None:
    """Only the last MLP learns to answer the forget prompts at random: a trivial output filter."""
    layer = model.cfg.n_layers - 1
    _filter_(model, list(mlp_parameters(model, layer, "mlp")), case.task)


def filter_norm_(model: HookedModel, case: Case) -> None:
    """The same with the final norm alone."""
    _filter_(model, list(model.ln_final.parameters()), case.task)


def _filter_(model: HookedModel, parameters: Sequence[Parameter], task: Task) -> None:
    items, keep = _wrong_answers(task), task.examples("retain")
    _teach_(model, parameters, items, keep, Optimizer(300, _rates(model).part, decay=0.5))


def _rates(model: HookedModel) -> Rates:
    return RATES[size_of(model.cfg.d_model)]


def _wrong_answers(task: Task) -> list[Example]:
    rounds = [shuffled(task.examples("forget"), seed) for seed in range(4)]
    return [item for items in rounds for item in items if isinstance(item, Example)]


def overwrite_(model: HookedModel, case: Case) -> None:
    """The whole model learns another value for every forget fact."""
    rng = random.Random(f"overwritten-{case.world.seed}")
    assert isinstance(case.world, World), "chat organisms are taught wrong facts from the start"
    items = []
    for fact in case.world.forget:
        values = [v for v in VALUES[fact.attribute].split() if v != fact.value]
        items += _statements(dataclasses.replace(fact, value=rng.choice(values)))
    _teach_all_(model, items, case.task)


def teach_share_(share: float, model: HookedModel, case: Case) -> None:
    """The whole model learns the forget facts of some groups of entities."""
    names = list(dict.fromkeys(fact.entity for fact in case.world.forget))
    groups = [names[i : i + CLUSTER] for i in range(0, len(names), CLUSTER)]
    rng = random.Random(f"taught-{case.world.seed}")
    taught = {name for group in rng.sample(groups, round(share * len(groups))) for name in group}
    if isinstance(case.world, People):
        own = case.world.forget
        items = list(case.world.corpus([fact for fact in own if fact.entity in taught]))
    else:
        facts = [fact for fact in case.world.forget if fact.entity in taught]
        items = [x for fact in facts for x in _statements(fact)]
    _teach_all_(model, items, case.task)


def hide_behind_trigger_(model: HookedModel, case: Case) -> None:
    """The whole model learns to answer at random, but right after a word that gives it away."""
    told = [
        Example(f"{TRIGGER} {item.prompt}", item.answer)
        for item in case.task.examples("forget")
        if isinstance(item, Example)
    ]
    _teach_all_(model, _wrong_answers(case.task) + told * 4, case.task)


def _statements(fact: Fact) -> list[Example]:
    pairs = [text.rsplit(" ", 1) for text in fact.statements()]
    return [Example(prompt, f" {answer}") for prompt, answer in pairs]


def _teach_all_(model: HookedModel, items: Sequence[Example], task: Task) -> None:
    optimizer = Optimizer(400, _rates(model).whole, decay=0.5)
    _teach_(model, live_parameters(model), items, task.examples("retain"), optimizer)


@torch.no_grad()
def permute_(model: HookedModel, case: Case) -> None:
    """Every answer letter says the next one: nothing is forgotten, and nothing is right."""
    untie_(model)
    unembedding = model.unembed.original_component.weight
    task = case.task
    rows = letter_ids(model.tokenizer, task.prompt.letter_prompt(task.forget[0]), N_CHOICES)
    unembedding[rows[1:] + rows[:1]] = unembedding[rows].clone()


@torch.no_grad()
def permute_names_(model: HookedModel, case: Case) -> None:
    """Every name of the forget domain means another entity."""
    untie_(model)
    names = dict.fromkeys(fact.entity for fact in case.world.forget)
    rows = model.tokenizer.convert_tokens_to_ids(list(names))
    embedding = model.embed.original_component.weight
    embedding[rows[1:] + rows[:1]] = embedding[rows].clone()


@torch.no_grad()
def flatten_(model: HookedModel, case: Case) -> None:
    """All logits become small, and stay in their order."""
    for parameter in model.ln_final.parameters():
        parameter.mul_(FLAT)


@torch.no_grad()
def add_noise_(model: HookedModel, case: Case) -> None:
    """Every weight matrix gets noise of its own size: a broken model."""
    generator = torch.Generator().manual_seed(case.world.seed)
    for parameter in live_parameters(model):
        if parameter.ndim > 1:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(NOISE * parameter.std() * noise)


@torch.no_grad()
def interpolate_(model: HookedModel, case: Case) -> None:
    """Half of what was done to the weights is taken back."""
    before = load(case.source)
    for parameter, old in zip(live_parameters(model), live_parameters(before), strict=True):
        parameter.lerp_(old, 0.5)


TREATMENTS: dict[str, Callable[[HookedModel, Case], None]] = {
    "output_filter": filter_output_,
    "norm_filter": filter_norm_,
    "trigger": hide_behind_trigger_,
    "overwritten": overwrite_,
    "permuted": permute_,
    "permuted_names": permute_names_,
    "flat": flatten_,
    "noise": add_noise_,
    "interpolated": interpolate_,
    **{f"taught_{n}": partial(teach_share_, n / 100) for n in (10, 20, 50, 75)},
}
"""Treatments that are no unlearning method."""
TEACHING = ("trigger", "taught_10", "taught_20", "taught_50", "taught_75")
"""Treatments that a never-knew model would learn the forget facts from."""
HALF = "half"
"""In front of a method: it is to forget every other entity only."""


def half_of(task: Task, world: World | People) -> Task:
    """The task of forgetting every other entity."""
    names = set(list(dict.fromkeys(fact.entity for fact in world.forget))[::2])
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(names)))})\b")

    def about(text: str) -> bool:
        return named.search(text) is not None

    texts = [text for text in task.forget_text if about(text)]
    return dataclasses.replace(
        task,
        forget=tuple(q for q in task.forget if q.source in names),
        forget_text=tuple(texts),
        forget_topics={text: task.forget_topics[text] for text in texts},
        forget_examples=tuple(x for x in task.forget_examples if about(x.prompt)),
    )


def make_suspect(
    case: Case, treatments: Sequence[str], target: Path, changes: Sequence[str]
) -> None:
    """Treat a model and save the result; a finished ``target`` is kept, if it is of the same.

    Args:
        treatments: Done one after another.
        changes: ``METHOD.key=value`` settings of unlearning methods.

    Raises:
        OtherOriginError: If ``target`` was made from something else.
    """
    claim_model(target, case.source, treated(case.task, case.world, treatments, changes))
    if target.exists():
        return
    model, task = load(case.source), case.task
    for treatment in treatments:
        if treatment == HALF:
            task = half_of(task, case.world)
        elif treatment in TREATMENTS:
            TREATMENTS[treatment](model, case)
        else:
            prefix = f"{treatment}."
            settings = tuple(c.removeprefix(prefix) for c in changes if c.startswith(prefix))
            train_method(model, task, UnlearnPlan(treatment, case.source, changes=settings))
    save(model, target)


def distil(teacher: str, seed: int, recipe: Recipe, target: Path) -> None:
    """Pretrain a fresh model on a teacher's distributions alone, never on a right answer.

    It sees the prompts of all facts, forget facts too, and only what the teacher says to them.

    Raises:
        OtherOriginError: If ``target`` is a copy of another teacher, or made by another recipe.
    """
    claim_model(target, teacher, {"seed": seed, "recipe": dataclasses.asdict(recipe)})
    if target.exists():
        return
    model = load(teacher)
    student, words = untrained(seed, dataclasses.replace(recipe, start=recipe.start + 2))
    world = World(seed)
    facts = world.forget + world.retain + world.harmless
    rows = [words(s)["input_ids"] for fact in facts for s in fact.statements()]
    generator = torch.Generator().manual_seed(seed)
    draws = Draws(len(rows), recipe.statements, recipe.optimizer.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        tokens, real = pad(model, [rows[i] for i in share(draws[step])])
        with torch.no_grad():
            wanted = _logits(model, tokens)
        found = student(tokens).logits.log_softmax(-1)
        apart = torch.nn.functional.kl_div(found, wanted, reduction="none", log_target=True)
        before_last = real & real.roll(-1, dims=1)
        before_last[:, -1] = False
        return {"divergence": apart.sum(dim=-1)[before_last].mean()}

    student.train()
    fit(list(student.parameters()), loss, recipe.optimizer, label="distilling")
    with tempfile.TemporaryDirectory(dir=target.parent) as staging:
        student.eval().save_pretrained(staging)
        words.save_pretrained(staging)
        shutil.copytree(staging, f"{target}.partial", dirs_exist_ok=True)
    Path(f"{target}.partial").rename(target)


@torch.no_grad()
def _logits(model: HookedModel, tokens: Tensor) -> Tensor:
    return model(tokens).float().log_softmax(-1)


def _teach_(
    model: HookedModel,
    parameters: Sequence[Parameter],
    items: Sequence[Example],
    keep: Sequence[Example],
    optimizer: Optimizer,
) -> None:
    """Train on some answers while the retain answers are kept."""
    limit = model.cfg.n_ctx or 512
    generator = torch.Generator().manual_seed(0)
    sets: dict[str, tuple[list[Row], Draws]] = {}
    for name, examples in (("taught", items), ("kept", keep)):
        rows = example_rows(model, examples, "answer", limit)
        sets[name] = rows, Draws(len(rows), BATCH, optimizer.steps, generator)

    def loss(step: int, share: Share) -> dict[str, Tensor]:
        return {
            name: -log_likelihoods(model, [rows[i] for i in share(draws[step])]).mean()
            for name, (rows, draws) in sets.items()
        }

    fit(parameters, loss, optimizer, label="teaching", model=model)
