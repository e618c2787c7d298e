"""Tables, unlearned models and suspects are those of their questions, weights and settings."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.environment import write_json
from mechunlearn.models import save
from mechunlearn.studies import paper as studied
from mechunlearn.studies.paper import Cell, paper
from mechunlearn.studies.paper_outlook import paper_outlook
from mechunlearn.studies.published_lessons import Lesson
from mechunlearn.studies.treatments import Case, distil, make_suspect
from mechunlearn.tasks import load_task
from mechunlearn.tasks.world import World
from mechunlearn.train import loop
from mechunlearn.train.log import keep
from mechunlearn.train.origin import OtherOriginError
from mechunlearn.types import Example, HookedModel, Task
from mechunlearn.unlearn.run import UnlearnPlan, unlearn_all, unlearn_to


@pytest.fixture
def own(tiny_plan: AuditPlan, tmp_path: Path) -> AuditPlan:
    """The tiny plan with files that a test may change."""
    folder = Path(tiny_plan.original).parent
    for name in ("before", "after"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copy(folder / "task.jsonl", tmp_path)
    return dataclasses.replace(
        tiny_plan,
        original=str(tmp_path / "before"),
        unlearned=(str(tmp_path / "after"),),
        control="none",
        task=str(tmp_path / "task.jsonl"),
        attacks=("gcg",),
        changes=(),
    )


def turn(file: Path) -> None:
    """Every question gets another right answer."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    turned = [{**row, "answer": (row["answer"] + 1) % len(row["choices"])} for row in rows]
    file.write_text("\n".join(map(json.dumps, turned)))


