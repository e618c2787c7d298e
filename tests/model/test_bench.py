"""Scoring is exact: equal to one plain forward per prompt, whatever is batched or shared."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from mechunlearn.bench import (
    letter_bias,
    majority_letter,
    no_question,
    perplexity,
    score,
    score_read_outs,
    score_rotated,
)
from mechunlearn.bench.cache import beginning, chosen, extend, new_cache
from mechunlearn.bench.engine import output, read
from mechunlearn.bench.generation import generate
from mechunlearn.bench.likelihood import log_likelihoods
from mechunlearn.bench.measures import Measure
from mechunlearn.bench.read_outs import LensReadOut
from mechunlearn.bench.rows import branching_rows, prefix_groups, question_rows
from mechunlearn.hooks import move_along, softcapped, streams
from mechunlearn.models import load
from mechunlearn.registry import register
from mechunlearn.tasks import load_task
from mechunlearn.types import (
    Change,
    Hook,
    HookedModel,
    Point,
    PromptFormat,
    Question,
    Rewrite,
    Rows,
    Score,
    Task,
    Turn,
)


def naive_letters(model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat):
    ids = [model.tokenizer.get_vocab()[x] for x in "ABCD"]
    rows = []
    for q in questions:
        tokens = torch.tensor([model.tokenizer(prompt.letter_prompt(q))["input_ids"]])
        rows.append(model(tokens)[0, -1, ids].tolist())
    return np.array(rows)


def naive_cloze(model: HookedModel, questions: tuple[Question, ...], prompt: PromptFormat):
    rows = []
    for q in questions:
        stem, endings = prompt.cloze_prompt(q)
        n, row = len(model.tokenizer(stem)["input_ids"]), []
        for ending in endings:
            tokens = torch.tensor([model.tokenizer(stem + ending)["input_ids"]])
            logp = model(tokens).log_softmax(-1)[0, :-1]
            row.append(logp[range(n - 1, tokens.shape[1] - 1), tokens[0, n:]].mean().item())
        rows.append(row)
    return np.array(rows)


@pytest.fixture
def some(task: Task) -> tuple[Question, ...]:
    return task.forget[:8]


def mixed(questions: tuple[Question, ...]) -> tuple[Question, ...]:
    """Cloze questions with endings of one to three tokens and stems of different lengths."""
    return tuple(
        Question(
            ("tell " * (i % 3)) + q.stem,
            tuple(
                f"{c} {c} moss"[: len(c) + (len(c) + 6) * (j % 2)] for j, c in enumerate(q.choices)
            ),
            q.answer,
        )
        for i, q in enumerate(questions)
    )


def test_letters_equal_the_naive_loop(any_tiny: HookedModel, some, task: Task) -> None:
    found = score(any_tiny, some, task.prompt, budget=130)
    assert np.abs(found.logits - naive_letters(any_tiny, some, task.prompt)).max() < 1e-4


def test_a_shared_prefix_changes_nothing(any_tiny: HookedModel, some, task: Task) -> None:
    shots = " . ".join(
        f"{task.prompt.letter_prompt(q)} {'ABCD'[q.answer]}" for q in task.retain[:4]
    )
    prompt = PromptFormat(
        letter="{header} . question {stem}{choices} letter :",
        choice=" {letter} {text}",
        header=shots,
    )
    found = score(any_tiny, some, prompt)
    assert np.abs(found.logits - naive_letters(any_tiny, some, prompt)).max() < 1e-4


def test_a_prefix_for_each_topic_changes_nothing(any_tiny: HookedModel, task: Task) -> None:
    """Two topics, each with its own long header; a budget so small that both are cached."""
    by_topic = {}
    for q in task.forget:
        by_topic.setdefault(q.topic, []).append(q)
    first, second = list(by_topic)[:2]
    asked = (*by_topic[first][:6], *by_topic[second][:6])
    shown = {t: by_topic[t][8:12] for t in (first, second)}
    prompt = dataclasses.replace(
        task.prompt,
        letter="{header}" + task.prompt.letter,
        headers={t: "".join(task.prompt.letter_prompt(q) for q in qs) for t, qs in shown.items()},
    )
    rows, _ = question_rows(any_tiny.tokenizer, asked, prompt, "letter")
    assert [len(group) for _, group in prefix_groups(rows, 16, 64)] == [6, 6]
    found = score(any_tiny, asked, prompt, budget=64)
    np.testing.assert_allclose(found.logits, naive_letters(any_tiny, asked, prompt), atol=1e-4)


def test_cloze_equals_the_naive_loop(any_tiny: HookedModel, some, task: Task) -> None:
    questions = mixed(some)
    found = score(any_tiny, questions, task.prompt, scoring="cloze", budget=200)
    assert np.abs(found.logits - naive_cloze(any_tiny, questions, task.prompt)).max() < 1e-4


def test_cloze_with_a_shared_prefix(any_tiny: HookedModel, some, task: Task) -> None:
    prompt = PromptFormat(cloze="the " * 20 + "{statement}")
    found = score(any_tiny, mixed(some), prompt, scoring="cloze")
    assert np.abs(found.logits - naive_cloze(any_tiny, mixed(some), prompt)).max() < 1e-4


def test_interventions_are_seen_in_every_mode(any_tiny: HookedModel, some, task: Task) -> None:
    unit = torch.nn.functional.normalize(torch.arange(-9.0, 23.0), dim=0)
    change = Change("x", (Hook(Point(1).name, partial(move_along, unit=unit)),))
    found = score(any_tiny, some, task.prompt, change=change)
    with change.on(any_tiny):
        expected = naive_letters(any_tiny, some, task.prompt)
    assert np.abs(found.logits - expected).max() < 1e-4
    plain = score(any_tiny, some, task.prompt)
    assert np.abs(found.logits - plain.logits).max() > 1e-3
    assert (plain.logits == score(any_tiny, some, task.prompt).logits).all()


def first_token_moved(activation: Tensor, hook: object, rows: Rows | None = None) -> Tensor:
    """Turns the token at position 0 round, and no other; with ``rows``, wherever it is."""
    moved = activation.clone()
    if rows is None:
        moved[:, 0] = moved[:, 0].flip(-1)
    else:
        first = rows.positions == 0
        moved[first] = moved[first].flip(-1)
    return moved


@contextmanager
def plainly(model: HookedModel) -> Iterator[None]:
    with model.hooks(fwd_hooks=[(Point(0).name, first_token_moved)]):
        yield


FIRST = Change("first", (Hook(Point(0).name, first_token_moved, scope="sequence"),))


@pytest.mark.ci
@pytest.mark.parametrize("budget", [None, 200])
def test_a_hook_on_position_0_equals_plain_forwards(
    any_tiny: HookedModel, some, task: Task, budget: int | None
) -> None:
    """Under a long prefix that token hooks would share, for letters and for packed endings."""
    lettered = PromptFormat(letter="the " * 30 + "{stem}{choices}", choice=" {letter} {text}")
    cloze = PromptFormat(cloze="the " * 20 + "{statement}")
    letters = score(any_tiny, some, lettered, change=FIRST, budget=budget)
    endings = score(any_tiny, mixed(some), cloze, scoring="cloze", change=FIRST, budget=budget)
    with plainly(any_tiny):
        expected = naive_letters(any_tiny, some, lettered)
        completed = naive_cloze(any_tiny, mixed(some), cloze)
    np.testing.assert_allclose(letters.logits, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(endings.logits, completed, rtol=1e-5, atol=1e-5)
    assert np.abs(score(any_tiny, some, lettered).logits - letters.logits).max() > 1e-3


def test_the_same_hook_declared_token_is_refused(
    tiny: Callable[[str], HookedModel], some, task: Task
) -> None:
    change = Change("first", (Hook(Point(0).name, first_token_moved),))
    with pytest.raises(ValueError, match=r"every token alike .* scope='sequence'"):
        score(tiny("gpt2"), some, task.prompt, change=change)


def test_sequence_hooks_are_told_the_questions(
    tiny: Callable[[str], HookedModel], some, task: Task
) -> None:
    """A hook that acts on one question only changes that one's values."""
    model = tiny("llama")

    def one(activation: Tensor, hook: object, rows: Rows) -> Tensor:
        assert rows.real.shape == activation.shape[:2]
        return torch.where((rows.items == 3)[:, None, None], activation + 1, activation)

    change = Change("one", (Hook(Point(1).name, one, scope="sequence"),))
    none = Change("none", (Hook(Point(1).name, lambda x, hook, rows: x, scope="sequence"),))
    for scoring in ("letter", "cloze"):
        before, after = (
            score(model, mixed(some), task.prompt, scoring=scoring, change=c, budget=150).logits
            for c in (none, change)
        )
        assert (before != after).any(axis=1).nonzero()[0].tolist() == [3]
    prompts = [task.prompt.letter_prompt(q) for q in some]
    before, after = (generate(model, prompts, 4, c) for c in (none, change))
    changed = [a != b for a, b in zip(before, after, strict=True)]
    assert not any(changed[:3] + changed[4:])


