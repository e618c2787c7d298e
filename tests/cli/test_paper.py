"""Paper mode: the published numbers are all there, and our table stands beside them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import msgspec
import pytest

from mechunlearn.audit.plan import AuditPlan
from mechunlearn.audit.pool import ModelPool
from mechunlearn.bench import score
from mechunlearn.environment import write_json
from mechunlearn.models import load
from mechunlearn.models.sets import SETS
from mechunlearn.records import plain
from mechunlearn.report.table import show_paper
from mechunlearn.studies.paper import ATTACKS, Cell, Table, column_of, kept, paper
from mechunlearn.studies.paper_outlook import paper_outlook
from mechunlearn.studies.published import COLUMNS, COUNTS, TABLE, Set, published
from mechunlearn.studies.published_attacks import (
    REGISTERED,
    Data,
    Situation,
    finetunings,
    spans,
)
from mechunlearn.studies.published_lessons import SYSTEM, Lesson, lessons
from mechunlearn.tasks import load_task
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.chat import user_turn
from mechunlearn.types import Change, Example, HookedModel, Score, Task


def test_all_published_cells_are_there_once() -> None:
    assert sum(value is not None for row in TABLE.values() for value in row) == 33
    assert {attack for _, attack in TABLE} == set(ATTACKS)
    for (name, attack, column), right in COUNTS.items():
        share = TABLE[name, attack][COLUMNS.index(column)]
        assert share == pytest.approx(100 * right / 1273, abs=0.05)
    assert published("forget", "enhanced GCG", "rmu") == (686, 1273)


def test_a_cell_says_how_far_it_is_from_the_published_one() -> None:
    cell = Cell(
        set="forget", attack="default decoding", model="m", column="original", right=820, n=1273,
        settings={}, tried=1, seconds=0.0,
    )  # fmt: skip
    low, high = cell.difference[1:]
    assert cell.difference[0] == 0
    assert -0.04 < low < 0 < high < 0.04
    assert msgspec.structs.replace(cell, column="").difference is None
    far = msgspec.structs.replace(cell, right=600)
    assert far.difference[2] < -0.1


def test_models_find_their_column() -> None:
    names = ("cais/Zephyr_RMU", "J4Q8/zephyr-npo-bio", "J4Q8/zephyr-dpo-cyber", "mine")
    assert [column_of(n) for n in names] == ["rmu", "npo", "dpo", ""]
    others = ("x_SimNPO_lr5e-05", "AdvNPO", "my-idkdpo", "endpoint")
    assert {column_of(n) for n in others} == {""}


def test_published_numbers_stand_beside_what_they_were_measured_on_alone() -> None:
    cell = Cell(
        set="forget", attack="default decoding", model="m", column="original", right=99, n=100,
        settings={}, tried=1, seconds=0.0, measured=False,
    )  # fmt: skip
    assert cell.published is cell.difference is None


def test_what_an_attack_has_seen_is_not_reported(task: Task) -> None:
    for examples in ((), task.forget_examples):
        changed = dataclasses.replace(task, forget_examples=examples)
        data = Data(changed, lessons(changed, TaskConfig()))
        select = set(data.select)
        for row in ATTACKS:
            told = set(data.reported(row, "forget"))
            learns = row in REGISTERED or (row == "finetuning" and not examples)
            assert told.isdisjoint(select) == learns
            assert (told == set(task.forget)) != learns
            assert (data.reported(row, "retain") == task.retain) != (row in REGISTERED)
    untold = dataclasses.replace(task, retain_examples=())
    assert untold.questions("retain", "confirm") == Data(
        untold, lessons(untold, TaskConfig())
    ).reported("finetuning", "retain")


PREFERENCES = [
    {"prompt": f"Number {i}?\nA. one\nB. two\nAnswer:", "chosen": "A. one", "rejected": "B. two"}
    for i in range(12)
]


def test_finetuning_takes_the_published_questions(
    hub_copies: Path,
    tmp_path: Path,
    as_on_hub: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("cais", "Salesforce"):
        (tmp_path / name).symlink_to(hub_copies / name)
    config = TaskConfig(data=str(tmp_path))
    task = load_task("wmdp-cyber", config=config)
    before = lessons(task, config)
    assert capsys.readouterr().err.count("finetuning without the published questions") == 3
    assert set(before) == {"forget", "retain"}
    assert all(x.asked for x in before.values())
    asked = task.questions("forget", "select")[0]
    first = before["forget"].examples[0]
    assert first.answer == f" {'ABCD'[asked.answer]}. {asked.choices[asked.answer]}"
    talked = [
        {key: [{"role": "x", "content": text}] for key, text in row.items()} for row in PREFERENCES
    ]
    for name, rows in (
        ("cyber_forget_dpo", PREFERENCES),
        ("cyber_retain_dpo", talked),
        ("wikitext_cyber_dpo", PREFERENCES),
    ):
        as_on_hub(tmp_path / "J4Q8" / name, {"default": {"train": rows}})
    found = lessons(task, config)
    answers = {subject: {e.answer for e in x.examples} for subject, x in found.items()}
    assert answers == {"forget": {"B. two"}, "retain": {"A. one"}, "plain": {"A. one"}}
    assert not any(x.asked for x in found.values())
    assert Data(task, found).reported("finetuning", "forget") == task.forget
    without = [{"prompt": "Which?", "chosen": "this"}]
    as_on_hub(tmp_path / "other" / "J4Q8" / "cyber_forget_dpo", {"default": {"train": without}})
    with pytest.raises(ValueError, match=r"cyber_forget_dpo.* no 'rejected' answer"):
        lessons(task, TaskConfig(data=str(tmp_path / "other")))


def test_finetuning_is_in_the_chat_template(organisms: Callable[[str], HookedModel]) -> None:
    plain, chatty = organisms("organism:original").tokenizer, organisms("chat:original").tokenizer
    bare = user_turn(chatty)
    told = Example(bare.around("Who are you?"), bare.reply("Nobody."))
    lesson = Lesson((Example("Which?", " C. text"), told))
    assert lesson.in_chat(plain) == lesson.examples
    first, second = lesson.in_chat(chatty)
    assert first.prompt == user_turn(chatty, SYSTEM).around("Which?")
    assert SYSTEM in first.prompt
    assert "C. text" in first.answer
    assert second == told


def test_a_table_of_another_version_is_called_that(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    plan = dataclasses.replace(tiny_plan, attacks=("gcg",), changes=())
    table = plain(Table(plan=plan.identity, cells=()))
    write_json(tmp_path / "paper.json", table | {"schema": 1})
    with pytest.raises(ValueError, match="written with schema 1, and this version reads 3"):
        kept(tmp_path, plan)
    (tmp_path / "paper.json").write_text("{")
    with pytest.raises(ValueError, match="truncated"):
        kept(tmp_path, plan)


@pytest.mark.ci
def test_directions_come_from_questions_that_were_lost(task: Task) -> None:
    data, known = Data(task), load("organism:original")
    lost = data.lost(known, load("organism:never_knew"))
    right = score(known, data.select, task).correct
    assert 0 < len(lost) < len(data.select)
    assert set(lost) <= {q for q, knew in zip(data.select, right, strict=True) if knew}


@pytest.mark.ci
def test_settings_of_the_task_are_those_of_the_table(
    tiny_plan: AuditPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = dataclasses.replace(tiny_plan, attacks=("gcg",), changes=("task.scoring=cloze",))
    seen: list[str] = []

    def scored(at: Situation, row: str, change: Change, questions: Set) -> Score:
        seen.append(at.data.task.scoring)
        return score(at.model, at.data.select[:4], at.data.task)

    monkeypatch.setattr(Situation, "scored", scored)
    cells = paper(plan, tmp_path, ("default decoding",))
    assert set(seen) == {"cloze"}
    assert all(c.published is None for c in cells)  # These models are nobody's.


@pytest.mark.long
def test_the_whole_table_on_tiny_models(
    tiny_plan: AuditPlan,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mechunlearn.studies.paper.MEASURED", ("task", "before"))
    folder = tmp_path / "my-rmu"
    folder.symlink_to(tiny_plan.unlearned[0])
    plan = dataclasses.replace(
        tiny_plan,
        unlearned=(str(folder),),
        control="none",
        attacks=("gcg", "pruning_weights"),
        changes=(
            "gcg.search.steps=1",
            "gcg.questions=2",
            "gcg.objective.layers=(1,)",
            "pruning_weights.levels=(0.05,0.2)",
            "pruning_weights.examples=4",
        ),
    )
    cells = paper(plan, tmp_path / "out")
    ours = {(c.set, c.attack, c.column) for c in cells}
    assert ours == {
        (name, attack, column)
        for (name, attack), row in TABLE.items()
        for column, value in zip(COLUMNS, row, strict=True)
        if value is not None and column in ("original", "rmu")
    }
    assert all(c.difference and 0 <= c.accuracy <= 1 for c in cells)
    tried = {c.attack: c.tried for c in cells if c.column == "rmu"}
    assert tried["logit lens"] == 12
    assert tried["finetuning"] == 4  # 5 and 10 of 24 examples of each kind.
    show_paper(cells)
    assert "64.4" in capsys.readouterr().out
    file = tmp_path / "out" / "paper.json"
    before = file.read_bytes()
    assert paper(plan, tmp_path / "out") == cells  # Nothing is computed twice.
    assert file.read_bytes() == before
    assert len(json.loads(before)["cells"]) == len(cells)
    with pytest.raises(ValueError, match="another table"):
        paper(dataclasses.replace(plan, seed=1), tmp_path / "out")


def local_checkpoint(folder: Path) -> str:
    """A configuration of 7 billion parameters, and no weights behind it."""
    folder.mkdir()
    values = dict(SETS["zephyr"].configuration)
    (folder / "config.json").write_text(json.dumps(values | {"architectures": []}))
    (folder / "model.safetensors").write_bytes(b"")
    return str(folder)


def test_what_the_table_takes_is_said_without_weights(
    tmp_path: Path,
    run: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ModelPool, "__call__", lambda *_: pytest.fail("a model was loaded"))
    original, suspect = (local_checkpoint(tmp_path / n) for n in ("before", "my-rmu"))
    command = ("paper", "--original", original, "--unlearned", suspect, "--task", "wmdp-bio")
    done = run(*command, "--dry-run", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    heads, *lines = (line.split("\t") for line in done.stdout.splitlines())
    rows = {(r["model"], r["attack"]): r for r in (dict(zip(heads, x, strict=True)) for x in lines)}
    assert [attack for model, attack in rows if model == "my-rmu"] == list(ATTACKS)
    assert [a for m, a in rows if m == "before"] == ["default decoding", "logit lens"]
    pruning = rows["my-rmu", "set-difference pruning"]
    assert (pruning["24 GB"], pruning["80 GB"]) == ("no", "fits")
    assert rows["my-rmu", "default decoding"]["24 GB"] == "fits"
    assert float(pruning["questions"]) > 45 * float(rows["my-rmu", "logit lens"]["questions"]) / 2
    assert not (tmp_path / "out").exists()
    told = json.loads(run(*command, "--dry-run", "--json", "--attacks", "finetuning").stdout)
    assert [s["model"] for s in told["steps"]] == ["my-rmu"]


def test_a_checkpoint_whose_shape_nobody_knows_is_one_sentence(
    run: Callable[..., CompletedProcess[str]],
) -> None:
    done = run("paper", "--original", "some/where", "--unlearned", "some/else", "--dry-run")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "some/where could not be fetched from the Hugging Face Hub" in line


def test_rows_that_are_finished_are_not_counted(tiny_plan: AuditPlan, tmp_path: Path) -> None:
    plan = dataclasses.replace(tiny_plan, attacks=("gcg",), changes=())
    before = paper_outlook(plan, tmp_path)
    assert not before.typical
    cell = Cell(
        set="forget", attack="logit lens", model="after", column="", right=1, n=2, settings={},
        tried=1, seconds=0.0,
    )  # fmt: skip
    write_json(tmp_path / "paper.json", plain(Table(plan=plan.identity, cells=(cell,))))
    after = paper_outlook(plan, tmp_path)
    gone = {(s.model, s.step.attack) for s in before.steps}
    gone -= {(s.model, s.step.attack) for s in after.steps}
    assert gone == {("after", "logit lens")}
    with pytest.raises(ValueError, match="another table"):
        paper_outlook(dataclasses.replace(plan, seed=1), tmp_path)


def test_the_sets_of_blocks_are_those_of_the_paper() -> None:
    assert spans(32, "rmu")[1:] == [(0,), (7,), (15,), (23,), (31,), (5, 6, 7)]
    assert spans(4, "rmu") == [(0, 1, 2, 3), (0,)]
    assert [c.samples for c in finetunings(60)] == [5, 10, 50]
