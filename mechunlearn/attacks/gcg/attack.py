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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from mechunlearn.attacks.gcg.examples import examples_of, problem_of, shuffled
from mechunlearn.attacks.gcg.objective import Reference, static_states
from mechunlearn.attacks.gcg.prefixes import GCGSearch, RankedText, optimise
from mechunlearn.attacks.gcg.presets import PRESETS
from mechunlearn.attacks.gcg.problem import answer_targets
from mechunlearn.attacks.gcg.settings import GCGConfig
from mechunlearn.attacks.gcg.state import State
from mechunlearn.attacks.protocol import Attack
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.generation import Decoding, continuations
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import gradient_bytes, model_bytes
from mechunlearn.hooks import check_blocks
from mechunlearn.presets import Size
from mechunlearn.types import Example, HookedModel


@dataclass(frozen=True, slots=True)
class Targets:
    """What was learned from the original: what to optimise for."""

    examples: list[Example]
    tokens: list[list[int]]
    """What should follow each of them."""
    reference: Reference


class GCG(Attack[GCGConfig, Targets, RankedText]):
    """Enhanced GCG.

    Gradients need the weights; the text that comes out needs prompts only.
    """

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"prompts", "weights"})
    needs: frozenset[Need] = frozenset(
        {"original model", "other facts of the forget domain", "retain facts"}
    )
    variant = RankedText
    presets: Mapping[str, GCGConfig] = PRESETS
    sizes: ClassVar[Mapping[Size, str]] = {
        "organism": "organism",
        "chat": "organism",
        "small": "small",
        "large": "fast",
    }

    def learn(self, original: HookedModel, seen: Seen, config: GCGConfig) -> Targets:
        """The questions with what should follow them, and the original's hidden states there.

        With a dynamic objective the original itself stays in memory.
        """
        examples = examples_of(seen, config)
        prompts = [e.prompt for e in examples]
        tokens = answer_targets(original.tokenizer, prompts, [e.answer for e in examples])
        if config.target == "original":
            length = config.carried + config.matched
            spoken = [
                own for (own,) in continuations(original, prompts, Decoding(max_tokens=length))
            ]
            tokens = [new or answer for new, answer in zip(spoken, tokens, strict=True)]
        objective, states = config.objective, Reference()
        if objective.static.weight:
            problem = problem_of(original, seen, config, examples, tokens)
            states = Reference(static_states(original, problem, objective))
        if objective.dynamic.weight:
            states = Reference(states.static, original)
        return Targets(examples, tokens, states)

    def check(self, config: GCGConfig, seen: Seen, layers: int) -> None:
        """Refuse layers of the objective that do not exist."""
        if config.objective.hidden:
            check_blocks(layers, config.objective.layers)

    def search(
        self, model: HookedModel, seen: Seen, reference: Targets, config: GCGConfig
    ) -> GCGSearch:
        """Search on the select fold; where ``seen.state`` exists, it goes on from there.

        Raises:
            ValueError: If the text does not fit the model's context, a layer does not exist, a
                letter is not one token, or there are no wrong answers to search for.
        """
        problem = problem_of(model, seen, config, reference.examples, reference.tokens)
        states = reference.reference
        if config.shuffled_search:  # Refused now, and not after the search.
            shuffled(problem, states, config.questions, config.seed)
        state, texts = optimise(model, problem, config, states, state_file=seen.state)
        return GCGSearch(model, config, problem, states, texts, state)

    def rebuild(
        self,
        model: HookedModel,
        seen: Seen,
        reference: Targets,
        variant: RankedText,
        config: GCGConfig,
    ) -> GCGSearch:
        """The text of an earlier search, without searching again; its course is not known."""
        problem = problem_of(model, seen, config, reference.examples, reference.tokens)
        states = reference.reference
        return GCGSearch(model, config, problem, states, [variant.text], State())

    def cost(self, config: GCGConfig, job: Job) -> Cost:
        """Children and gradients of all steps; one backward pass over a gradient's questions.

        A dynamic objective keeps the original in memory.
        """
        questions = round(config.questions / (1 - config.retain_share))
        most = min(config.questions, job.sizes.selected) / (1 - config.retain_share)
        rows = round(min(config.search.gradient_questions or most, most))
        # A text before the questions is run once for all of them.
        suffix = config.search.length if config.place == "suffix" else 0
        gradient = gradient_bytes(job.shape, job.sizes, rows, job.sizes.longest + suffix)
        memory = {"activations": gradient}
        if config.objective.dynamic.weight:
            memory["original"] = sum(model_bytes(job.shape, job.sizes).values())
        return Cost(
            search=config.search.forwards(questions),
            variants=float(config.search.restarts),
            memory=memory,
        )