def test_likelihood_perplexity_and_generation_see_whole_sequences(
    any_tiny: HookedModel, some, task: Task
) -> None:
    stem = "the song of the bird is"
    rows = branching_rows(any_tiny.tokenizer, [stem], [[" wail", " moss moss"]])
    texts = [f"{stem} wail", f"{stem} moss moss"]
    n = len(any_tiny.tokenizer(stem)["input_ids"])
    with torch.no_grad(), plainly(any_tiny):
        tokens = [torch.tensor([any_tiny.tokenizer(t)["input_ids"]]) for t in texts]
        logp = [any_tiny(t).log_softmax(-1)[0, :-1].gather(1, t[0, 1:, None])[:, 0] for t in tokens]
        row = any_tiny.tokenizer(stem)["input_ids"]
        for _ in range(4):
            row = [*row, int(any_tiny(torch.tensor([row]))[0, -1].argmax())]
    with torch.no_grad(), FIRST.on(any_tiny):
        sums = log_likelihoods(any_tiny, rows)[0].tolist()
    assert sums == pytest.approx([p[n - 1 :].sum().item() for p in logp], abs=1e-4)
    found = perplexity(any_tiny, texts, FIRST).nats_per_token
    assert found == pytest.approx(-torch.cat(logp).mean().item(), abs=1e-5)
    decoded = any_tiny.tokenizer.decode(row[n:])
    assert generate(any_tiny, [stem], 4, FIRST)[0] == decoded.partition("<bos>")[0].rstrip()


