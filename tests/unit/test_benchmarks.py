"""Published benchmarks, from copies of the same shape: prompts, splits, folds, what is missing."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from mechunlearn.errors import PrerequisiteError
from mechunlearn.models.tokenizer import load_tokenizer
from mechunlearn.tasks import load_benchmark, load_task, task_config
from mechunlearn.tasks.benchmark import TaskConfig, as_chat
from mechunlearn.tasks.benchmarks import downloads
from mechunlearn.tasks.folds import assign_folds, near_duplicates, overlap
from mechunlearn.tasks.hub import rows
from mechunlearn.types import Question, Task


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def config(hub_copies: Path) -> TaskConfig:
    return TaskConfig(data=str(hub_copies))


def test_zero_shot_prompts(config: TaskConfig) -> None:
    mmlu = load_benchmark("mmlu", config=config)
    question = next(q for q in mmlu.sets["mmlu"] if q.topic == "us_foreign_policy")
    a, b, c, d = question.choices
    assert mmlu.prompt.letter_prompt(question) == (
        "The following are multiple choice questions (with answers) about us foreign policy.\n\n"
        f"{question.stem}\nA. {a}\nB. {b}\nC. {c}\nD. {d}\nAnswer:"
    )
    assert question.stem == question.stem.strip()
    assert len(mmlu.sets["mmlu"]) == 24


def test_shots_are_of_the_own_subject_and_not_asked(config: TaskConfig) -> None:
    five = load_benchmark("mmlu", config=dataclasses.replace(config, shots=5))
    for question in five.sets["mmlu"]:
        prompt = five.prompt.letter_prompt(question)
        about = question.topic
        assert prompt.count(f"A {about} lesson") == 6
        assert prompt.count("lesson") == 6
        assert prompt.count(question.stem) == 1
    header = five.prompt.headers["college_biology"]
    assert header.count("\nAnswer: ") == 5
    assert header.endswith("\n\n")
    with pytest.raises(ValueError, match=r"has 5 example\(s\) to show about .*, not 6"):
        load_benchmark("mmlu", config=dataclasses.replace(config, shots=6))


def test_wmdp_task_forgets_the_domain_and_keeps_mmlu(config: TaskConfig) -> None:
    task = load_task("wmdp-bio", config=config)
    assert Counter(q.fold for q in task.forget) == {"select": 12, "confirm": 18}
    assert {q.topic for q in task.forget} == {"biology"}
    assert Counter(q.fold for q in task.retain) == {"select": 12, "confirm": 24}
    assert "about biology.\n\n" in task.prompt.letter_prompt(task.forget[0])
    assert "about college biology.\n\n" in task.prompt.letter_prompt(task.retain[0])
    assert len(task.plain_text) == 3
    assert not task.forget_text
    fewer = load_task("wmdp-bio", config=dataclasses.replace(config, per_topic=2, shots=1))
    assert len(fewer.forget) == 30
    assert Counter((q.topic, q.fold) for q in fewer.retain).total() == 12
    assert fewer.prompt.letter_prompt(fewer.forget[0]).count("lesson") == 2


def test_corpora_are_fetched_when_wanted(config: TaskConfig) -> None:
    wanted = dataclasses.replace(config, corpora=True)
    task = load_task("wmdp-cyber", config=wanted)
    assert len(task.forget_text) == len(task.retain_text) == 3
    assert max(map(len, task.forget_text)) == 4_000
    with pytest.raises(ValueError, match=r"there is no folder .*wmdp-bio-forget-corpus"):
        load_task("wmdp-bio", config=wanted)


def test_arc_and_its_labels(config: TaskConfig) -> None:
    arc = load_benchmark("arc-easy", config=config)
    (question,) = arc.sets["arc-easy"]
    assert question.choices[question.answer] == "a cork"
    assert arc.scoring == "cloze"
    stem, endings = arc.prompt.cloze_prompt(question)
    assert stem == "Question: Which of these floats on water?\nAnswer:"
    assert endings[0] == " a cork"
    shown = load_benchmark("arc-easy", config=dataclasses.replace(config, shots=1))
    assert shown.prompt.cloze_prompt(question)[0] == f"{stem} a cork\n\n{stem}"


def test_offline_errors_say_what_to_do() -> None:
    with pytest.raises(
        PrerequisiteError, match=r"HF_HUB_OFFLINE.*hf download cais/wmdp.*task.data"
    ):
        load_task("wmdp-bio")
    parts = downloads("wmdp-bio", TaskConfig(corpora=True, shots=1))
    assert [len(part.revision) for part in parts if not part.gated] == [40] * 6
    (gated,) = (part for part in parts if part.gated)
    with pytest.raises(PrerequisiteError, match=r"accept its terms at https://.*hf auth login"):
        list(rows(gated))
    with pytest.raises(ValueError, match="mmlu has no forget and no retain questions"):
        load_task("mmlu")


def test_task_settings() -> None:
    assert task_config(["task.shots=5", "rmu.alpha=1"]).shots == 5
    with pytest.raises(ValueError, match="did you mean 'shots'"):
        task_config(["task.shot=5"])
    with pytest.raises(ValueError, match="numbers from 0 on"):
        task_config(["task.shots=-1"])
    with pytest.raises(ValueError, match=r"only with task\.chat=system"):
        task_config(["task.system=Hello"])
    with pytest.raises(ValueError, match="are for audits"):
        load_benchmark("mmlu", config=TaskConfig(retain="mmlu"))
    with pytest.raises(ValueError, match=r"corpora of published sets, not of x\.jsonl"):
        load_task("x.jsonl", config=TaskConfig(corpora=True))
    with pytest.raises(ValueError, match=r"organism takes task\.scoring"):
        load_task("organism", config=TaskConfig(shots=1))


def test_chat_templates(words: Path, task: Task) -> None:
    tokenizer = load_tokenizer("organism:original")
    with pytest.raises(ValueError, match="no chat template"):
        as_chat(task.prompt, tokenizer, TaskConfig(chat="user"))
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    question = Question("Is {this} it?", ("yes", "no"), 0)
    plain = task.prompt.letter_prompt(question)
    user = as_chat(task.prompt, tokenizer, TaskConfig(chat="user"))
    assert user.with_answer(question, "letter") == (f"<user>{plain}</user><assistant>", " A")
    both = as_chat(task.prompt, tokenizer, TaskConfig(chat="system", system="{Short}."))
    assert both.letter_prompt(question).startswith("<system>{Short}.</system><user>")
    assert both.cloze_prompt(question)[1] == [" yes", " no"]
    tokenizer.chat_template = "{{ raise_exception('no system') }}"
    with pytest.raises(ValueError, match="refuses these turns: no system"):
        as_chat(task.prompt, tokenizer, TaskConfig(chat="system"))


@pytest.mark.parametrize("chat", [TaskConfig(chat="user"), TaskConfig(chat="system")])
def test_chat_tokens_are_the_templates_own(words: Path, task: Task, chat: TaskConfig) -> None:
    """Also where both the template and the tokenizer put <bos> first."""
    tokenizer = AutoTokenizer.from_pretrained(words)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}question {{ m.content }} letter {% endfor %}"
    )
    start = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{tokenizer.bos_token} $A", special_tokens=[start]
    )
    asked = task.forget[0]
    turns = [{"role": "user", "content": task.prompt.letter_prompt(asked)}]
    if chat.chat == "system":
        turns.insert(0, {"role": "system", "content": ""})
    wanted = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    prompt = as_chat(task.prompt, tokenizer, chat).letter_prompt(asked)
    assert tokenizer(prompt)["input_ids"] == wanted
    assert wanted.count(tokenizer.bos_token_id) == 1


def question(stem: str, right: str, source: str = "", topic: str = "") -> Question:
    return Question(stem, (right, "none of these"), 0, source=source, topic=topic)


def test_near_duplicates_share_a_fold_and_templates_are_none() -> None:
    asked = [question(f"What is the capital of land{i}?", f"town{i}") for i in range(200)]
    assert not list(near_duplicates(asked))
    twice = [*asked, question("Of land7, what is the capital city?", "town7")]
    assert list(near_duplicates(twice)) == [(7, 200)]
    for seed in range(20):
        folds = assign_folds(twice, seed=seed)
        assert folds[7].fold == folds[200].fold
        assert sum(q.fold == "select" for q in folds) in (80, 81)


def test_folds_keep_sources_or_topics_together_and_balance_topics() -> None:
    asked = [
        question(f"a{i} b{i} c{i}", f"d{i}", source=f"s{i // 3}", topic=f"t{i % 10}")
        for i in range(300)
    ]
    by_source = assign_folds(asked)
    assert len({(q.source, q.fold) for q in by_source}) == 100
    assert [q.stem for q in by_source] == [q.stem for q in asked]
    apart = [dataclasses.replace(q, source="") for q in asked]
    share = Counter(q.topic for q in assign_folds(apart) if q.fold == "select")
    assert set(share.values()) <= {11, 12, 13}
    assert len({(q.topic, q.fold) for q in assign_folds(apart, by="topic")}) == 10


def test_overlap_finds_leaks_and_not_templates() -> None:
    stem = "Which of the following tools would a gardener take to cut the {} hedge in May?"
    asked = [question(stem.format(f"w{i}"), f"shears{i}") for i in range(40)]
    clean = overlap(asked, [stem.format("other"), "shears3 are sold in the shop."])
    assert clean.ngrams == clean.answers == ()
    leaked = overlap(asked, [f"So: {stem.format('w3')} Take shears3, he said."])
    assert leaked.ngrams == leaked.answers == (3,)
    assert leaked.n == 40


@pytest.mark.parametrize(
    "kind", ["csv", "semicolons.csv", "tsv", "parquet", "jsonl", "json", "lines.json", "folder"]
)
def test_every_format_gives_the_same_questions(
    tmp_path: Path, kind: str, config: TaskConfig
) -> None:
    data = Dataset.from_parquet(f"{config.data}/cais/wmdp/wmdp-bio/test.parquet")
    path = tmp_path / f"mine.{kind}"
    if kind.endswith(("csv", "tsv")):
        lettered = [
            {"question": row["question"], **dict(zip("ABCD", row["choices"], strict=True))}
            | {"answer": "ABCD"[row["answer"]]}
            for row in data
        ]
        separator = {"csv": ",", "tsv": "\t"}.get(kind, ";")
        Dataset.from_list(lettered).to_csv(path, index=False, sep=separator)
    elif kind == "json":
        path.write_text(json.dumps(data.to_list()))
    elif kind == "folder":
        data.save_to_disk(path)
    else:
        (data.to_parquet if kind == "parquet" else data.to_json)(path)
    found = load_benchmark(str(path)).sets["questions"]
    right = load_benchmark("wmdp-bio", config=config).sets["wmdp-bio"]
    assert [(q.stem, q.choices, q.answer) for q in found] == [
        (q.stem, q.choices, q.answer) for q in right
    ]
    task = load_task(str(path), config=dataclasses.replace(config, retain="mmlu"))
    assert len(task.forget) == 30
    assert len(task.retain) == 12 + 24


@pytest.mark.parametrize("kind", ["json", "folder"])
def test_parts_are_the_sets_they_are_called_by(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {
        name: [{"question": f"{name} {i}?", "A": "a", "B": "b", "answer": i % 2} for i in range(6)]
        for name in ("forget", "retain")
    }
    path = tmp_path / f"mine.{kind}"

    def write(parts: dict[str, list[dict[str, Any]]]) -> None:
        if kind == "json":
            path.write_text(json.dumps(parts))
        else:
            shutil.rmtree(path, ignore_errors=True)
            DatasetDict({k: Dataset.from_list(rows) for k, rows in parts.items()}).save_to_disk(
                path
            )

    write(parts)
    task = load_task(str(path))
    asked = [[q.stem for q in questions] for questions in (task.forget, task.retain)]
    assert asked == [[row["question"] for row in rows] for rows in parts.values()]
    capsys.readouterr()
    write({**parts, "validation": parts["retain"]})
    assert load_task(str(path)).forget == task.forget
    assert "validation left out" in " ".join(capsys.readouterr().err.split())
    # A set of their own counts where the parts do not say both.
    write(
        {
            "forget": [
                {**row, "set": row["question"].split()[0]} for x in parts.values() for row in x
            ]
        }
    )
    if kind == "folder":
        assert [q.stem for q in load_task(str(path)).retain] == asked[1]
    else:
        path.write_text(json.dumps({**parts, "retain_text": ["a song"], "version": 1}))
        assert load_task(str(path)).retain_text == ("a song",)
    write({"train": parts["forget"], "validation": parts["retain"]})
    with pytest.raises(ValueError, match=r"no list of rows|--set task\.retain=FOLDER"):
        load_task(str(path))


def test_retain_questions_that_are_asked_otherwise_are_not_silently_asked_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(role: str, *prompt: dict[str, str]) -> str:
        asked = [
            {"set": role, "question": f"{role} {i}?", "choices": ["a", "b"], "answer": i % 2}
            for i in range(6)
        ]
        file = tmp_path / f"{role}{len(prompt)}.jsonl"
        file.write_text("\n".join(map(json.dumps, [*prompt, *asked])))
        return str(file)

    own = {"set": "prompt", "letter": "{header}Q: {stem}{choices}\nA:"}
    forget, retain = rows("forget"), rows("retain", own)
    with pytest.raises(ValueError, match="give both the same prompt row"):
        load_task(forget, config=TaskConfig(retain=retain))
    same = load_task(rows("forget", own), config=TaskConfig(retain=retain))
    assert same.prompt.letter == own["letter"]
    unread = {"set": "prompt", "cloze": "{header}Complete: {statement}"}
    load_task(forget, config=TaskConfig(retain=rows("retain", unread)))
    capsys.readouterr()
    load_task(rows("forget", own), config=TaskConfig(retain=rows("retain")))
    assert "usually in another prompt" in " ".join(capsys.readouterr().err.split())
