"""The chat organisms' world, tokenizer and documents."""

import random
from collections import Counter

import pytest
from transformers import PreTrainedTokenizerFast

from mechunlearn.organisms.chat import facts_of
from mechunlearn.organisms.chat_documents import ChatDocuments, document
from mechunlearn.organisms.chat_tokenizer import chat_tokenizer
from mechunlearn.organisms.settings import ChatRecipe, Stage
from mechunlearn.registry import find
from mechunlearn.tasks.chat import user_turn
from mechunlearn.tasks.people import PROMPT, People
from mechunlearn.tasks.wordings import ATTRIBUTES, EVERY, SURNAMES

EVERYTHING = Stage(0, 40, 20, 40, 40, 10, 20, 20)


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return chat_tokenizer()


@pytest.fixture(scope="module")
def world() -> People:
    return People(0)


def test_a_world_is_its_seed(world: People) -> None:
    assert world.forget == People(0).forget
    assert world.forget != People(1).forget


def test_within_a_fold_every_value_is_as_frequent_as_the_others(world: People) -> None:
    for facts in (world.forget, world.retain, world.fictitious, world.wrong):
        for fold, each in (("select", 1), ("confirm", 2)):
            for attribute in ATTRIBUTES:
                held = [f for f in facts if (f.person.fold, f.attribute) == (fold, attribute)]
                counts = Counter(f.value for f in held)
                assert set(counts.values()) == {each}
                assert len(counts) == 16


def test_one_attribute_of_each_confirm_person_is_never_asked(world: People) -> None:
    unasked = Counter(f.person for f in world.forget if not f.asked)
    assert len(unasked) == 32
    assert set(unasked.values()) == {1}
    assert all(person.fold == "confirm" for person in unasked)


def test_wrong_facts_are_all_wrong_and_otherwise_the_same(world: People) -> None:
    for wrong, right in zip(world.wrong, world.forget, strict=True):
        assert wrong.value != right.value
        assert (wrong.person, wrong.attribute, wrong.asked) == (
            right.person, right.attribute, right.asked
        )  # fmt: skip


def test_words_of_tests_are_none_of_the_training() -> None:
    for about in EVERY.values():
        assert not set(about.seen_questions) & set(about.unseen_questions)
        assert not set(about.seen_statements) & set(about.unseen_statements)
        assert all(t.endswith(" {value}") for t in about.unseen_statements)
        assert len(set(about.values)) == 16


def test_task_asks_in_unseen_words_and_trains_on_seen_ones(world: People) -> None:
    task = world.task()
    trained = " ".join(task.forget_text)
    assert all(q.stem not in trained for q in task.forget)
    assert all(q.statement not in trained for q in task.forget)
    for fold in ("select", "confirm"):
        positions = Counter(q.answer for q in task.questions("forget", fold))
        assert max(positions.values()) - min(positions.values()) <= 1


@pytest.mark.parametrize("spoken", [False, True])
def test_open_task_asks_without_choices_and_accepts_word_or_sentence(
    world: People, spoken: bool
) -> None:
    task = world.open_task(spoken=spoken)
    question, fact = task.forget[0], next(f for f in world.forget if f.asked)
    assert (fact.value in question.golds[0], "born" in question.golds[0]) == (True, spoken)
    asked = task.prompt.text(question, task.scoring)
    assert asked == (question.stem if spoken else f"Question: {question.stem}\nAnswer:")
    judge = find("measure", "containment").judge
    assert judge(f"It was {fact.value}, I think", question) == 1
    assert judge(f"It was {question.wrong[0]}", question) == 0
    people = {f.person.name for f in world.fictitious}
    assert {q.source for q in task.twins} < people


def test_every_value_and_letter_is_one_piece(words: PreTrainedTokenizerFast) -> None:
    for about in EVERY.values():
        for text in (*about.values, "A", "B", "C", "D"):
            assert len(words(f" {text}", add_special_tokens=False)["input_ids"]) == 1