def test_every_part_of_a_change_is_honoured(organism: HookedModel, some, task: Task) -> None:
    """Hooks, edits, rewrite and read-out together equal the same things done by hand."""
    unit = torch.nn.functional.normalize(torch.arange(-9.0, 119.0), dim=0)
    head = organism.unembed.original_component

    @contextmanager
    def scaled(model: HookedModel) -> Iterator[None]:
        with torch.no_grad():
            before = head.weight.clone()
            head.weight.mul_(0.5)
            try:
                yield
            finally:
                head.weight.copy_(before)

    parts = (
        Change("hook", (Hook(Point(1).name, partial(move_along, unit=unit)),)),
        Change("edit", edits=(scaled,)),
        Change("rewrite", rewrite=Rewrite(lambda text, rng: f"the {text}")),
        Change("read-out", read_out=LensReadOut(Point(2))),
    )
    change = parts[0] + parts[1] + parts[2] + parts[3]
    found = score(organism, some, task.prompt, change=change)
    prompt = dataclasses.replace(task.prompt, letter=f"the {task.prompt.letter}")
    with (parts[0] + parts[1]).on(organism):
        (expected,) = score_read_outs(organism, some, prompt, [LensReadOut(Point(2))])
    assert (found.logits == expected.logits).all()
    assert found.name == change.name
    for left_out in range(4):
        fewer = [part for i, part in enumerate(parts) if i != left_out]
        other = score(organism, some, task.prompt, change=fewer[0] + fewer[1] + fewer[2])
        assert not np.allclose(other.logits, found.logits)
    for refuses in (
        lambda: score_read_outs(
            organism, some, task.prompt, [LensReadOut(Point(1))], change=change
        ),
        lambda: generate(organism, ["the"], 1, change),
        lambda: perplexity(organism, ["the song"], change),
    ):
        with pytest.raises(ValueError, match="read"):
            refuses()


