"""Let an optimiser search how much of which direction every attention and every MLP has to lose.

    max over kernels of (value on forget questions, -KL(p_original || p_attacked) on retain prompts)
    with the retain accuracy lost and the divergence added below a limit each

A kernel (``mechunlearn.attacks.kernel``) has a direction, one for all blocks or each block its own,
and for attention and MLP a greatest weight, the block where it is, a smallest weight and a reach.
Trials after the first random ones are proposed by a tree-structured Parzen estimator. They are
judged by one half of the forget questions of the select fold. The other half judges those on the
front of value and divergence anew, and chooses one of them or nothing. A search of many trials
finds something by luck, so the never-knew model is searched as well, with a choice of its own.

Reference:
    Multivariate TPE: Watanabe 2023, arXiv:2304.11127; for two goals Ozaki et al. 2022, JAIR 73.
    Optuna, Akiba et al. 2019, arXiv:1907.10902. Ablation from everything that is written is Arditi
    et al. 2024, arXiv:2406.11717. The kernel, its ranges and the two goals are those of Heretic
    (p-e-w, 2025), a tool against refusals.
    Differs: forget value in place of refusals; divergence from the original, so that what repairs
    the unlearned model is no loss; hooks on what attention and MLPs write in place of
    weights, without a rescaling of rows; directions are of the unlearned model against the original
    or against benign questions; ranges are wide, since unlearning may sit in any block, and
    attention may be spared as MLPs may; ``heretic`` has their ranges and number of trials. Limits
    decide which trials are good, where theirs are chosen by hand from the front.
    Limits: one direction in each block, from means, as in ``direction_ablation``: what unlearning
    moved in many directions is not moved back. Sixty trials in eleven dimensions are few.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.attacks.activations import statistics_bytes
from mechunlearn.attacks.equal_size import of_equal_size
from mechunlearn.attacks.kernel import NOTHING, Against, Kernel, Profile, ablated, units
from mechunlearn.attacks.mean_directions import Original, measured_directions, original_means
from mechunlearn.attacks.protocol import Attack, Search, Trials
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.trials import SearchTrace, SearchTrial, finalists
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.first_token import divergence, first_token_logs
from mechunlearn.cost.job import Cost, Job
from mechunlearn.presets import Size
from mechunlearn.progress import track
from mechunlearn.types import Change, Direction, HookedModel, Role

PROMPTS = 64
"""Retain prompts that the divergence is measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationSearchConfig:
    """Settings.

    Raises:
        ValueError: If a number makes no sense.
    """

    trials: int = 60
    random: int = 30
    """First trials, which are drawn at random; all, if there are no more."""
    candidates: int = 24
    """That the estimator draws for each trial, to take the best of; Optuna's default."""
    finalists: int = 8
    """Of the front, those of greatest value: the other half of the questions judges them."""
    retain_loss: float = 0.05
    """Largest loss of retain accuracy."""
    divergence: float = 0.5
    """Most that may be added to the divergence from the original, in nats."""
    wide: bool = True
    """Whether all blocks and weights are tried, or those that suit refusals."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.trials, self.random, self.candidates, self.finalists) < 1:
            raise ValueError(f"a search needs trials, random, candidates, finalists >= 1: {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What has to be known of the original."""

    means: Original
    logs: Float[Tensor, "prompt token"]
    """Log-probabilities of the first token behind retain prompts."""


