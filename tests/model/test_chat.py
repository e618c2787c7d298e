"""Prompts in chat, with the vocabularies that chat models have: read whole, changed inside."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, PreTrainedTokenizerFast

from mechunlearn.analysis.analyse import audit
from mechunlearn.attacks import Seen
from mechunlearn.attacks.gcg.attack import GCG
from mechunlearn.attacks.gcg.examples import problem_of
from mechunlearn.attacks.gcg.objective import Objective
from mechunlearn.attacks.gcg.prefixes import text_change
from mechunlearn.attacks.gcg.problem import (
    PLACES,
    Place,
    Slot,
    pose,
    survives,
    survives_everywhere,
    text_of,
)
from mechunlearn.attacks.gcg.proposals import allowed_tokens
from mechunlearn.attacks.gcg.search import TextSearch
from mechunlearn.attacks.gcg.settings import GCGConfig, SearchConfig
from mechunlearn.attacks.jailbreaks import JAILBREAKS, in_template
from mechunlearn.attacks.perturbation_informed import Informed, split_token
from mechunlearn.attacks.perturbation_naive import (
    Material,
    NaivePerturbation,
    naive_grid,
    rewriting,
)
from mechunlearn.attacks.soft_prompt import SoftPrompt, SoftPromptConfig, Training
from mechunlearn.audit.attack import attack
from mechunlearn.audit.plan import AuditPlan
from mechunlearn.bench import score
from mechunlearn.bench.rows import encode, letter_ids
from mechunlearn.hooks import capture
from mechunlearn.models import hook, load, save
from mechunlearn.models.weights import plain_state
from mechunlearn.presets import configured
from mechunlearn.progress import console
from mechunlearn.registry import find
from mechunlearn.tasks import load_task
from mechunlearn.tasks.benchmark import TaskConfig, as_chat, task_in_chat
from mechunlearn.tasks.capitals import capitals
from mechunlearn.tasks.chat import CLOCK, user_turn
from mechunlearn.types import (
    NO_CHANGE,
    Change,
    HookedModel,
    Point,
    PromptFormat,
    Question,
    Rewrite,
    Task,
    Turn,
)

ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] != 'user' %}{{ raise_exception('no such role') }}"
    "{% endif %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endfor %}"
)
DATED = "{{ '<|system|>Today: ' + strftime_now('%d %b %Y %H:%M:%S') + '\n' }}" + ZEPHYR
NAMES = [a + b for a in ("bru", "kol", "mav", "tis") for b in ("nit", "dal", "pek", "sum")]
COLOURS = ["violet", "amber", "teal", "grey"]
CHAT = TaskConfig(chat="system")


def rows() -> list[dict[str, Any]]:
    asked = []
    for i, name in enumerate(NAMES):
        colours = COLOURS[i % 4 :] + COLOURS[: i % 4]
        what, role = ("glow", "forget") if i < 8 else ("plumage", "retain")
        stem = f"What is the {what} of {name}?"
        more = {"statement": f"The {what} of {name} is", "source": name}
        asked.append({"set": role, "stem": stem, "choices": colours, "answer": i * 3 % 4, **more})
    return asked


def mistral(folder: Path) -> Any:
    """The tokenizer of Mistral 7B v0.1 and Zephyr, from its published SentencePiece model."""
    package = pytest.importorskip("mistral_common", reason="brings Mistral's vocabulary")
    data = Path(package.__file__).parent / "data" / "tokenizer.model.v1"
    shutil.copy(data, folder / "tokenizer.model")
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True}
    settings |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "</s>"}))
    return AutoTokenizer.from_pretrained(folder)


def byte_pairs(folder: Path) -> Any:
    """A byte-level byte-pair tokenizer."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    texts = [json.dumps(row) + "\nA. a\nB. b\n\nAnswer: C D A B" for row in rows()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet
    )
    built.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=built, eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizers(tmp_path_factory: pytest.TempPathFactory, words: Path) -> Callable[[str], Any]:
    """Tokenizers by kind, each with a chat template."""
    kinds: dict[str, Callable[[Path], Any]] = {"mistral": mistral, "byte pairs": byte_pairs}

    def make(kind: str) -> Any:
        if kind == "words":
            tokenizer = AutoTokenizer.from_pretrained(words)
            tokenizer.chat_template = ZEPHYR.replace("<|", " question ").replace("|>", " well ")
            return tokenizer
        tokenizer = kinds[kind](tmp_path_factory.mktemp("tokenizer"))
        tokenizer.chat_template = ZEPHYR
        return tokenizer

    return make


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("colours") / "task.jsonl"
    file.write_text("\n".join(map(json.dumps, rows())))
    return file


