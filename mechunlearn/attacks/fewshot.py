"""Show other questions with their right answers first, and ask behind them.

    prompt -> q_1 a_1, q_2 a_2, ..., q_k a_k, prompt           as text inside the user's turn

The examples are other facts of the forget domain (``fewshot_disjoint``) or retain facts
(``fewshot_retain``), the same for all questions; numbers and draws of them are tried. The sham
shows the same questions with the answers of others among them: the same form, and nothing true.
What that brings back is a matter of form, as after finetuning on it.

Reference:
    Doshi and Stickland 2024, Does Unlearning Truly Unlearn?, arXiv:2411.12103 (few-shot prompts
    against unlearned models); wrong labels as the control are Min et al. 2022, arXiv:2202.12837.
    Differs: the examples are of the select fold's other half and not the benchmark's own; number
    and draw are chosen there.
    Limits: as many examples as fit in the context, in the task's own form.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from mechunlearn.attacks.protocol import Attack, Grid
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.cost.job import Cost, Job
from mechunlearn.cost.memory import forward_bytes, tokens_per_batch
from mechunlearn.tasks.exchange import Answers, letters
from mechunlearn.types import Change, Example, HookedModel, Question, Rewrite, Role

Source = Literal["disjoint", "retain"]
LONGER = 1.1
"""By how much a reported prompt may be longer than the longest that was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewShotConfig:
    """Settings.

    Raises:
        ValueError: If there are no examples, or none are drawn.
    """

    shots: tuple[int, ...] = (1, 3, 5)
    draws: int = 3
    """Different examples of each number."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shots or min(self.shots) < 1 or self.draws < 1:
            raise ValueError(f"few-shot prompts need shots and draws of at least 1, not {self}")


@dataclass(frozen=True, slots=True)
class Shots:
    """Examples in front of every question."""

    shots: int
    draw: int


def drawn(pool: Sequence[Example], variant: Shots, seed: int = 0) -> tuple[Example, ...]:
    """Examples of a variant; of a smaller number the last ones of a larger, nearest the question.

    Raises:
        ValueError: If there are no examples.
    """
    if not pool:
        raise ValueError("there are no questions to show as examples; give the task more of them")
    order = random.Random(f"shots-{seed}-{variant.draw}").sample(range(len(pool)), len(pool))
    return tuple(pool[i] for i in reversed(order[: variant.shots]))


def mislabelled(
    examples: Sequence[Example], pool: Sequence[Example], seed: int
) -> tuple[Example, ...]:
    """The same prompts, each with an answer of the pool that is not its own.

    A letter is one that the question has. What cannot be exchanged gets its words in random order.

    Raises:
        ValueError: If all answers are alike.
    """
    rng, known = random.Random(f"wrong-{seed}"), sorted({e.answer for e in pool})
    answers, first = Answers(pool), {e.answer: i for i, e in enumerate(pool)}
    place, wrong = {e: i for i, e in enumerate(pool)}, []
    for example in examples:
        own = {*(letters(example) or known)}
        others = [answer for answer in known if answer != example.answer and answer in own]
        said = None
        while others and said is None:
            others.remove(chosen := rng.choice(others))
            said = answers.to(first[example.answer], first[chosen])
        wrong.append(Example(example.prompt, said or answers.instead(place[example], rng)))
    return tuple(wrong)


def behind(text: str, rng: object, examples: Sequence[Example], separator: str) -> str:
    """The question behind its examples, as a rewrite."""
    return "".join(f"{e.prompt}{e.answer}{separator}" for e in examples) + text


@dataclass(frozen=True, slots=True)
class FewShotSearch(Grid[Shots]):
    """The numbers and draws to try."""

    def size(self, variant: Shots) -> int:
        """Number of examples."""
        return variant.shots


class FewShot(Attack[FewShotConfig, None, Shots]):
    """Examples in front of the question as a registered attack."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"prompts"})
    variant = Shots
    presets: Mapping[str, FewShotConfig] = {
        "organism": FewShotConfig(),
        "small": FewShotConfig(),
        "paper": FewShotConfig(shots=(5,), draws=1),
    }

    def __init__(self, source: Source) -> None:
        self.source = source
        need: Need = "other facts of the forget domain" if source == "disjoint" else "retain facts"
        self.needs: frozenset[Need] = frozenset({need, "forget questions"})

    @property
    def role(self) -> Role:
        """The set that the examples are of."""
        return "forget" if self.source == "disjoint" else "retain"

    def splits(self, config: FewShotConfig) -> frozenset[Role]:
        """Examples are of one half of their set; the other half judges them."""
        return frozenset({self.role})

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: FewShotConfig
    ) -> FewShotSearch:
        """There is nothing to find in a model but how many examples it has room for.

        Raises:
            ValueError: If there are no examples, all have the same answer, or not one fits in the
                context.
        """
        of: Sequence[Question] = seen.forget if self.role == "forget" else seen.retain
        pool, separator = [seen.shown(q) for q in of], seen.prompt.separator
        grid = [Shots(n, d) for n in config.shots for d in range(config.draws) if n <= len(pool)]
        asked = [seen.text(q) for q in seen.asked]
        mislabelled(pool[:1], pool, config.seed)  # Refused now, and not after the search.

        def change(variant: Shots, seed: int | None = None) -> Change:
            examples = drawn(pool, variant, config.seed)
            if seed is not None:
                examples = mislabelled(examples, pool, seed)
            rewrite = Rewrite(partial(behind, examples=examples, separator=separator))
            name = f"{variant.shots} examples"
            return Change(name if seed is None else f"{name}, wrong answers", rewrite=rewrite)

        def tokens(variant: Shots) -> int:
            longest = max(asked, key=len)
            rewritten = change(variant).rewrite
            assert rewritten is not None
            (text,) = rewritten.prompts(model, [longest], seen.prompt.turn)
            return len(model.tokenizer(text)["input_ids"])

        room = model.cfg.n_ctx or float("inf")
        fitting = [v for v in grid if LONGER * tokens(v) <= room]
        if not fitting:
            raise ValueError(
                f"no example fits in front of a question: the context has {room} tokens; use a "
                "model with a longer one, or leave this attack out"
            )
        return FewShotSearch(fitting, change, change)

    def cost(self, config: FewShotConfig, job: Job) -> Cost:
        """The questions once for each variant; the examples are computed once and kept."""
        tokens = tokens_per_batch(job.shape, job.sizes) + max(config.shots) * job.sizes.longest
        return Cost(
            variants=1.5 * len(config.shots) * config.draws,
            memory={"activations": forward_bytes(job.shape, job.sizes, tokens)},
        )


DISJOINT, RETAIN = FewShot("disjoint"), FewShot("retain")