@dataclass(slots=True)
class KernelSearch(Search[Kernel]):
    """The directions found in one model, and what was tried along them."""

    model: HookedModel
    directions: Mapping[Against, Direction]
    asked: tuple[str, ...]
    """Prompts that the sham's size is measured on."""
    kept: tuple[str, ...]
    """Retain prompts."""
    logs: Float[Tensor, "prompt token"]
    """What the original says first behind them."""
    config: AblationSearchConfig
    before: SearchTrial | None = None
    tried: list[tuple[Kernel, SearchTrial]] = field(default_factory=list)

    def variants(self) -> Generator[Sequence[Kernel], Sequence[Scored], None]:
        """Trials one by one, and then those that may be chosen."""
        self.before = None
        self.tried.clear()
        study, n = _study(self.config), self.model.cfg.n_layers
        (scored,) = yield Trials([NOTHING])
        self.before = before = self._trial(NOTHING, scored)
        for _ in track(range(self.config.trials), "ablation search"):
            asked = study.ask()
            kernel = proposed(asked, n, self.config.wide)
            (scored,) = yield Trials([kernel])
            trial = self._trial(kernel, scored)
            for name, beyond in zip(("retain", "divergence"), self._beyond(trial), strict=True):
                asked.set_constraint(name, beyond)
            study.tell(asked, [trial.value, trial.divergence])
            self.tried.append((kernel, trial))
        last = finalists([t for _, t in self.tried], self.config.finalists)
        plain, *judged = yield [NOTHING, *(self.tried[i][0] for i in last)]
        self.before = _judged(before, plain)
        for i, scored in zip(last, judged, strict=True):
            kernel, trial = self.tried[i]
            self.tried[i] = kernel, _judged(trial, scored)

    def _trial(self, kernel: Kernel, scored: Scored) -> SearchTrial:
        assert scored.retain is not None
        moved = divergence(self.logs, first_token_logs(self.model, self.kept, self.change(kernel)))
        trial = SearchTrial(
            value=round(scored.forget, 4),
            retain=round(scored.retain, 4),
            divergence=float(f"{moved:.4g}"),
            within=True,
        )
        return msgspec.structs.replace(trial, within=max(self._beyond(trial)) <= 0)

    def _beyond(self, trial: SearchTrial) -> tuple[float, float]:
        """How far the loss of retain accuracy and the divergence lie beyond their limits."""
        before = trial if self.before is None else self.before
        lost, added = before.retain - trial.retain, trial.divergence - before.divergence
        return lost - self.config.retain_loss - 1e-9, added - self.config.divergence

    def change(self, variant: Kernel) -> Change:
        """See ``Search``."""
        direction = self.directions[variant.against]
        vectors = units(direction, variant)
        return ablated(variant, len(direction.layers), vectors, direction.name)

    def sham(self, variant: Kernel, seed: int) -> Change:
        """The same kernel, as far as it moves activations, but along random directions."""
        generator = torch.Generator().manual_seed(seed)
        real = units(self.directions[variant.against], variant)
        drawn = {i: torch.randn(u.shape, generator=generator) for i, u in real.items()}
        if variant.layer is not None:
            drawn = dict.fromkeys(real, drawn[min(drawn)]) if drawn else {}
        random = {i: v / v.norm() for i, v in drawn.items()}
        placebo = ablated(variant, self.model.cfg.n_layers, random, "random direction")
        return of_equal_size(self.model, placebo, self.change(variant), self.asked)

    def size(self, variant: Kernel) -> int:
        """Hundredths of the sum of weights."""
        return round(100 * variant.weight(self.model.cfg.n_layers))

    def traces(self, variant: Kernel) -> tuple[SearchTrace, ...]:
        """Everything that was tried, where this model was searched."""
        if self.before is None:
            return ()
        places = [i for i, (kernel, _) in enumerate(self.tried) if kernel == variant]
        chosen = places[0] if places else None
        tried = tuple(trial for _, trial in self.tried)
        return (SearchTrace(before=self.before, trials=tried, chosen=chosen),)