def asked_in_chat(file: Path, tokenizer: Any, scoring: str = "letter") -> Task:
    task = load_task(str(file), config=TaskConfig(scoring=scoring))
    return task_in_chat(task, tokenizer, CHAT)


def tiny_zephyr(tokenizer: Any, seed: int = 0, dtype: torch.dtype = torch.float32) -> HookedModel:
    """A Mistral of random weights."""
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        sliding_window=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        plain = AutoModelForCausalLM.from_config(config)
        for p in plain.parameters():
            p.data.mul_(4.0) if p.ndim > 1 else p.data.add_(0.1 * torch.randn_like(p))
    return hook(plain.to(dtype), tokenizer, name="zephyr")


@pytest.fixture(scope="session")
def zephyr(tokenizers: Callable[[str], Any]) -> HookedModel:
    return tiny_zephyr(tokenizers("mistral"))


@torch.no_grad()
def plain_logits(model: HookedModel, ids: Sequence[int]) -> torch.Tensor:
    """The plain Hugging Face forward, without any cache or packing."""
    return model.original_model(torch.tensor([list(ids)])).logits[0].float().log_softmax(-1)


@pytest.mark.ci
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("chat", [pytest.param(False, marks=pytest.mark.long), True])
@pytest.mark.parametrize("kind", ["mistral", "byte pairs", "words"])
def test_texts_are_cut_out_of_whole_prompts(
    kind: str, chat: bool, place: Place, tokenizers: Callable[[str], Any], colours: Path, task: Task
) -> None:
    """A candidate that survives is read as its tokens in every prompt; many of them do."""
    tokenizer = tokenizers(kind)
    if kind != "words":
        task = load_task(str(colours))
    task = task_in_chat(task, tokenizer, CHAT) if chat else task
    prompts = [task.example(q).prompt for q in task.forget[:6]]
    slot = Slot.of(task.prompt, "letter", place)
    problem = pose(tokenizer, slot, prompts, [[5]] * 6)
    allowed = allowed_tokens(tokenizer, len(tokenizer), True).nonzero()[:, 0].tolist()
    pairs = [random.Random(i).sample(allowed, 2) for i in range(200)]
    alive = [p for p, fine in zip(pairs, survives(tokenizer, problem, pairs), strict=True) if fine]
    assert len(alive) >= (5 if kind == "mistral" else 20)
    for ids in alive[:5]:
        assert survives_everywhere(tokenizer, problem, ids)
        for prompt, item in zip(prompts, problem.items, strict=True):
            whole = text_change(slot, text_of(tokenizer, ids)).rewrite
            assert whole is not None
            text = task.prompt.turn.around(whole(task.prompt.turn.inside(prompt)))
            assert encode(tokenizer, text) == [*item.before, *ids, *item.after]
            assert text.startswith(task.prompt.turn.before)
            assert text.endswith(task.prompt.turn.after)


def test_letters_are_read_at_the_published_tokens(
    tokenizers: Callable[[str], Any], colours: Path
) -> None:
    """In plain and chat prompts: the last token of the letter without special tokens."""
    tokenizer = tokenizers("mistral")
    plain = load_task(str(colours))
    published = [tokenizer(x, add_special_tokens=False)["input_ids"][-1] for x in "ABCD"]
    assert tokenizer.convert_ids_to_tokens(published) == ["▁A", "▁B", "▁C", "▁D"]
    for task in (plain, task_in_chat(plain, tokenizer, CHAT)):
        prompt = task.prompt.text(task.forget[0], "letter")
        assert letter_ids(tokenizer, prompt, 4) == published
        answers = task.prompt.answers(task.forget[0], "letter")
        assert [encode(tokenizer, prompt + a)[-1] for a in answers] == published
    task = asked_in_chat(colours, tokenizers("byte pairs"))
    assert task.example(task.forget[0]).answer == "A"


def test_a_chat_prompt_token_by_token(zephyr: HookedModel, colours: Path) -> None:
    """A text in front of the question: inside the user's turn, behind the template's own tokens."""
    task = asked_in_chat(colours, zephyr.tokenizer)
    slot = Slot.of(task.prompt, "letter", "prefix")
    prompt = slot.whole("zag", task.prompt.text(task.forget[0], "letter"))
    tokens = zephyr.tokenizer.convert_ids_to_tokens(encode(zephyr.tokenizer, prompt))
    system, user, rest = "< | system | >", "< | user | >", "< | ass istant | >"
    expected = f"<s> ▁{system} <0x0A> </s> ▁ <0x0A> {user} <0x0A> z ag <0x0A> <0x0A> What ▁is"
    assert " ".join(tokens).startswith(expected)
    end = f"An swer : </s> ▁ <0x0A> {rest} <0x0A>"
    assert " ".join(tokens).endswith(end)


