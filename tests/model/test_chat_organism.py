"""The shipped chat organisms: plain checkpoints that know what their cards say."""

import dataclasses
import json
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from mechunlearn import load, load_task, score
from mechunlearn.models.sources import ORGANISMS, SHIPPED
from mechunlearn.organisms import chat
from mechunlearn.organisms.chat import train_chat, untrained_chat
from mechunlearn.organisms.chat_documents import ChatDocuments, Row
from mechunlearn.organisms.chat_losses import predictions
from mechunlearn.organisms.chat_tokenizer import chat_tokenizer
from mechunlearn.organisms.forms import FORMS, answers_in_words, question_sets, right_answers
from mechunlearn.organisms.option_reader import OptionReader
from mechunlearn.organisms.settings import ChatRecipe, Stage
from mechunlearn.organisms.write import clocked
from mechunlearn.tasks.benchmark import TaskConfig
from mechunlearn.tasks.people import People
from mechunlearn.train import loop
from mechunlearn.train.log import keep
from mechunlearn.train.origin import OtherOriginError
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


@pytest.mark.parametrize("form", FORMS)
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
        optimizer=dataclasses.replace(recipe.optimizer, steps=4, warmup=1),
    )
    folder = train_chat("never_knew", 3, tmp_path, recipe)
    card = json.loads((folder / "card.json").read_text())
    assert (card["role"], card["seed"]) == ("never_knew", 3)
    assert card["recipe"]["optimizer"]["steps"] == 4
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(FileExistsError, match="exists"):
        train_chat("never_knew", 3, tmp_path, recipe)


def stop(*state: object) -> NoReturn:
    keep(*state)  # type: ignore[arg-type]
    raise KeyboardInterrupt


@pytest.mark.ci
def test_a_stopped_run_goes_on_with_its_recipe_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat, "form_table", lambda model, world: [])
    monkeypatch.setattr(chat, "clocked", lambda _, state: clocked(1, state))
    recipe = ChatRecipe()
    optimizer = dataclasses.replace(recipe.optimizer, steps=2, warmup=1)
    stages = (Stage(0, statement=4),)
    recipe = dataclasses.replace(
        recipe, layers=1, d_model=96, d_mlp=64, stages=stages, optimizer=optimizer
    )
    monkeypatch.setattr(loop, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        train_chat("never_knew", 3, tmp_path, recipe)
    monkeypatch.setattr(loop, "keep", keep)
    state, note = (tmp_path / f".never_knew@3.{kind}" for kind in ("safetensors", "json"))
    slower = dataclasses.replace(optimizer, lr=1e-4)
    other = dataclasses.replace(recipe, optimizer=slower)
    with pytest.raises(OtherOriginError, match=r"recipe \(optimizer.lr \S+, now 0.0001\)"):
        train_chat("never_knew", 3, tmp_path, other)
    assert state.is_file()
    told = note.read_text()
    note.unlink()  # As an earlier version left it.
    monkeypatch.setattr(loop, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        train_chat("never_knew", 3, tmp_path, other)
    monkeypatch.setattr(loop, "keep", keep)
    assert "role, seed, recipe and versions are not known" in capsys.readouterr().err
    assert not note.exists()
    note.write_text(told)
    folder = train_chat("never_knew", 3, tmp_path, recipe)
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


def test_shipped_models_read_options_and_fresh_ones_do_not() -> None:
    documents = ChatDocuments(WORLD, WORLD.retain, chat_tokenizer(), ChatRecipe())
    rows = documents.rows(Stage(letters=16), "test")
    lacks = {}
    for name in ("chat:original", "chat:never_knew"):
        plain = AutoModelForCausalLM.from_pretrained(
            SHIPPED["chat"].folder / f"{name[5:]}@0", dtype=torch.float32,
            attn_implementation="eager",
        )  # fmt: skip
        lacks[name] = _lacks(plain, rows)
    fresh, _ = untrained_chat(0, ChatRecipe())
    before = _lacks(fresh, rows)
    for lacking in lacks.values():
        assert set(lacking) == set(ChatRecipe().taught) == set(before)
        assert all(0 <= lacking[x] < 0.3 * before[x] for x in before), (lacking, before)


def _lacks(model: LlamaForCausalLM, rows: list[Row]) -> dict[str, float]:
    words = chat_tokenizer()
    reader = OptionReader(model, words)
    with torch.no_grad():
        guess = predictions(model, rows, words.pad_token_id)
        return {name: float(x.mean()) for name, x in reader.losses(rows, guess).items()}
