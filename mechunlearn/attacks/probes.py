"""Train a linear read-out on some facts, and read others with it.

    s_l = W x_l + b      x_l: a layer's state at the answer's place, each feature at variance 1
    W, b = argmin  sum over facts of |W x_l + b - e(answer)|^2 + ridge n |W|^2
    selectivity_l = right - max(right with shuffled labels, right on scrambled weights)

A lens asks whether the model's own output could read a layer; a probe asks whether anything linear
can. That it can is little by itself: a probe also learns what the prompt gives away. What counts is
what it reads beyond the same probe trained on shuffled answers, beyond the same probe on a model
whose matrices were scrambled, and beyond the same probe on a model that never knew. The facts that
it is trained on and those that it reads have no source in common.

``probes`` is trained on other forget facts, also together with retain facts; ``probes_retain`` on
retain facts alone, so that it carries nothing of the forget domain.

Reference:
    Alain and Bengio 2016, arXiv:1610.01644 (linear probes); Hewitt and Liang 2019,
    arXiv:1909.03368 (control tasks, selectivity).
    Differs: the control task shuffles labels among facts instead of giving each question type one,
    since the facts that are read occur in no training; the random model has the tested model's own
    matrices with rows and columns in random order, so that their sizes and spectra are the same and
    nothing else has to be loaded; least squares instead of logistic regression, which has one
    solution and no steps; layer, stream, ridge and facts are chosen on the select fold.
    Limits: an answer token that no training fact has is never read; of longer answers each token
    is read by itself.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechunlearn.attacks.depth import DepthCurve, DepthTrace, curve, guessed
from mechunlearn.attacks.edits import scrambled
from mechunlearn.attacks.least_squares import Probe, fitted
from mechunlearn.attacks.per_model import PerModel
from mechunlearn.attacks.protocol import Attack, Confirm, Search, View
from mechunlearn.attacks.seen import Scored, Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench import score_read_outs
from mechunlearn.bench.likelihood import example_rows
from mechunlearn.bench.states import states_at
from mechunlearn.cost.job import Cost, Job
from mechunlearn.hooks import streams
from mechunlearn.presets import Size
from mechunlearn.stats import paired_difference
from mechunlearn.types import Change, Example, HookedModel, Point, Role, Score, Stream

Facts = Literal["forget", "retain", "both"]
"""What a probe is trained on."""
CONTEXT = 4096
"""Tokens of a prompt with its answer, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbesConfig:
    """Settings.

    Raises:
        ValueError: If there is no ridge, or one that is not positive.
    """

    ridges: tuple[float, ...] = (0.01, 0.1, 1.0)
    """In units of a feature's variance."""
    every_stream: bool = True
    """Whether all four streams of a layer are read, or its output only."""
    seed: int = 0
    """Of shuffled labels and scrambled weights in the figure."""

    def __post_init__(self) -> None:
        if not self.ridges or min(self.ridges) <= 0:
            raise ValueError(f"probes need ridges above 0, not {self.ridges}")


@dataclass(frozen=True, slots=True)
class Probed:
    """One probe."""

    layer: int
    stream: Stream
    ridge: float
    facts: Facts

    @property
    def point(self) -> Point:
        """Where it reads."""
        return Point(self.layer, self.stream)


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """States of one model at the places of facts' answers, and the answers."""

    states: Mapping[Point, Float[Tensor, "read d_model"]]
    answers: Int[Tensor, " read"]
    """Tokens."""
    forget: int
    """How many of the reads, the first ones, are of forget facts."""
    known: dict[tuple[Probed, int | None], Probe] = field(default_factory=dict, repr=False)
    """Probes that were solved."""

    def probe(self, variant: Probed, shuffled: int | None = None) -> Probe:
        """A probe of these facts.

        Args:
            shuffled: Seed; the answers are shuffled among the facts, and the probe is scaled so
                that what it says differs as much from state to state as the real one's.
        """
        key = variant, shuffled
        if key not in self.known:
            self.known[key] = self._solved(variant, shuffled)
        return self.known[key]

    def _solved(self, variant: Probed, shuffled: int | None) -> Probe:
        first = {"forget": slice(self.forget), "retain": slice(self.forget, None)}
        here = first.get(variant.facts, slice(None))
        states, answers = self.states[variant.point][here].double(), self.answers[here]
        probe = fitted(states, answers, variant.ridge)
        if shuffled is None:
            return probe
        order = torch.randperm(len(answers), generator=torch.Generator().manual_seed(shuffled))
        placebo = fitted(states, answers[order], variant.ridge)
        wanted, size = (p.spread(states) for p in (probe, placebo))
        return placebo.scaled(wanted / size if size > 0 else 0.0)


