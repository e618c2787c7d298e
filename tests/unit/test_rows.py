"""Questions as token rows: what is fed is the text, and which rows share a cached prefix."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mechunlearn.bench.measures.letters import LETTER
from mechunlearn.bench.rows import Row, branching_rows, continuation, prefix_groups

CAPITALS = {"法国": "巴黎", "波兰": "华沙", "中国": "北京", "挪威": "奥斯陆", "韩国": "首尔"}
JOINED = ["是巴", "(R", '"O', "-b"]
"""Pairs of characters that are one token, across the border of a prompt and an answer."""


@pytest.fixture(scope="module", params=["bytes", "characters"])
def joining(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """A tokenizer that joins the end of some prompts with their answers, as real ones do."""
    if request.param == "bytes":  # Chinese characters begin alike, and so do not end as they began.
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=275, special_tokens=["<s>"], initial_alphabet=alphabet
        )
        tokenizer.train_from_iterator([*(f"是{x}" for x in CAPITALS.values()), *JOINED], trainer)
    else:
        texts = "".join([*CAPITALS, *CAPITALS.values(), "的首都是Its name is Rome Oslo abc-AB:\n"])
        words = ["<s>", *sorted({*texts, *"".join(JOINED)}), *JOINED, " A", " B", " b"]
        pairs = [(x[0], x[1]) for x in words if len(x) == 2]
        tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, pairs))
        tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@pytest.mark.parametrize(
    ("prompts", "endings"),
    [
        ([f"{land}的首都是" for land in CAPITALS], [*CAPITALS.values()]),
        (["Its name is (", 'It is "', "a-"], ["Rome", "Oslo", "b", "c"]),
        (["Its name is", "a"], [" Rome", " b"]),
    ],
)
def test_what_is_fed_is_prompt_and_answer(
    joining: PreTrainedTokenizerFast, prompts: list[str], endings: list[str]
) -> None:
    """Byte for byte, where a token crosses the border of the two too."""
    crossed = 0
    for prompt, row in zip(
        prompts, branching_rows(joining, prompts, [endings] * len(prompts)), strict=True
    ):
        stem, rest = row.tokens[: row.stem], row.tokens[row.stem :]
        reads = iter(row.reads)
        for choice, (text, length) in enumerate(zip(endings, row.endings, strict=True)):
            ending, rest = rest[:length], rest[length:]
            whole = joining(prompt + text)["input_ids"]
            assert stem + ending == whole
            read = [next(reads) for _ in ending]
            assert [(token, of) for _, token, of in read] == [(t, choice) for t in ending]
        crossed += row.stem < len(joining(prompt)["input_ids"])
    assert crossed > 0 or endings[0].startswith(" ")


def test_an_answer_after_a_prompt_is_what_a_model_would_say(
    joining: PreTrainedTokenizerFast,
) -> None:
    for prompt, answer in (("法国的首都是", "巴黎"), ("Its name is (", "Rome"), ("a-", "b")):
        said = continuation(joining, prompt, answer)
        assert joining.decode(joining(prompt)["input_ids"] + said) == prompt + answer


def test_letters_are_looked_up_after_every_kind_of_prompt(
    joining: PreTrainedTokenizerFast,
) -> None:
    prompts = ["法国的首都是\nAnswer:", "Its name is\nAnswer:", "Answer:a-"]
    assert len(LETTER.rows(joining, prompts[:2], [["b", "c"]] * 2)[0]) == 2
    with pytest.raises(ValueError, match=r"one token per letter|let all prompts end alike"):
        LETTER.rows(joining, prompts, [["b", "c"]] * 3)


def row(*tokens: int) -> Row:
    return Row(list(tokens), [(len(tokens) - 1, 1, 0)], len(tokens))


def questions(header: list[int], n: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [row(*header, *(rng.randrange(1000) for _ in range(20))) for _ in range(n)]


def test_each_long_header_is_a_group() -> None:
    rows = [
        r
        for subject in range(5)
        for r in questions([1, 2, 3, 4, *range(100 * subject, 100 * subject + 90)], 30, subject)
    ]
    random.Random(0).shuffle(rows)
    groups = prefix_groups(rows, worth=16, batch=1000)
    assert sorted(i for _, group in groups for i in group) == list(range(150))
    assert [(shared, len(group)) for shared, group in groups] == [(94, 30)] * 5
    for shared, group in groups:
        assert len({tuple(rows[i].tokens[:shared]) for i in group}) == 1


def test_what_saves_less_than_a_batch_stays_together() -> None:
    short = questions([1, 2, 3, 4, 5], 30, 0) + questions([1, 2, 3, 9, 9], 30, 1)
    assert [(n, len(group)) for n, group in prefix_groups(short, 16, 1000)] == [(0, 60)]
    few = questions(list(range(60)), 3, 0) + questions(list(range(100, 160)), 3, 1)
    assert [(n, len(group)) for n, group in prefix_groups(few, 16, 1000)] == [(0, 6)]
    one = questions(list(range(60)), 4, 0)
    assert [(n, len(group)) for n, group in prefix_groups(one, 16, 1000)] == [(60, 4)]