def proposed(trial: Any, layers: int, wide: bool) -> Kernel:
    """A kernel in the ranges of a study's trial.

    Args:
        trial: Optuna's.
        wide: Whether every block may lose anything; otherwise the ranges are Heretic's: directions
            of blocks from 0.4 to 0.9 of the depth, the greatest weight in the last 0.4 and of
            attention at least 0.8.
    """
    last, start, deep = layers - 1, *((0.0, 0.0) if wide else (0.4, 0.6))
    end = 1.0 if wide else 0.9

    def number(name: str, low: float, high: float) -> float:
        return round(trial.suggest_float(name, low, high), 4)

    def profile(part: str, low: float) -> Profile:
        most = max(0.0, number(f"{part} most", low, 1.5))
        at = number(f"{part} at", deep * last, last)
        least = round(most * number(f"{part} least", 0.0, 1.0), 4)
        reach = number(f"{part} reach", 1.0, max(1.0, (1.0 if wide else 0.6) * layers))
        return Profile(most, at, least, reach)

    against = trial.suggest_categorical("against", list(get_args(Against)))
    single = trial.suggest_categorical("direction", ["one", "each"]) == "one"
    layer = number("layer", start * last, end * last)  # Also where unused: one space for all.
    attention, mlp = profile("attention", -0.25 if wide else 0.8), profile("mlp", -0.25)
    return Kernel(against, layer if single else None, attention, mlp)


def _judged(trial: SearchTrial, scored: Scored) -> SearchTrial:
    return msgspec.structs.replace(trial, judged=round(scored.forget, 4))


def _kept(seen: Seen) -> tuple[str, ...]:
    """Retain prompts that the divergence is measured on, evenly spaced."""
    every = seen.retain[:: max(1, len(seen.retain) // PROMPTS)]
    return tuple(map(seen.text, every[:PROMPTS]))


def _study(config: AblationSearchConfig) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=config.random,
        n_ei_candidates=config.candidates,
        multivariate=True,
        seed=config.seed,
    )
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


class AblationSearch(Attack[AblationSearchConfig, Known, Kernel]):
    """The search as a registered attack."""

    family: ClassVar[Family] = "direction"
    access: frozenset[Access] = frozenset({"activations"})
    needs: frozenset[Need] = frozenset({"original model", "forget questions", "retain facts"})
    variant = Kernel
    adaptive: ClassVar[bool] = True
    sizes: ClassVar[Mapping[Size, str]] = {
        "organism": "organism",
        "chat": "organism",
        "small": "small",
        "large": "large",
    }
    presets: Mapping[str, AblationSearchConfig] = {
        "organism": AblationSearchConfig(),
        "small": AblationSearchConfig(),
        "large": AblationSearchConfig(trials=200, random=60, candidates=128),
        "heretic": AblationSearchConfig(trials=200, random=60, candidates=128, wide=False),
    }

    def splits(self, config: AblationSearchConfig) -> frozenset[Role]:
        """One half of the forget questions judges trials, the other one finalists."""
        return frozenset({"forget"})

    def learn(self, original: HookedModel, seen: Seen, config: AblationSearchConfig) -> Known:
        """Mean activations of the original, and what it says first behind retain prompts."""
        return Known(
            original_means(original, seen, keep=0), first_token_logs(original, _kept(seen))
        )

    def search(
        self, model: HookedModel, seen: Seen, reference: Known, config: AblationSearchConfig
    ) -> KernelSearch:
        """The directions; what is searched along them are the variants."""
        found = measured_directions(model, seen, reference.means, ("original", "benign"))
        directions = {against: found[against] for against in get_args(Against)}
        asked = tuple(map(seen.text, seen.asked))
        return KernelSearch(model, directions, asked, _kept(seen), reference.logs, config)

    def cost(self, config: AblationSearchConfig, job: Job) -> Cost:
        """Statistics of three sets of texts; half of the forget questions and as many others."""
        half = job.forget_select / 2
        once = half + min(half, job.retain_select) + min(PROMPTS, job.retain_select)
        logs = min(PROMPTS, job.retain_select) * job.shape.vocabulary
        return Cost(
            search=3.0 * job.forget_select + (config.trials + 1) * once,
            variants=config.finalists / 2,
            memory={
                "activations": statistics_bytes(job.shape, job.sizes),
                "first tokens": 16.0 * logs if job.sizes.kind == "cpu" else 0.0,
            },
        )