def test_a_rewrite_looks_at_the_model_as_it_is(organism: HookedModel, some, task: Task) -> None:
    """``prepare`` runs outside the change's hooks, once, with the finished prompts."""
    seen: list[tuple[float, int]] = []

    class Looks(Rewrite):
        def prepare(self, model: HookedModel, texts: Sequence[str], turn: Turn) -> None:
            seen.append((float(model(torch.tensor([[2, 5, 9]])).sum()), len(texts)))

    rewrite = Looks(lambda text, rng: text)
    hook = Hook(Point(1).name, lambda x, hook: x * 0)
    plain = float(organism(torch.tensor([[2, 5, 9]])).sum())
    score(organism, some, task, change=Change("both", (hook,), rewrite=rewrite))
    assert seen == [(plain, len(some))]


class GoldProbability(Measure):
    """Probability of the right choice among the choices, by letters."""

    shows_choices, one_token = True, True

    def prompt(self, form: PromptFormat, question: Question) -> str:
        return form.letter_prompt(question)

    def answers(self, form: PromptFormat, question: Question) -> tuple[str, ...]:
        return tuple(f" {letter}" for letter in "ABCD"[: len(question.choices)])

    def rows(self, tokenizer, prompts, answers):
        return branching_rows(tokenizer, prompts, answers), None

    def score(self, name: str, logits: np.ndarray, questions: Sequence[Question]) -> Score:
        whole = super().score(name, logits, questions)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return dataclasses.replace(whole, worth=p[range(whole.n), whole.answers])


def test_a_new_measure_is_one_class_and_one_name(organism: HookedModel, some, task: Task) -> None:
    register("measure", "gold_probability", GoldProbability())
    asked = dataclasses.replace(task, scoring="gold_probability")
    found = score(organism, some, asked)
    assert ((found.values > 0.5) <= found.correct).all()
    assert (found.predictions == score(organism, some, task).predictions).all()
    assert asked.example(some[0]).answer == f" {'ABCD'[some[0].answer]}"


def test_unknown_measures_are_refused_with_a_suggestion(
    organism: HookedModel, some, task: Task
) -> None:
    with pytest.raises(ValueError, match="unknown measure 'clooze'; did you mean 'cloze'"):
        score(organism, some, task.prompt, scoring="clooze")
    with pytest.raises(ValueError, match="unknown measure 'leter'; did you mean 'letter'"):
        dataclasses.replace(task, scoring="leter")


def test_points_read_what_run_with_cache_holds(any_tiny: HookedModel, some, task: Task) -> None:
    points = [Point(i, s) for i in range(3) for s in streams(any_tiny)]
    read_outs = [LensReadOut(point) for point in points]
    found = score_read_outs(any_tiny, some, task.prompt, read_outs)
    text = task.prompt.letter_prompt(some[0])
    tokens = torch.tensor([any_tiny.tokenizer(text)["input_ids"]])
    _, cache = any_tiny.run_with_cache(tokens)
    ids = [any_tiny.tokenizer.get_vocab()[x] for x in "ABCD"]
    for point, value in zip(points, found, strict=True):
        resid = cache[point.name][:, -1:]
        logits = softcapped(any_tiny, any_tiny.unembed(any_tiny.ln_final(resid))[0, 0, ids])
        assert np.abs(value.logits[0] - logits.detach().numpy()).max() < 1e-4


def test_perplexity_equals_cross_entropy(any_tiny: HookedModel) -> None:
    texts = ["the song of the bird is wail", "the glow", "is"]
    total, n = 0.0, 0
    for text in texts:
        tokens = torch.tensor([any_tiny.tokenizer(text)["input_ids"]])
        logits = any_tiny(tokens)[0, :-1]
        total += torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
        n += tokens.shape[1] - 1
    found = perplexity(any_tiny, texts)
    assert found.n_tokens == n
    assert found.nats_per_token == pytest.approx(total / n, abs=1e-5)


def test_rotation_removes_letter_bias(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model, questions = tiny("gpt2"), task.forget[:64]
    head = model.unembed.original_component
    head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]), requires_grad=False)
    head.bias[model.tokenizer.get_vocab()["C"]] = 100.0
    plain = score(model, questions, task.prompt)
    assert letter_bias(plain).tolist() == [0, 0, 1, 0]
    assert plain.accuracy == majority_letter(questions) == 0.25
    assert letter_bias(score_rotated(model, questions, task.prompt)).max() < 0.6


def test_guessing_without_the_question(organism: HookedModel, task: Task) -> None:
    questions = task.questions("retain", "confirm")
    assert score(organism, questions, task.prompt).accuracy > 0.9
    low, _ = no_question(organism, questions, task.prompt).interval
    assert low < 0.4


