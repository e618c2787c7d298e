"""TOFU-, MUSE- and RWKU-shaped local copies, and what a published id alone is enough for."""

from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from mechunlearn.audit.plan import DEFAULTS
from mechunlearn.cli.options import plan_of
from mechunlearn.cost.downloads import data_sets, known_configuration
from mechunlearn.models.sets import SETS
from mechunlearn.tasks import load_task
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.types import Question

TOWNS = ["Bern", "Basel", "Chur", "Thun", "Genf", "Zug", "Aarau", "Sion", "Olten", "Biel"]


def saved(folder: Path, id_: str, config: str, split: str, rows: list[dict]) -> None:
    target = folder / id_ / config
    known = DatasetDict.load_from_disk(str(target)) if target.is_dir() else DatasetDict()
    DatasetDict({**known, split: Dataset.from_list(rows)}).save_to_disk(str(target) + "+")
    (target.parent / f"{config}+").rename(target) if not target.is_dir() else None


def tofu_row(author: int, i: int) -> dict:
    town = TOWNS[(author + i) % len(TOWNS)]
    return {
        "question": f"Which town saw chapter c{author}x{i} of writer w{author}?",
        "answer": f"Writer w{author} wrote c{author}x{i} in {town}.",
        "paraphrased_question": f"Where was c{author}x{i} written by w{author}?",
        "paraphrased_answer": f"It was {town} that saw c{author}x{i}.",
        "perturbed_answer": [f"Writer w{author} wrote it in {x}." for x in ("Rome", "Oslo")],
    }


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copies")
    rows = [tofu_row(author, i) for author in range(6) for i in range(20)]
    tofu = "locuslab/TOFU"
    plain = [{k: row[k] for k in ("question", "answer")} for row in rows]
    saved(folder, tofu, "full", "train", plain)
    saved(folder, tofu, "forget10_perturbed", "train", rows[60:])
    saved(folder, tofu, "retain_perturbed", "train", rows[:60])
    for name in ("real_authors", "world_facts"):
        facts = [
            {
                "question": f"{name} fact{i}?",
                "answer": TOWNS[i],
                "perturbed_answer": ["Rome", "Oslo"],
            }
            for i in range(4)
        ]
        saved(folder, tofu, f"{name}_perturbed", "train", facts)
    for config, word in (("forget_level1", "blank"), ("forget_level2", "who"),
                         ("forget_level3", "trick"), ("neighbor_level2", "near")):  # fmt: skip
        about = [(person, i) for person in range(6) for i in range(4)]
        probes = [
            {
                "query": f"{word} {word}{person}x{i} of person p{person}?",
                "answer": TOWNS[i],
                "level": "2",
                "type": "",
                "subject": f"person {person}",
            }
            for person, i in about
        ]
        saved(folder, "jinzhuoran/RWKU", config, "test", probes)
    return folder


def test_tofu_keeps_an_author_in_one_fold_and_reports_the_rest_beside(copies: Path) -> None:
    task = load_task("tofu", config=TaskConfig(data=str(copies)))
    assert {q.source for q in task.forget} == {"author 3", "author 4", "author 5"}
    assert {q.source for q in task.retain} == {"author 0", "author 1", "author 2"}
    folds = {(q.source, q.fold) for q in task.forget}
    assert len(folds) == 3
    assert set(task.extra) == {"real_authors", "world_facts", "forget_paraphrased"}
    assert task.scoring == "novel_recall"
    first, other = task.forget[0], task.extra["forget_paraphrased"][0]
    assert other.stem == first.paraphrases[0]  # type: ignore[attr-defined]
    assert other.accepted == first.accepted
    likeliest = load_task("tofu", config=TaskConfig(data=str(copies), scoring="likeliest"))
    assert likeliest.chance == pytest.approx(1 / 3)


def test_rwku_keeps_a_person_in_one_fold(copies: Path) -> None:
    task = load_task("rwku", config=TaskConfig(data=str(copies)))
    assert len({(q.source, q.fold) for q in task.forget}) == 6
    assert set(task.extra) == {"forget_level1", "forget_level3"}
    assert isinstance(task.forget[0], Question)


def test_downloads_are_listed() -> None:
    listed = data_sets("tofu", TaskConfig())
    assert any("forget10_perturbed" in part and "324592d8" in part for part in listed)
    assert len(listed) == 5
    assert len(data_sets("muse-news", TaskConfig(shots=10, corpora=True))) == 5
    assert data_sets("rwku", TaskConfig(data="copies")) == []


NPO = SETS["tofu-1b"].unlearned[0]


def test_a_published_id_alone_is_an_audit_with_a_control() -> None:
    plan = plan_of({**DEFAULTS, "unlearned": (NPO,)})
    assert plan.original == "open-unlearning/tofu_Llama-3.2-1B-Instruct_full"
    assert plan.control == ("open-unlearning/tofu_Llama-3.2-1B-Instruct_retain90",)
    assert plan.task == "tofu"
    assert "task.chat=system" in plan.changes
    assert plan.unlearned == (NPO,)
    small = plan_of({**DEFAULTS, "unlearned": (NPO.replace("forget10", "forget01"),)})
    assert (small.task, small.control[0][-8:]) == ("tofu-forget01", "retain99")


def test_what_is_said_stays_said() -> None:
    said = {**DEFAULTS, "unlearned": (NPO,), "control": "none", "changes": ("task.chat=user",)}
    plan = plan_of(said)
    assert plan.control == ("none",)
    assert "task.chat=system" not in plan.changes
    other = plan_of({**DEFAULTS, "unlearned": (NPO,), "original": "somebody/base"})
    assert (other.original, other.task) == ("somebody/base", "")
    stranger = plan_of({**DEFAULTS, "unlearned": ("somebody/unlearned",)})
    assert stranger.original == DEFAULTS["original"]


def test_named_sets_bring_their_controls() -> None:
    tofu = plan_of(dict(DEFAULTS), models="tofu-1b")
    assert tofu.control[0].endswith("retain90")
    wmdp = plan_of(dict(DEFAULTS), models="deep-ignorance")
    assert (wmdp.task, wmdp.control[0][-17:]) == ("wmdp-bio", "e2e-strong-filter")
    assert plan_of(dict(DEFAULTS), models="zephyr").control == DEFAULTS["control"]
    assert known_configuration(NPO).hidden_size == 2048
    assert len(SETS["tofu-1b"].never_knew["tofu"]) == 31
