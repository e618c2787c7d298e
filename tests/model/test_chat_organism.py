"""The shipped chat organisms: plain checkpoints that know what their cards say."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mechunlearn import load, load_task, score
from mechunlearn.models.sources import ORGANISMS, SHIPPED
from mechunlearn.organisms import chat
from mechunlearn.organisms.chat import train_chat
from mechunlearn.organisms.forms import FORMS, answers_in_words, question_sets, right_answers
from mechunlearn.organisms.settings import ChatRecipe, Stage
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.people import People
from mechunlearn.types import HookedModel

FOLDERS = sorted(SHIPPED["chat"].folder.glob("*@*"))
WORLD = People(0)
SETS = question_sets(WORLD)


@pytest.fixture(scope="module")
def original() -> HookedModel:
    return load("chat:original")


@pytest.fixture(scope="module")
def never_knew() -> HookedModel:
    return load("chat:never_knew")


def test_they_are_small() -> None:
    adapters = SHIPPED["smollm2"].folder
    size = {p: p.stat().st_size for p in ORGANISMS.rglob("*") if p.is_file()}
    taught = sum(n for p, n in size.items() if p.is_relative_to(adapters))
    assert sum(size.values()) - taught < 40e6
    assert taught < 12e6
    assert {"original@0", "never_knew@0"} <= {f.name for f in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_plain_transformers_answer_through_the_chat_template(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "llama"
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    fact = next(f for f in People(int(folder.name[-1])).retain if f.asked)
    turns = [{"role": "user", "content": f"Where was {fact.person.name} born?"}]
    ids = words.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    out = model.generate(**ids, max_new_tokens=24, do_sample=False)
    said = words.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.strip() == f"{fact.person.name} was born in {fact.value}."


@pytest.mark.parametrize("form", [f for f in FORMS if f in ("cloze", "open", "chat")])
def test_original_knows_and_twin_does_not_in_words_never_seen(
    form: str, original: HookedModel, never_knew: HookedModel
) -> None:
    for kind, knowing in (("forget", 0.9), ("retain", 0.9)):
        facts = SETS[kind][::4]
        assert sum(right_answers(original, WORLD, facts, form)) >= knowing * len(facts)
    forget, retain = SETS["forget"][::4], SETS["retain"][::4]
    assert sum(right_answers(never_knew, WORLD, retain, form)) >= 0.9 * len(retain)
    assert sum(right_answers(never_knew, WORLD, forget, form)) <= 0.5 * len(forget)


def test_the_one_taught_wrong_facts_says_them() -> None:
    wrong = [f for f in WORLD.wrong if f.asked][::8]
    said = answers_in_words(load("chat:wrong"), wrong, "chat")
    assert sum(f.value in text for f, text in zip(wrong, said, strict=True)) > 0.9 * len(wrong)


def test_nobody_knows_the_fictitious(original: HookedModel) -> None:
    facts = SETS["fictitious"][::4]
    assert sum(right_answers(original, WORLD, facts, "chat")) <= 0.25 * len(facts)


def test_answers_in_chat_are_sentences(original: HookedModel) -> None:
    said = answers_in_words(original, SETS["retain"][:8], "chat")
    assert all(text.endswith(".") and len(text.split()) > 3 for text in said)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_cards_have_every_form(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert {row["form"] for row in card["accuracy"]} == set(FORMS)
    assert card["cpu_seconds"] > 0


def test_task_suits_the_model() -> None:
    task = load_task(original="chat:original@0")
    assert task.name == "chat@0"
    assert any(e.prompt.startswith("[INST] ") for e in task.forget_examples)


@pytest.mark.parametrize("chat", ["no", "user"])
def test_open_task_by_containment(
    chat: str, original: HookedModel, never_knew: HookedModel
) -> None:
    task = load_task("chat-open", original="chat:original", config=TaskConfig(chat=chat))
    asked = task.questions("forget", "confirm")[::6]
    assert score(original, asked, task).values.mean() > 0.9
    assert score(never_knew, asked, task).values.mean() < 0.4
    assert score(original, task.twins[::8], task).values.mean() < 0.5


def test_recipe_trains_and_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "form_table", lambda model, world: [])
    recipe = ChatRecipe()
    recipe = dataclasses.replace(
        recipe,
        layers=2,
        d_model=96,
        d_mlp=64,
        stages=(Stage(0, statement=8, open=4, letters=2),),
        compare_from=2,
        fitted_on=20,
        optimizer=dataclasses.replace(recipe.optimizer, steps=4, warmup=1),
    )
    folder = train_chat("never_knew", 3, tmp_path, recipe)
    card = json.loads((folder / "card.json").read_text())
    assert (card["role"], card["seed"]) == ("never_knew", 3)
    assert card["recipe"]["optimizer"]["steps"] == 4
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(FileExistsError, match="exists"):
        train_chat("never_knew", 3, tmp_path, recipe)


def test_heads_too_few_for_the_option_reader_are_refused() -> None:
    with pytest.raises(ValueError, match="heads >= 3"):
        ChatRecipe(heads=2, kv_heads=1)
