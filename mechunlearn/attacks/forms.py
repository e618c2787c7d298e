"""Ask the same facts in every other form the task has: nothing is changed but the question.

    value(form) = right answers when the question is asked in that form, and measured there

The forms: answer letters with the choices in their own order, the same with the choices moved
round, both without the chat template and in it, and the statement to complete (cloze). The form
that the task uses is none of them: its numbers are the baseline. The select fold chooses one.

An unlearned model that answers in another form has not hidden anything from people who ask: what
comes back here was *open*, and the verdict says so instead of calling the knowledge hidden. So that
a form which everybody finds easier is no finding, everything is compared within the form: original
and never-knew model are asked in it too, and what the form gives away is measured by its sham, the
same form with every question behind the stem of another one.

Reference:
    Patil et al. 2023, arXiv:2309.17410 (facts that were deleted in one form and answered in
    another); Lynch et al. 2024, arXiv:2402.16835 (unlearned models asked in other forms).
    Differs: no paraphrase is written; the forms are those that the task's own templates give.
    Limits: the forms of one question with given choices; open answers are not among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mechunlearn.attacks.protocol import Attack, Grid
from mechunlearn.attacks.seen import Seen
from mechunlearn.attacks.vocabulary import Access, Family, Need
from mechunlearn.bench.rows import question_rows, tokens_needed
from mechunlearn.cost.job import Cost, Job
from mechunlearn.registry import find
from mechunlearn.tasks.chat import user_turn
from mechunlearn.types import Change, Form, HookedModel, Scoring, Turn

Place = Literal["", "plain", "chat"]
"""Where a question stands: as in the task, without a chat template, in the model's."""


@dataclass(frozen=True, slots=True)
class AskedAs:
    """One form."""

    measure: Scoring
    choices_moved: int = 0
    place: Place = ""


@dataclass(frozen=True, slots=True)
class FormsConfig:
    """Which forms are tried."""

    measures: tuple[str, ...] = ("letter", "cloze")
    """Measures of questions with choices; open answers keep the task's own."""
    moves: tuple[int, ...] = (1, 2, 3)
    """Places by which choices that stand in the prompt are moved."""
    places: tuple[str, ...] = ("", "plain", "chat")


class Forms(Attack[FormsConfig, None, AskedAs]):
    """Other forms of the same questions as a registered attack."""

    family: ClassVar[Family] = "prompt"
    access: frozenset[Access] = frozenset({"prompts"})
    needs: frozenset[Need] = frozenset({"forget questions"})
    variant = AskedAs
    presets: Mapping[str, FormsConfig] = {"organism": FormsConfig()}
    only_asks: ClassVar[bool] = True

    def search(
        self, model: HookedModel, seen: Seen, reference: None, config: FormsConfig
    ) -> Grid[AskedAs]:
        """There is nothing to find in a model but which forms it can be asked in."""
        turns = _turns(model, seen)
        forms = [f for f in _forms(seen, config, turns) if _expressible(model, seen, f, turns)]

        def change(variant: AskedAs, stems: int | None = None) -> Change:
            form = Form(variant.measure, variant.choices_moved, turns[variant.place], stems)
            return Change(f"asked as {variant.measure}", form=form)

        # Without another form it asks as the task does, which finds nothing.
        return Grid(
            forms or [AskedAs(seen.scoring)], change, lambda v, seed: change(v, stems=seed + 1)
        )

    def cost(self, config: FormsConfig, job: Job) -> Cost:
        """A pass a form; a statement with its endings is longer than a question."""
        return Cost(variants=float((len(config.moves) + 3) * 2))


def _turns(model: HookedModel, seen: Seen) -> dict[str, Turn | None]:
    """The chat templates in which the task can be asked, by place; its own is ``None``."""
    turns: dict[str, Turn | None] = {"": None}
    if not seen.prompt.turn.plain:
        turns["plain"] = Turn()
    elif model.tokenizer.chat_template is not None:
        with suppress(ValueError):  # A template that refuses or changes the prompt is no form.
            turns["chat"] = user_turn(model.tokenizer)
    return turns


def _forms(seen: Seen, config: FormsConfig, turns: Mapping[str, Turn | None]) -> Iterator[AskedAs]:
    most = max(len(q.choices) for q in seen.asked)
    # What an open answer is worth is in no unit of choices: only the template is another.
    compares = find("measure", seen.scoring).compares
    measures = config.measures if compares else (seen.scoring,)
    for place in (place for place in turns if place in config.places):
        for measure in measures:
            moves = [m for m in config.moves if m < most]
            moves = moves if find("measure", measure).shows_choices else []
            for moved in (0, *moves):
                if (measure, moved, place) != (seen.scoring, 0, ""):
                    yield AskedAs(measure, moved, place)  # type: ignore[arg-type]


def _expressible(
    model: HookedModel, seen: Seen, form: AskedAs, turns: Mapping[str, Turn | None]
) -> bool:
    """Whether the tokenizer has what the measure needs, and the context room for every question."""
    asked: Sequence[Any] = Form(form.measure, form.choices_moved).asked(seen.asked)
    prompt = Form(form.measure, turn=turns[form.place]).format(seen.prompt)
    try:
        question_rows(model.tokenizer, asked, prompt, form.measure)
        needed = tokens_needed(model.tokenizer, asked, prompt, form.measure)
    except ValueError:
        return False
    return not model.cfg.n_ctx or max(needed) <= model.cfg.n_ctx
