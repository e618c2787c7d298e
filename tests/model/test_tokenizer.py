"""Tokenizers without the tokens that others have."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mechunlearn.models import hook, load, save
from mechunlearn.models.tokenizer import settle_padding

WORDS = {word: i for i, word in enumerate(("one", "two", "three", *"ABCDEFGHIJ:."))}


def plain_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel(WORDS | {"<unk>": len(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def test_without_an_end_the_first_token_pads_and_is_not_saved(tmp_path: Path) -> None:
    tokenizer = plain_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = hook(LlamaForCausalLM(config), tokenizer, name="x")
    assert model.tokenizer.pad_token_id == 0
    save(model, tmp_path / "m")
    assert model.tokenizer.pad_token_id == 0
    settings = json.loads((tmp_path / "m" / "tokenizer_config.json").read_text())
    assert settings.get("pad_token") is None
    assert json.loads((tmp_path / "m" / "tokenizer.json").read_text())["added_tokens"] == []
    again = load(str(tmp_path / "m")).tokenizer
    assert again.pad_token_id == 0
    assert again.decode(again("one two")["input_ids"], skip_special_tokens=True) == "one two"


def test_a_special_token_pads_before_a_word_does() -> None:
    tokenizer = plain_tokenizer(unk_token="<unk>")
    settle_padding(tokenizer)
    assert tokenizer.pad_token == "<unk>"
    assert tokenizer.padding_side == "right"