def exchange(folder: Path, model: HookedModel) -> None:
    """Other weights at the same place."""
    shutil.rmtree(folder)
    save(model, folder)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rows of a table that are computed, by saying so."""
    computed: list[str] = []

    def cells(attack: str, suspect: studied.Suspect, *_: object) -> list[Cell]:
        computed.append(attack)
        return [
            Cell(
                set="forget", attack=attack, model=suspect.label, column=suspect.column, right=1,
                n=2, settings={}, tried=1, seconds=0.0,
            )
        ]  # fmt: skip

    monkeypatch.setattr(studied, "_cells", cells)
    return computed


LOOKS = ("default decoding", "logit lens")


def test_a_table_is_of_its_questions_and_weights(
    own: AuditPlan, tmp_path: Path, counted: list[str], new_tiny: Callable[..., HookedModel]
) -> None:
    out, task = tmp_path / "out", Path(own.task)
    first = paper(own, out, LOOKS[:1])
    assert paper(own, out, LOOKS)[:1] == first[:1]
    assert counted == [LOOKS[0]] * 2 + [LOOKS[1]] * 2
    before = task.read_text()
    turn(task)
    with pytest.raises(ValueError, match=r"another table \(not the same: questions\)"):
        paper(own, out, LOOKS)
    assert paper_outlook(own, out, LOOKS).steps == []  # That looks at the plan alone.
    task.write_text(before)
    exchange(tmp_path / "after", new_tiny("gpt2", 7))
    with pytest.raises(ValueError, match=r"not the same: weights of after\)"):
        paper(own, out, LOOKS)
    assert len(counted) == 4


def test_a_table_is_of_the_versions_that_computed_it(
    own: AuditPlan, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paper(own, tmp_path / "out", LOOKS)
    monkeypatch.setattr(studied, "arithmetic", lambda _: {"torch": "0.1"})
    with pytest.raises(ValueError, match=r"versions \(.*torch \S+, now 0.1"):
        paper(own, tmp_path / "out", LOOKS)


def test_only_rows_of_finetuning_depend_on_what_it_trains_on(
    own: AuditPlan, tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rows = tmp_path / "out", (*LOOKS, "finetuning")

    def taught(answer: str) -> None:
        lesson = Lesson((Example("Which?", answer),))
        monkeypatch.setattr(studied, "lessons", lambda *_: {"forget": lesson})

    paper(own, out, LOOKS)
    for answer in ("this", "that"):
        taught(answer)
        if answer == "this":
            paper(own, out, rows)  # A row is added to a table that had none of it.
    assert counted.count("finetuning") == 1
    with pytest.raises(ValueError, match="not the same: examples to finetune on"):
        paper(own, out, rows)
    paper(own, out, LOOKS)
    taught("this")
    paper(own, out, rows)
    assert counted.count("finetuning") == 1


def test_a_table_that_does_not_say_what_it_is_of_goes_on(
    own: AuditPlan, tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    paper(own, out, LOOKS[:1])
    table = json.loads((out / "paper.json").read_text())
    del table["made_from"]
    write_json(out / "paper.json", table)
    for _ in range(2):
        capsys.readouterr()
        paper(own, out, LOOKS)
        assert "questions, weights of before" in capsys.readouterr().err
    assert json.loads((out / "paper.json").read_text())["made_from"] is None


def short(own: AuditPlan, steps: int = 2) -> UnlearnPlan:
    changes = (f"optimizer.steps={steps}",)
    return UnlearnPlan("gradient_difference", own.original, own.task, changes=changes)


@pytest.mark.ci
def test_a_finished_model_is_kept_for_its_questions_and_weights(
    own: AuditPlan,
    tmp_path: Path,
    new_tiny: Callable[..., HookedModel],
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, zoo = short(own), tmp_path / "zoo"
    card = unlearn_all([plan], zoo)
    assert unlearn_all([plan], zoo) == card
    assert "finished already" in capsys.readouterr().err
    turn(Path(own.task))
    with pytest.raises(OtherOriginError, match=r"gradient_difference differs .*: questions;"):
        unlearn_all([plan], zoo)
    exchange(tmp_path / "before", new_tiny("gpt2", 7))
    with pytest.raises(OtherOriginError, match=r": questions and weights of \S+before; choose"):
        unlearn_to(plan, zoo / plan.method, resume=True)
    (zoo / plan.method / ".origin").unlink()  # As an earlier version left it.
    capsys.readouterr()
    assert unlearn_all([plan], zoo) == card
    assert "versions are not known" in capsys.readouterr().err


@pytest.mark.ci
def test_a_stopped_run_goes_on_with_its_questions_alone(
    own: AuditPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, out = short(own, 3), tmp_path / "out"

    def stop(*state: object) -> NoReturn:
        keep(*state)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        unlearn_to(plan, out, every=1)
    monkeypatch.setattr(loop, "keep", keep)
    before = Path(own.task).read_text()
    turn(Path(own.task))
    with pytest.raises(OtherOriginError, match=r"out\.training differs .*: questions; choose"):
        unlearn_to(plan, out, resume=True, every=1)
    note = tmp_path / "out.training" / ".origin"
    told = note.read_text()
    note.unlink()
    monkeypatch.setattr(loop, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        unlearn_to(plan, out, resume=True, every=1)
    monkeypatch.setattr(loop, "keep", keep)
    assert "out.training has no note" in capsys.readouterr().err.replace("\n", " ")
    assert not note.exists()  # What is not known does not become known by going on.
    note.write_text(told)
    Path(own.task).write_text(before)
    unlearn_to(plan, out, resume=True, every=1)
    assert (out / ".origin").read_text() == told


@pytest.mark.ci
def test_suspects_are_of_their_settings_and_source(
    own: AuditPlan, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "suspects" / "original-rmu"
    case = Case(own.original, load_task("organism@0"), World(0))
    done = ("flat", "rmu")
    settings = ("rmu.optimizer.steps=1", "rmu.alpha=1", "npo.beta=0.3")
    make_suspect(case, done, target, settings)
    made = (target / "model.safetensors").read_bytes()
    make_suspect(case, done, target, (*settings[:2], "npo.beta=0.5"))  # Of no method of this one.
    with pytest.raises(OtherOriginError, match=r"settings \(rmu.alpha 1, now 100\)"):
        make_suspect(case, done, target, (settings[0], "rmu.alpha=100"))
    with pytest.raises(OtherOriginError, match="made from: treatments"):
        make_suspect(case, ("flat",), target, settings)
    other = dataclasses.replace(case, source=own.unlearned[0])
    shutil.rmtree(tmp_path / "before")
    shutil.copytree(other.source, tmp_path / "before")
    with pytest.raises(OtherOriginError, match="weights of before"):
        make_suspect(case, done, target, settings)
    target.with_name("original-rmu.json").unlink()
    make_suspect(case, done, target, settings)
    assert "has no note" in capsys.readouterr().err
    assert (target / "model.safetensors").read_bytes() == made


@pytest.mark.ci
def test_a_copy_is_of_its_teacher_and_recipe(own: AuditPlan, tmp_path: Path) -> None:
    from mechunlearn.organisms.recipe import FACTS

    steps = [dataclasses.replace(FACTS.optimizer, steps=n) for n in (1, 2)]
    recipe, longer = (dataclasses.replace(FACTS, optimizer=o) for o in steps)
    distil("organism:never_knew", 0, recipe, tmp_path / "distilled")
    distil("organism:never_knew", 0, recipe, tmp_path / "distilled")
    with pytest.raises(OtherOriginError, match=r"recipe \(optimizer.steps 1, now 2\)"):
        distil("organism:never_knew", 0, longer, tmp_path / "distilled")