def test_every_change_of_prompts_stays_inside_the_turn(zephyr: HookedModel, colours: Path) -> None:
    task = asked_in_chat(colours, zephyr.tokenizer)
    turn, question = task.prompt.turn, task.forget[0]
    seen = Seen.of(task, NaivePerturbation())
    material = Material.of(seen)
    changes = [
        Rewrite(rewriting(variant, material, sham=sham))
        for variant in naive_grid(NaivePerturbation.presets["small"])
        for sham in (False, True)
    ]
    changes += [in_template(t) for t in JAILBREAKS.values()]
    push = torch.ones(zephyr.cfg.d_model)
    changes.append(Informed(split_token, 0, 0, push, threshold=-0.9, rounds=3))
    whole = task.prompt.text(question, "letter")
    for change in changes:
        (text,) = change.prompts(zephyr, [whole], turn)
        assert text != whole
        assert text.startswith(turn.before)
        assert text.endswith(turn.after)
        assert text.count("<|user|>") == text.count("<|assistant|>") == 1
        assert text.count("</s>") == 2
    shown = rewriting(naive_grid(NaivePerturbation.presets["small"])[-7], material)
    assert ": " in shown(turn.inside(whole), random.Random(0))


def test_a_cloze_suffix_is_the_users(zephyr: HookedModel, colours: Path) -> None:
    task = asked_in_chat(colours, zephyr.tokenizer, "cloze")
    slot = Slot.of(task.prompt, "cloze", "suffix")
    text = slot.whole("zag", task.prompt.text(task.forget[0], "cloze"))
    assert text.endswith("is zag</s>\n<|assistant|>\n")
    with pytest.raises(ValueError, match="not in the chat template"):
        slot.whole("zag", "The glow of brunit is")


@pytest.mark.ci
@pytest.mark.parametrize("place", PLACES)
def test_losses_and_scores_are_those_of_plain_forwards(
    place: Place, zephyr: HookedModel, colours: Path
) -> None:
    task = asked_in_chat(colours, zephyr.tokenizer)
    config = GCGConfig(search=SearchConfig(steps=1, length=3, width=4), questions=3, place=place)
    problem = problem_of(zephyr, Seen.of(task, GCG()), config)
    search = TextSearch(zephyr, problem, Objective(), config.search)
    ids = search.start()
    every = range(len(problem.items))
    losses = search.forwards.losses(ids, [ids], every)[0]
    text = text_of(zephyr.tokenizer, ids)
    for i in every:
        whole = encode(zephyr.tokenizer, problem.slot.whole(text, problem.prompts[i]))
        wanted = -float(plain_logits(zephyr, whole)[-1, problem.items[i].target[0]])
        assert losses[i] == pytest.approx(wanted, abs=1e-4)
    some = task.forget[:4]
    scores = score(zephyr, some, task, change=text_change(problem.slot, text)).logits
    ids_of_letters = list(problem.choices)
    for row, q in zip(scores, some, strict=True):
        whole = problem.slot.whole(text, task.prompt.text(q, "letter"))
        plain = plain_logits(zephyr, encode(zephyr.tokenizer, whole))[-1, ids_of_letters].numpy()
        assert np.allclose(row - row.mean(), plain - plain.mean(), atol=1e-4)


@pytest.mark.ci
def test_a_soft_prompt_stands_in_the_users_turn(zephyr: HookedModel, colours: Path) -> None:
    task = asked_in_chat(colours, zephyr.tokenizer)
    seen = Seen.of(task, SoftPrompt(), tokenizer=zephyr.tokenizer)
    config = SoftPromptConfig(length=3, steps=4, batch=4, questions=4)
    search = SoftPrompt().search(zephyr, seen, None, config)
    change = search.change(Training(4))
    assert change.rewrite is not None
    for q in (*task.forget, *task.retain):
        (whole,) = change.rewrite.prompts(zephyr, [task.prompt.text(q, "letter")], task.prompt.turn)
        ids = encode(zephyr.tokenizer, whole)
        assert [t for t in ids if t in search.ids] == list(search.ids)
    answers = score(zephyr, task.forget, task, change=change)
    whole = change.rewrite.prompts(
        zephyr, [task.prompt.text(task.forget[0], "letter")], task.prompt.turn
    )
    table = zephyr.original_model.get_input_embeddings()
    ids = torch.tensor([encode(zephyr.tokenizer, whole[0])])
    with torch.no_grad():
        embedded = table(ids).clone()
        for token, vector in zip(search.ids, search.vectors[4], strict=True):
            embedded[0, ids[0] == token] = vector
        plain = zephyr.original_model(inputs_embeds=embedded).logits[0, -1]
    plain = plain[list(search.problem.choices)]
    row = answers.logits[0]
    assert np.allclose(row - row.mean(), (plain - plain.mean()).numpy(), atol=1e-4)


