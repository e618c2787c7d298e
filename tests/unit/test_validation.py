"""Counting on models of known truth, by hand; their questions, treatments and null attacks."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from mechunlearn import attack
from mechunlearn.analysis.report import Report
from mechunlearn.bench import score
from mechunlearn.records import decoded, encoded, plain
from mechunlearn.registry import METHODS
from mechunlearn.studies import validation
from mechunlearn.studies.conditions import CONDITIONS, Condition, Kind, chosen_conditions
from mechunlearn.studies.nulls import add_nulls
from mechunlearn.studies.question_sets import CLUSTER, clustered, with_shortcuts, write_questions
from mechunlearn.studies.records import Situation, Suspect, Truth, ValidationCard, ValidationResult
from mechunlearn.studies.treatments import HALF, TEACHING, TREATMENTS, half_of
from mechunlearn.studies.validation import ValidationPlan, summarise
from mechunlearn.studies.world_models import known_models, worlds
from mechunlearn.tasks import load_task
from mechunlearn.tasks.people import People
from mechunlearn.tasks.world import VALUES, World
from mechunlearn.types import HookedModel, Task

ROOT = Path(__file__).parents[2]
CARD = ValidationCard(command="mechunlearn validate")


def row(
    truth: Truth,
    category: str,
    fired: list[str],
    *,
    gap: bool = True,
    n: int = 288,
    situation: Situation = "treated",
) -> Suspect:
    numbers = {"original": 1.0, "suspect": 0.25, "retain": 1.0}
    by_attack = {
        "accuracy": {"a": 0.5, "b": 0.5},
        "control": {"a": 0.25, "b": 0.25},
        "p_holm": {"a": 0.1, "b": 0.1},
    }
    return Suspect(
        seed=0, condition=f"{truth}-x", truth=truth, category=category, fired=tuple(fired), gap=gap,
        n=n, situation=situation, **numbers, **by_attack,
    )  # fmt: skip


ROWS = [
    row("hidden", "hidden, shallow", ["a", "b"]),
    row("hidden", "hidden, deep", ["b"]),
    row("hidden", "intact", [], gap=False),
    row("hidden", "inconclusive", []),
    row("hidden", "no evidence", [], n=40),
    row("gone", "no evidence", []),
    row("gone", "inconclusive", []),
    row("gone", "hidden, sparse", ["b"]),
    row("gone", "openly answered", []),
    row("open", "hidden, sparse", ["a"]),
    row("broken", "not judged", []),
    row("hidden", "openly answered", [], situation="none"),
]


def test_rates_by_hand() -> None:
    result = summarise(ROWS, CARD)
    assert set(result.situations) == {"treated", "none"}
    treated = result.situations["treated"]
    a, b, verdict = treated.attacks["a"], treated.attacks["b"], treated.verdict
    assert (a.sensitivity, a.sensitivity_n) == (1 / 3, 3)  # Without a gap nothing can fire.
    assert (b.sensitivity, b.false_alarm_rate) == (2 / 3, 1 / 4)
    assert (a.false_alarm_rate, a.false_alarm_rate_n) == (0.0, 4)  # Open truths do not count.
    assert (verdict.sensitivity, verdict.sensitivity_n) == (3 / 4, 4)  # Nor do few questions,
    assert verdict.missed == 1  # but a wrong "no evidence" is told.
    assert verdict.false_alarm_rate == 2 / 4  # Hidden, and open where nothing was taught.
    assert verdict.sensitivity_ci is not None
    low, high = verdict.sensitivity_ci
    assert 0 < low < 3 / 4 < high < 1
    assert verdict.confusion["gone-x"] == {
        "hidden, sparse": 1, "openly answered": 1, "no evidence": 1, "inconclusive": 1,
    }  # fmt: skip
    assert verdict.confusion["open-x"] == {"hidden, sparse": 1}
    assert result.situations["none"].verdict.sensitivity == 1.0
    assert result.of(None, "C") is result.situations["none"]
    assert result.of("control", "A") is treated
    assert result.of("never_knew", "A") is treated  # The nearest that there is.
    twins = summarise([*ROWS, row("hidden", "hidden, deep", [], situation="twins")], CARD)
    assert twins.of(None, "B") is twins.situations["twins"]
    assert decoded(encoded(result), ValidationResult, "it") == result


def test_without_models_of_a_truth_there_is_no_rate() -> None:
    rates = summarise(ROWS[:1], CARD).situations["treated"].attacks["a"]
    assert rates.false_alarm_rate is None
    assert rates.false_alarm_rate_ci is None


def test_the_committed_results_open_and_say_the_same() -> None:
    file = ROOT / "figures" / "data" / "validation.json"
    whole = ValidationResult.load(file)
    assert json.loads(json.dumps(plain(whole))) == json.loads(file.read_text())
    assert summarise(whole.models, whole.runcard, whole.added) == whole
    packaged = ValidationResult.load(ROOT / "mechunlearn" / "report" / "validation.json")
    assert packaged.situations == whole.situations
    assert packaged.models == ()


def test_a_damaged_result_names_the_place(tmp_path: Path) -> None:
    data = json.loads((ROOT / "figures" / "data" / "validation.json").read_text())
    data["models"][3]["truth"] = "perhaps"
    (tmp_path / "validation.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"\$\.models\[3\]\.truth"):
        ValidationResult.load(tmp_path / "validation.json")


def test_every_condition_can_be_made_somewhere() -> None:
    assert len({c.name for c in CONDITIONS}) == len(CONDITIONS)
    for condition in CONDITIONS:
        assert {*condition.treatments} <= {HALF, *TREATMENTS, *METHODS}
        assert any(condition.possible(kind) for kind in get_args(Kind))
    assert {c.start for c in CONDITIONS if c.possible("letters")} == {"original"}
    chat = [c for c in CONDITIONS if c.possible("chat")]
    assert {c.start for c in chat} == {"original", "stranger", "wrong"}
    assert {c.truth for c in chat} == {"hidden", "gone", "broken"}
    assert {c.truth for c in CONDITIONS} == {"hidden", "gone", "broken", "open"}
    assert set(TEACHING) <= set(TREATMENTS)
    with pytest.raises(ValueError, match="did you mean 'stranger-rmu'"):
        chosen_conditions(["stranger-rmv"])


def test_settings_go_to_methods_and_attacks() -> None:
    plan = ValidationPlan(
        attacks=("logit_lens", "relearning_text"),
        changes=("rmu.alpha=3.0", "relearning_text.steps=4"),
        conditions=chosen_conditions(["original-rmu", "stranger"]),
    )
    assert plan.changes_of(plan.attacks) == ("relearning_text.steps=4",)
    with pytest.raises(ValueError, match="not among the methods and attacks"):
        ValidationPlan(attacks=("logit_lens",), changes=("npo.beta=1.0",), conditions=())
    with pytest.raises(ValueError, match="at least one seed"):
        ValidationPlan(seeds=())
    with pytest.raises(ValueError, match="no chat organisms of seed 10"):
        ValidationPlan(seeds=(0, 10), chat=True)


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """What a folder of twins is known by; of seed 1 there is only an original."""
    for name in ("original@0", "never_knew@0", "wrong@0", "original@1"):
        (tmp_path / "my twins" / name).mkdir(parents=True)
        (tmp_path / "my twins" / name / "adapter_config.json").touch()
    (tmp_path / "my twins" / "never_knew_2@0").mkdir()  # Holds no model.
    return tmp_path / "my twins"


def test_twins_of_a_real_model_are_found_or_what_makes_them_is_said(twins: Path) -> None:
    found = {"original": "original@0", "twin": "never_knew@0", "wrong": "wrong@0"}
    assert known_models(0, twins=str(twins)) == {k: str(twins / v) for k, v in found.items()}
    with pytest.raises(ValueError, match="has no never_knew@1: make") as one:
        ValidationPlan(seeds=(0, 1), twins=str(twins))
    made = "organism train --kind chat --base MODEL --seed 1 --role never_knew --out '"
    assert made + f"{twins}'" in str(one.value)
    with pytest.raises(ValueError, match="no original@2 and no never_knew@2: ") as both:
        ValidationPlan(seeds=(2,), twins=str(twins))
    assert "--seed 2 --out" in str(both.value)
    with pytest.raises(ValueError, match="give one of them"):
        ValidationPlan(seeds=(0,), twins=str(twins), chat=True)
    assert known_models(0, chat=True)["stranger"] == "chat:never_knew_2@0"
    assert known_models(0)["twin"] == "organism:never_knew@0"
    assert worlds(twins=str(twins)) == (0,)
    assert worlds(chat=True) == (0, 1)
    assert worlds(twins=str(twins / "none")) == (0,)
    assert len(worlds()) > 5
    assert known_models(10) == {}


def test_conditions_without_their_twin_are_skipped(
    twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audited = []

    def unaudited(
        plan: ValidationPlan, seed: int, condition: Condition, *_: object
    ) -> Iterator[tuple[Situation, Report]]:
        audited.append(condition)
        yield from ()

    monkeypatch.setattr(validation, "_audited", unaudited)
    plan = ValidationPlan(seeds=(0,), twins=str(twins))
    found = validation.validate(plan, tmp_path / "run")
    chat = [c for c in CONDITIONS if c.possible("chat")]
    assert audited == [c for c in chat if c.start != "stranger"]
    assert {c.start for c in audited} == {"original", "wrong"}
    assert f"--twins '{twins}'" in found.runcard.command
    assert "--conditions" not in found.runcard.command
    some = ValidationPlan(seeds=(0,), twins=str(twins), conditions=chosen_conditions(["wrong"]))
    again = validation.validate(some, tmp_path / "run")
    assert "--conditions wrong" in again.runcard.command
    with pytest.raises(ValueError, match="validation of other models"):
        validation.validate(ValidationPlan(seeds=(0,), chat=True), tmp_path / "run")


def test_questions_in_the_shapes_of_users(tmp_path: Path) -> None:
    world = World(7)
    task = world.facts_task()
    assert write_questions(task, "all", 7, tmp_path / "q.jsonl") == "facts@7"
    few = load_task(write_questions(task, "few_40", 7, tmp_path / "few.jsonl"))
    assert len(few.questions("forget", "confirm")) == 40
    assert len(few.questions("retain", "select")) == 27
    known = {(q.stem, q.choices, q.answer) for q in world.facts_task().forget}
    assert {(q.stem, q.choices, q.answer) for q in few.forget} <= known

    questions = world.facts_task().forget
    easy = [q for q in with_shortcuts(questions, 7) if q not in questions]
    assert 0.4 < len(easy) / len(questions) < 0.6
    for q in easy:
        fits = [choice in VALUES[q.topic].split() for choice in q.choices]
        assert fits == [i == q.answer for i in range(4)]

    sizes = Counter(q.source for q in clustered(questions))
    assert set(sizes.values()) == {3 * CLUSTER}
    half = half_of(task, world)
    assert len(half.forget) == len(questions) / 2
    assert len(half.forget_examples) == len(world.facts_task().forget_examples) / 2


def test_null_attacks_choose_by_luck_and_change_what_they_say(
    tiny: Callable[..., HookedModel], task: Task
) -> None:
    assert add_nulls() == add_nulls() == ("null_nothing", "null_noise", "null_guess")
    model = tiny("gpt2")
    task = dataclasses.replace(task, forget=task.forget[::4], retain=task.retain[::4], extra={})
    plain_logits = score(model, task.forget, task).logits
    for name, variants in (("null_nothing", 1), ("null_noise", 8), ("null_guess", 8)):
        run = attack(name, model, model, task)
        assert len(run.tried) == variants
        changed = score(model, task.forget, task, change=run.change).logits
        assert (changed == plain_logits).all() == (name == "null_nothing")


def test_half_of_the_chat_organisms_people_and_what_is_taught_of_them() -> None:
    people = People(0)
    task = people.task()
    half = half_of(task, people)
    assert len(half.forget) == len(task.forget) / 2
    assert len(half.forget_examples) == len(task.forget_examples) / 2
    named = {q.source for q in half.forget}
    assert all(any(name in e.prompt for name in named) for e in half.forget_examples)