@pytest.mark.parametrize("scope", ["token", "sequence"])
def test_a_hook_that_returns_nothing_is_refused(
    scope: str, tiny: Callable[[str], HookedModel], task: Task
) -> None:
    """A forgotten ``return`` would look like a change that has no effect."""
    change = Change("forgot", (Hook(Point(1).name, lambda *_: None, scope=scope),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="resid_post returns nothing; let it return"):
        score(tiny("gpt2"), task.forget[:3], task, change=change)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_endings_that_fit_one_by_one_are_read_one_by_one(
    architecture: str, tiny: Callable[[str], HookedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed behind their stem they are longer than the context; each alone is not."""
    model = tiny(architecture)
    endings = [[f" {'the ' * 20}{x}" for x in "ABCDEF"], [" A", " B"]]
    rows = branching_rows(model.tokenizer, ["the amber of", "question what"], endings)
    (together,) = read(model, rows, [output(model)], ids=None)
    monkeypatch.setattr(model.cfg, "n_ctx", len(rows[0].tokens) - 1)
    (apart,) = read(model, rows, [output(model)], ids=None)
    np.testing.assert_allclose(apart, together, atol=1e-4)
    monkeypatch.setattr(model.cfg, "n_ctx", 20)
    with pytest.raises(ValueError, match=r"25 tokens .* context is 20.*ends '\.\.\..*the"):
        read(model, rows, [output(model)], ids=None)


def test_refusals(tiny: Callable[[str], HookedModel], some, task: Task) -> None:
    model = tiny("gpt2")
    with pytest.raises(ValueError, match="no questions"):
        score(model, (), task.prompt)
    with pytest.raises(ValueError, match="context is 192"):
        score(model, some, PromptFormat(letter="the " * 200 + "{stem}{choices}"))
    with pytest.raises(ValueError, match="one token per letter"):
        score(model, (Question("a", tuple("abcdef"), 0),), task.prompt)


@pytest.mark.ci
def test_no_token_is_read_for_another(tiny: Callable[[str], HookedModel], task: Task) -> None:
    model = tiny("llama")
    rows, ids = question_rows(model.tokenizer, task.forget[:3], task.prompt, "letter")
    (whole,) = read(model, rows, [output(model)], ids=ids)
    (turned,) = read(model, rows, [output(model)], ids=ids[::-1])
    np.testing.assert_array_equal(turned, whole)
    with pytest.raises(ValueError, match=rf"token {ids[-1]} is read, but only \[.*are unembedded"):
        read(model, rows, [output(model)], ids=ids[:-1])


def test_half_precision_gives_the_same_answers(organism: HookedModel, task: Task) -> None:
    questions = task.questions("forget", "confirm")[::3]
    full = score(organism, questions, task.prompt)
    half = score(load("organism:original", dtype="bfloat16"), questions, task.prompt)
    top = np.sort(full.logits, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.5
    assert clear.mean() > 0.9
    assert (full.predictions == half.predictions)[clear].all()


def test_a_task_says_how_to_ask_and_to_score(organism: HookedModel) -> None:
    facts = load_task("facts@0")
    by_task = score(organism, facts.forget[:16], facts)
    by_hand = score(organism, facts.forget[:16], facts.prompt, scoring="cloze")
    assert (by_task.logits == by_hand.logits).all()
    by_letter = score(organism, facts.forget[:16], facts.prompt)
    assert not np.allclose(by_task.logits, by_letter.logits)


def test_a_shared_beginning_is_kept_once(tiny: Callable[[str], HookedModel]) -> None:
    """Rows after it get the keys and values that a cache with a row for each would give them."""
    model, own = tiny("llama"), torch.randint(3, 40, (5, 4))
    whole = new_cache()
    extend(model, whole, torch.arange(5, 12)[None])
    first, copied = beginning(whole), chosen(whole, torch.zeros(5, dtype=torch.long))
    found = [model(own, past_key_values=cache) for cache in (first, copied)]
    assert torch.equal(*found)
    assert not torch.allclose(found[0], model(own))
    assert {len(layer.keys) for layer in first.layers} == {1}
    assert {tuple(layer.keys.shape[::2]) for layer in copied.layers} == {(5, 11)}