def training(
    model: HookedModel, forget: Sequence[Example], retain: Sequence[Example], every_stream: bool
) -> Training:
    """The states of a model where it answers some facts; in one forward."""
    rows = example_rows(model, [*forget, *retain], "answer", model.cfg.n_ctx or CONTEXT)
    places = [[place for place, _, _ in row.reads] for row in rows]
    answers = torch.tensor([token for row in rows for _, token, _ in row.reads])
    own: Sequence[Stream] = streams(model) if every_stream else ("resid_post",)
    points = [Point(layer, stream) for layer in range(model.cfg.n_layers) for stream in own]
    states = states_at(model, [row.tokens for row in rows], places, points)
    return Training(states, answers, sum(len(p) for p in places[: len(forget)]))


@dataclass(frozen=True, slots=True, eq=False)
class ProbeReadOut:
    """A probe in the place of the unembedding, fitted to the model that it reads."""

    variant: Probed
    facts: PerModel[Training]
    shuffled: int | None = None

    @property
    def point(self) -> Point:
        """See ``ReadOut``."""
        return self.variant.point

    def logits(
        self,
        model: HookedModel,
        resid: Float[Tensor, "row d_model"],
        ids: Int[Tensor, " token"] | None = None,
    ) -> Float[Tensor, "row token"]:
        """Scores of some tokens (default: all); tokens that no fact has get the lowest."""
        probe = self.facts.of(model).probe(self.variant, self.shuffled)
        scores = probe.scores(resid.float())
        every = scores.amin(dim=1, keepdim=True).expand(-1, model.cfg.d_vocab).clone()
        every[:, probe.tokens.to(resid.device)] = scores
        return every if ids is None else every[:, ids]


def probe_depth(
    model: HookedModel,
    confirm: Confirm,
    facts: PerModel[Training],
    variant: Probed,
    seed: int,
) -> DepthTrace:
    """The reported questions read by probes of every layer, and what probes make of nothing.

    Args:
        variant: Stream, ridge and facts of the probes.
    """
    layers = range(model.cfg.n_layers)
    grid = [Probed(i, variant.stream, variant.ridge, variant.facts) for i in layers]

    def read(shuffled: int | None = None) -> list[Score]:
        read_outs = [ProbeReadOut(v, facts, shuffled) for v in grid]
        return score_read_outs(
            model, confirm.forget, confirm.prompt, read_outs, scoring=confirm.scoring
        )

    real, labels = read(), read(seed)
    with scrambled(model, seed):
        known = facts.known.pop(model, None)
        try:
            random = read()
        finally:
            facts.known.pop(model, None)
            if known is not None:
                facts.known[model] = known
    nothing = guessed(confirm)
    stream = variant.stream
    details = {
        "probe": real,
        "probe of shuffled labels": labels,
        "probe of scrambled weights": random,
    }
    return DepthTrace(
        curves=(
            selectivity(real, [labels, random], variant, 1 - nothing),
            *(
                curve(name, dict(enumerate(of)), nothing=nothing, stream=stream, kind="detail")
                for name, of in details.items()
            ),
        )
    )