def test_a_clock_in_a_template_stands_still(
    tokenizers: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tokenizers("mistral")
    tokenizer.chat_template = DATED
    turn = user_turn(tokenizer)
    assert turn.before.startswith("<|system|>Today: 26 Jul 2024 00:00:00\n")
    assert "26 Jul 2024" in "".join(capsys.readouterr())
    assert datetime(2024, 7, 26) == CLOCK
    assert user_turn(tokenizer) == turn
    assert "26 Jul 2024 00:00 is used" in turn.notes[0]
    now = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    assert "2024" not in now  # Only for us.


def test_a_system_message_where_the_template_has_none(
    tokenizers: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused or dropped by the template: it goes in front of the user's turn, and that is told."""
    tokenizer = tokenizers("mistral")
    dropping = (
        "{% for m in messages if m['role'] == 'user' %}"
        "[INST] {{ m['content'] }} [/INST]{% endfor %}"
    )
    for template in (NO_SYSTEM, dropping):
        tokenizer.chat_template = template
        turn = user_turn(tokenizer, "Be short.")
        assert "goes in front of the user's turn" in turn.notes[0]
        assert turn == Turn("[INST] Be short.\n\n", " [/INST]", " ", turn.notes)
        assert "no system turn" in "".join(capsys.readouterr())
        empty = user_turn(tokenizer, "")
        assert (empty.before, empty.after, len(empty.notes)) == ("[INST] ", " [/INST]", 1)
        assert "is empty and left out" in "".join(capsys.readouterr()).replace("\n", " ")
        assert user_turn(tokenizer) == Turn("[INST] ", " [/INST]", " ")
        assert "".join(capsys.readouterr()) == ""
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    with pytest.raises(ValueError, match="changes the prompt"):
        user_turn(tokenizer)


def test_examples_are_asked_as_questions_are(tokenizers: Callable[[str], Any]) -> None:
    tokenizer = tokenizers("byte pairs")
    plain = capitals()
    task = task_in_chat(plain, tokenizer, CHAT)
    for role in ("forget", "retain"):
        for before, after in zip(plain.examples(role), task.examples(role), strict=True):
            assert after.prompt == task.prompt.turn.around(before.prompt)
            assert after.answer == before.answer.lstrip()
    assert task.plain_examples[0].prompt.startswith("<|system|>\n</s>")
    assert all(not refusal.startswith(" ") for refusal in task.refusals)


def test_plain_formats_are_as_they_were(tokenizers: Callable[[str], Any]) -> None:
    question = Question("2 + 2 =", ("3", "4"), 1)
    plain = PromptFormat()
    assert plain.text(question, "letter") == "2 + 2 =\nA. 3\nB. 4\nAnswer:"
    assert plain.with_answer(question, "letter")[1] == " B"
    assert plain.cloze_prompt(question) == ("2 + 2 =", [" 3", " 4"])
    chat = as_chat(plain, tokenizers("byte pairs"), TaskConfig(chat="user"))
    assert dataclasses.replace(chat, turn=Turn()) == plain
    assert chat.shown(question, "letter") == plain.with_answer(question, "letter")


PAPER = (
    "logit_lens",
    "direction_ablation",
    "pruning_weights",
    "relearning_disjoint",
    "perturbation_naive",
    "perturbation_informed",
    "jailbreak",
    "gcg",
    "soft_prompt",
)
SMALL = (
    "task.chat=system",
    "gcg.search.steps=2",
    "gcg.search.width=8",
    "gcg.search.restarts=1",
    "gcg.questions=3",
    "soft_prompt.steps=4",
    "soft_prompt.batch=4",
    "perturbation_naive.rates=(0.1,)",
    "perturbation_naive.every=(5,)",
    "perturbation_informed.rounds=2",
    "relearning_disjoint.rates=(1e-3,)",
    "relearning_disjoint.seeds=(0,)",
    "relearning_disjoint.steps=2",
)


SHOWN = {
    "direction_ablation": (),
    "pruning_weights": (),
    "perturbation_naive": ("rates=(0.1,)", "every=(5,)"),
    "perturbation_informed": ("rounds=2",),
    "jailbreak": (),
    "fewshot_retain": ("shots=2", "draws=1"),
    "gcg": ("search.steps=2", "search.width=8", "search.restarts=1", "search.length=4"),
    "soft_prompt": ("steps=4", "batch=4", "length=4"),
}


def token_by_token(tokenizer: Any, text: str) -> list[str]:
    """The tokens that a model reads; whoever runs the test with ``-s`` can look at them."""
    return tokenizer.convert_ids_to_tokens(encode(tokenizer, text))


@torch.no_grad()
def plain_letters(
    model: HookedModel, plain: Any, change: Change, text: str, ids: Sequence[int]
) -> np.ndarray:
    """Letters' logits of one whole text, in a forward of the plain model with changed weights.

    Only hooks need the hooked model; it computes the whole text alone, without a cache. The head is
    multiplied in float32 from the states.
    """
    tokens = torch.tensor([encode(model.tokenizer, text)])
    with change.applied(model):
        if change.hooks:
            with capture(model, [Point(model.cfg.n_layers - 1)]) as kept:
                model.original_model(tokens, use_cache=False)
            states = plain.model.norm(kept[Point(model.cfg.n_layers - 1)])
        else:
            plain.load_state_dict(plain_state(model))
            states = plain.model(tokens, use_cache=False).last_hidden_state
    return (states[0, -1].float() @ plain.lm_head.weight.float().T)[list(ids)].numpy()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_papers_attacks_ask_in_the_template_and_score_as_plain_forwards(
    dtype: str, tokenizers: Callable[[str], Any], colours: Path, tmp_path: Path
) -> None:
    """From folders: every prompt is printed, has one <s>, an intact template, and its own value."""
    tokenizer = tokenizers("mistral")
    for seed, name in enumerate(("original", "unlearned")):
        save(tiny_zephyr(tokenizer, seed), tmp_path / name)
    original, model = (load(str(tmp_path / n), dtype=dtype) for n in ("original", "unlearned"))
    task = asked_in_chat(colours, model.tokenizer)
    turn, asked = task.prompt.turn, task.questions("forget", "confirm")
    start = token_by_token(tokenizer, turn.before)[:-1]  # The last one may merge with the text.
    end = token_by_token(tokenizer, f"x{turn.after}")[2:]
    ids = letter_ids(model.tokenizer, task.prompt.text(asked[0], "letter"), 4)
    folder, kind = tmp_path / "unlearned", getattr(torch, dtype)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
    shown = {"nothing": (NO_CHANGE, NO_CHANGE)}
    for name, settings in SHOWN.items():
        entry = find("attack", name)
        config = configured(entry, entry.preset("organism"), settings)
        done = attack(name, model, original, task, config=config)
        sham = done.sham()
        assert sham is not None
        shown[name] = (done.change, sham)
    for name, changes in shown.items():
        for change, what in zip(changes, ("", " (sham)"), strict=True):
            got, apart = score(model, asked, task, change=change).logits, 0.0
            for row, q in zip(got, asked, strict=True):
                text = whole = task.prompt.text(q, "letter")
                if change.rewrite is not None:
                    (text,) = change.rewrite.prompts(model, [whole], turn)
                    assert text != whole
                tokens = token_by_token(model.tokenizer, text)
                assert tokens[: len(start)] == start
                assert tokens[-len(end) :] == end
                assert tokens.count("<s>") == 1
                assert tokens.count("</s>") == 2
                wanted = plain_letters(model, plain, change, text, ids)
                apart = max(apart, float(np.abs(row - wanted).max()))
            console.print(f"{name}{what}, {apart:.1e} from plain forwards:\n  {' '.join(tokens)}")
            assert apart < (1e-4 if dtype == "float32" else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_papers_attacks_from_folder_to_report(
    dtype: str, tokenizers: Callable[[str], Any], colours: Path, tmp_path: Path
) -> None:
    tokenizer = tokenizers("mistral")
    for seed, name in enumerate(("original", "unlearned")):
        save(tiny_zephyr(tokenizer, seed), tmp_path / name)
    plan = AuditPlan(
        original=str(tmp_path / "original"),
        unlearned=(str(tmp_path / "unlearned"),),
        control="none",
        task=str(colours),
        attacks=PAPER,
        changes=SMALL,
        dtype=dtype,
    )
    report = audit(plan, tmp_path / "run")
    assert {row.attack for row in report.rows} >= set(PAPER)