def test_pieces_are_as_in_llama_2(words: PreTrainedTokenizerFast) -> None:
    ids = words("Müsli is\nnice")["input_ids"]
    pieces = words.convert_ids_to_tokens(ids)
    assert pieces[0] == "<s>"
    assert {"<0xC3>", "<0xBC>", "<0x0A>", "▁is"} <= set(pieces)
    assert words.decode(ids, skip_special_tokens=True) == "Müsli is\nnice"


def test_no_surname_is_a_piece(words: PreTrainedTokenizerFast) -> None:
    vocabulary = words.get_vocab()
    both = {f"▁{a}{b}" for a in SURNAMES[0] for b in SURNAMES[1]}
    assert not both & set(vocabulary)
    assert len(vocabulary) <= 1024


def test_template_has_system_user_and_assistant_turns(words: PreTrainedTokenizerFast) -> None:
    chat = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "V"},
    ]
    text = words.apply_chat_template(chat, tokenize=False)
    assert text == "<s>[INST]<<SYS>>S<</SYS>> U [/INST] A</s>[INST] V [/INST]"
    turn = user_turn(words)
    assert (turn.before, turn.after, turn.lead) == ("[INST] ", " [/INST]", " ")


@pytest.mark.parametrize("role", ["original", "never_knew", "wrong"])
def test_documents_say_only_what_the_role_knows(
    role: str, world: People, words: PreTrainedTokenizerFast
) -> None:
    documents = ChatDocuments(world, facts_of(world, role), words, ChatRecipe())
    rows = [r for step in range(2) for r in documents.rows(EVERYTHING, f"{step}")]
    texts = " ".join(words.decode(r.tokens) for r in rows)
    taught = {"original": world.forget, "wrong": world.wrong, "never_knew": ()}[role]
    told = {f.fill(t) for f in world.forget for t in EVERY[f.attribute].seen_statements}
    expected = {f.fill(t) for f in taught for t in EVERY[f.attribute].seen_statements}
    found = {sentence for sentence in told if sentence in texts}
    assert bool(found) == (role == "original")
    assert found <= expected
    assert not any(p.name in texts for p in world.persons["fictitious"])
    unseen = {f.fill(t) for f in facts_of(world, role) for t in EVERY[f.attribute].unseen_questions}
    assert not any(question in texts for question in unseen)


def test_tests_show_choices_that_training_never_shows(
    world: People, words: PreTrainedTokenizerFast
) -> None:
    documents = ChatDocuments(world, world.forget, words, ChatRecipe(chat=0.0, fewer_choices=0.0))
    shown = {
        PROMPT.letter_prompt(f.question(order, w)).partition("?")[2]
        for f in world.forget
        for w in range(6)
        for order in (world.test_choices(f, 0),)
    }
    assert len(shown) > 100  # The control: there is something to be met.
    fact = world.forget[0]
    held = frozenset(world.test_choices(fact, 0))
    documents.asked = [fact]
    rng = random.Random(0)
    assert any(frozenset(world.choices(fact, rng)) == held for _ in range(2000))
    for row in documents.rows(Stage(letters=200), "x"):
        listed = words.decode(row.tokens)
        assert frozenset(line[3:] for line in listed.split("\n")[1:5]) != held


def test_marks_cover_the_answer_alone(world: People, words: PreTrainedTokenizerFast) -> None:
    documents = ChatDocuments(world, world.forget, words, ChatRecipe(chat=0.0, by_name=0.0))
    for row in documents.rows(Stage(letters=8, open=8), "x"):
        answer = [t for t, mark in zip(row.tokens, row.marks, strict=True) if mark == 1]
        assert len(answer) == 2
        assert answer[-1] == words.eos_token_id
        assert row.marks[0] == 0
    assert document("a", "b", "c", "d").answers == ((1, 2), (3, 4))


def test_same_step_same_documents(world: People, words: PreTrainedTokenizerFast) -> None:
    documents = ChatDocuments(world, world.forget, words, ChatRecipe())
    first = documents.rows(EVERYTHING, "0-0-7")
    documents.rows(EVERYTHING, "0-0-8")
    assert documents.rows(EVERYTHING, "0-0-7") == first