def selectivity(
    real: Sequence[Score], controls: Sequence[Sequence[Score]], variant: Probed, everything: float
) -> DepthCurve:
    """What probes read beyond the best of their controls, layer by layer."""
    best = [max(at, key=lambda s: s.accuracy) for at in zip(*controls, strict=True)]
    found = [paired_difference(a.values, b.values) for a, b in zip(real, best, strict=True)]
    return DepthCurve(
        name="probe of retain facts" if variant.facts == "retain" else "probe",
        layers=tuple(range(len(real))),
        values=tuple(round(value, 4) for value, _ in found),
        value_cis=tuple((round(ci[0], 4), round(ci[1], 4)) for _, ci in found),
        nothing=0.0,
        everything=round(everything, 4),
        stream=variant.stream,
    )


@dataclass(frozen=True, slots=True)
class ProbeSearch(Search[Probed]):
    """Probes of every place."""

    grid: Sequence[Probed]
    facts: PerModel[Training]
    seed: int

    def variants(self) -> Generator[Sequence[Probed], Sequence[Scored], None]:
        """Every place, ridge and choice of facts."""
        yield self.grid

    def change(self, variant: Probed) -> Change:
        """See ``Search``."""
        return Change(f"probe at {variant.point.name}", read_out=ProbeReadOut(variant, self.facts))

    def sham(self, variant: Probed, seed: int) -> Change:
        """The same probe, trained on shuffled answers."""
        read_out = ProbeReadOut(variant, self.facts, seed)
        return Change("probe of shuffled labels", read_out=read_out)

    def view(self, variant: Probed) -> View:
        """See ``probe_depth``."""
        return partial(probe_depth, facts=self.facts, variant=variant, seed=self.seed)


class Probes(Attack[ProbesConfig, None, Probed]):
    """Linear probes as a registered attack."""

    family: ClassVar[Family] = "read-out"
    access: frozenset[Access] = frozenset({"activations"})
    variant = Probed
    presets: Mapping[str, ProbesConfig] = {
        "organism": ProbesConfig(),
        "small": ProbesConfig(ridges=(0.1, 1.0)),
        "large": ProbesConfig(ridges=(0.1, 1.0), every_stream=False),
    }
    sizes: ClassVar[Mapping[Size, str]] = {size: size for size in get_args(Size)}
    limited: ClassVar[bool] = False

    def __init__(self, facts: Sequence[Facts]) -> None:
        self.facts = tuple(facts)
        needs: set[Need] = {"retain facts"}
        if self.forget_too:
            needs.add("other facts of the forget domain")
        self.needs = frozenset(needs)

    @property
    def forget_too(self) -> bool:
        """Whether forget facts are among those that it is trained on."""
        return self.facts != ("retain",)

    def splits(self, config: ProbesConfig) -> frozenset[Role]:
        """One half of the forget facts trains, the other chooses."""
        return frozenset({"forget"}) if self.forget_too else frozenset()

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: ProbesConfig
    ) -> ProbeSearch:
        """One forward of the facts; probes are solved when they are asked for."""
        forget = tuple(map(seen.example, seen.forget)) if self.forget_too else ()
        retain = tuple(map(seen.example, seen.retain))
        fit = partial(training, forget=forget, retain=retain, every_stream=config.every_stream)
        facts = PerModel(fit)
        grid = [
            Probed(point.layer, point.stream, ridge, trained_on)
            for point in facts.of(model).states
            for ridge in config.ridges
            for trained_on in self.facts
        ]
        return ProbeSearch(grid, facts, config.seed)

    def cost(self, config: ProbesConfig, job: Job) -> Cost:
        """A forward of the facts that it is trained on; one more reads all places."""
        trained = job.retain_select + (job.forget_select / 2 if self.forget_too else 0)
        places = job.shape.layers * (4 if config.every_stream else 1)
        kept = float(trained * places * job.shape.d_model * job.sizes.number)
        states = kept if job.sizes.kind == "cpu" else 0.0
        return Cost(search=float(trained), variants=1.0, memory={"states": states})


FORGET = Probes(("forget", "both"))
RETAIN = Probes(("retain",))
