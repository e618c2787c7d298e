"""What attacks get to ask, and what their variants are worth."""

from collections.abc import Generator, Sequence
from typing import cast

import numpy as np
import pytest

from mechunlearn.attacks import Scored, Search, Trials
from mechunlearn.audit.select import ENOUGH, Deciding, Measured, choose, lost, worth
from mechunlearn.bench.renaming import suggested
from mechunlearn.types import Change, Form, HookedModel, Question, Score, Task


def test_attacks_ask_what_was_lost_unless_that_is_little() -> None:
    questions = [Question(f"q{i}", ("a", "b"), 0) for i in range(20)]
    knew = [1.0] * 19 + [0.0]
    assert lost(questions, knew, [0.0] * ENOUGH + [1.0] * 12) == tuple(questions[:ENOUGH])
    assert lost(questions, knew, [0.0] * 20) == tuple(questions[:19])
    assert lost(questions, knew, [0.5] * (ENOUGH - 1) + [1.0] * 13) == tuple(questions)


def test_letters_that_are_right_under_other_names_are_worth_what_they_are_there(task: Task) -> None:
    """A17: else no variant would be chosen that brings permuted letters back."""
    right = np.arange(96) % 4
    permuted = Score("x", np.eye(4)[(right + 1) % 4], right)
    none = Change("none")
    assert (permuted.accuracy, worth(permuted, task, none)) == (0.0, 1.0)
    # Nothing else is worth more than it is: guesses, one letter, letters of another measure.
    rng = np.random.default_rng(0)
    for said in (rng.integers(0, 4, 96), np.ones(96, dtype=int)):
        score = Score("x", np.eye(4)[said], right)
        assert worth(score, task, none) == pytest.approx(score.accuracy)
    assert worth(permuted, task, Change("x", form=Form("cloze"))) == 0.0


def test_a_renaming_is_hardly_ever_suggested_by_luck() -> None:
    rng = np.random.default_rng(0)
    drawn = [
        suggested(rng.integers(0, 4, n), rng.choice(4, n, p=(0.4, 0.2, 0.2, 0.2)), 4)
        for n in (16, 40, 192)
        for _ in range(200)
    ]
    assert sum(names is not None for names in drawn) <= 1


class Looking(Search[int]):
    """Tries three variants, and offers two of them."""

    sent: list[list[Scored]]

    def variants(self) -> Generator[Sequence[int], Sequence[Scored], None]:
        self.sent = [list((yield Trials([1, 2, 3])))]
        self.sent.append(list((yield [2, 3])))

    def change(self, variant: int) -> Change:
        return Change(str(variant))

    def sham(self, variant: int, seed: int) -> Change:
        return Change("sham")


def test_trials_are_judged_by_one_half_and_what_is_chosen_by_the_other(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[Sequence[Question]]] = {}

    def score(model: object, questions: Sequence[Question], of: Task, *, change: Change) -> Score:
        asked.setdefault(change.name, []).append(questions)
        right = np.array([q.answer for q in questions])
        # Of variant v a share of v / 4 is right where trials are judged, of 2 all on the others.
        share = 1.0 if change.name == "2" and questions == deciding.forget else int(change.name) / 4
        said = np.where(
            np.arange(len(right)) < share * len(right),
            right,
            (right + 1 + np.arange(len(right)) % 3) % 4,
        )
        return Score(change.name, np.eye(4)[said], right)

    for place in ("audit.select", "bench.later"):
        monkeypatch.setattr(f"mechunlearn.{place}.score", score)
    deciding = Deciding.of(task, "looking", frozenset({"forget"}))
    sources = [{q.source for q in part} for part in (deciding.trials, deciding.forget)]
    assert not sources[0] & sources[1]
    assert set(deciding.kept) < set(deciding.retain)
    assert len(deciding.kept) == len(deciding.trials)
    search = Looking()
    model = cast(HookedModel, None)
    choice = choose(model, search, Measured(deciding), retain_before=0.5, limit=0.05)
    assert choice.variant == 2  # The best of the trials was 3.
    assert [a.variant for a in choice.tried] == [2, 3]
    assert [round(s.forget, 2) for s in search.sent[0]] == [0.25, 0.5, 0.75]
    assert search.sent[0][2].retain == pytest.approx(0.75)
    assert [s.forget for s in search.sent[1]] == [1.0, 0.75]
    assert asked["1"] == [deciding.trials, deciding.kept]
    assert asked["3"] == [deciding.trials, deciding.kept, deciding.forget]
    # Without a split everything is judged by all questions, and nothing but trials is no choice.
    whole = Deciding.of(task, "looking", frozenset())
    assert whole.trials == whole.forget == task.questions("forget", "select")
    monkeypatch.setattr(Looking, "variants", lambda self: iter_of_trials())
    with pytest.raises(ValueError, match="no variants to try"):
        choose(model, search, Measured(whole), retain_before=0.5, limit=0.05)


def iter_of_trials() -> Generator[Sequence[int], Sequence[Scored], None]:
    yield Trials([1])
