"""A tokenizer: the model's own, or of what it was made from; checked against the model."""

import json
import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

from mechunlearn.errors import PrerequisiteError
from mechunlearn.models.sources import carrier, clear_errors, locate
from mechunlearn.progress import console

FILES = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
"""What a tokenizer can be read from; without any of them transformers makes an empty one."""
PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes without rules of their own: ``tokenizer.json`` says everything. The first is what
transformers 5 writes, and transformers 4 does not know it."""


def load_tokenizer(
    name: str,
    original: str = "",
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Any:
    """The tokenizer of a model, with a pad token, padding on the right.

    Args:
        original: The model whose tokenizer is taken, with a line that says so, where ``name`` has
            none of its own (published unlearned models often lack the files). An adapter takes
            that of the model it is merged into.
        revision: Branch, tag or commit of ``name`` on the Hub.
        trust_remote_code: Allow code that comes with the tokenizer to run.

    Raises:
        ValueError: If there is no tokenizer, or it reads no text.
        PrerequisiteError: When a download is needed that is not there.
    """
    tokenizer = _own(name, revision, trust_remote_code)
    if tokenizer is None and (base := carrier(name, original)) != name:
        tokenizer = _own(base, None, trust_remote_code)
    if tokenizer is None and original and original != name:
        console.print(f"[dim]{name} has no tokenizer of its own: taking {original}'s[/dim]")
        tokenizer = _own(original, None, trust_remote_code)
    if tokenizer is None:
        raise ValueError(
            f"{name} has no tokenizer files ({', '.join(FILES[:3])}, ...): copy them from the "
            "model it was made from"
        )
    settle_padding(tokenizer)
    return tokenizer


def settle_padding(tokenizer: Any) -> None:
    """Pad on the right, with some token where there is none for it: padding is masked.

    That is the one that ends texts, else another special one, else the first of the vocabulary,
    which ``save_tokenizer`` leaves out: read from a file it would become a special token.
    """
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is not None:
        return
    tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        words = tokenizer.get_vocab()
        known = (w for w in (tokenizer.bos_token, tokenizer.unk_token) if w in words)
        tokenizer.pad_token = next(known, None) or min(words, key=words.__getitem__)
        tokenizer.borrowed_pad = tokenizer.pad_token


def pads_with_borrowed(tokenizer: Any) -> bool:
    """Whether its padding is a token that only stands in for one; see ``settle_padding``."""
    pad = tokenizer.pad_token
    return pad is not None and pad == getattr(tokenizer, "borrowed_pad", None)


def _own(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The model's own tokenizer; ``None`` where it has none."""
    location, extra = locate(name)
    extra.pop("use_safetensors", None)
    local = os.path.exists(location)
    if local and "gguf_file" not in extra and not _has_files(Path(location)):
        return None
    try:
        with clear_errors(name, location):
            if not local:
                extra["revision"] = revision
            given = get_tokenizer_config(location, **extra).get("tokenizer_class")
            # Other than AutoTokenizer, believe a folder that says its file is all there is to know.
            plain = local and given in PLAIN
            reader = PreTrainedTokenizerFast if plain else AutoTokenizer
            # Never left open: transformers would ask at the terminal.
            return reader.from_pretrained(location, trust_remote_code=trust_remote_code, **extra)
    except PrerequisiteError:
        if _known_on_hub(location, revision, trust_remote_code):
            return None  # The model is there, without a tokenizer.
        raise


def _has_files(folder: Path) -> bool:
    return any((folder / file).is_file() for file in FILES)


def _known_on_hub(location: str, revision: str | None, trust_remote_code: bool) -> bool:
    """Whether the configuration of a Hub model can be had although its tokenizer cannot."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError):
        return False
    return True


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer that transformers 4 and 5 read alike.

    Version 5 names a class that version 4 does not have, lists special tokens that version 4 wants
    as a dictionary, and writes the chat template into a file of its own.
    """
    pad = tokenizer.pad_token
    if pads_with_borrowed(tokenizer):
        tokenizer.pad_token = None
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.pad_token = pad
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("tokenizer_class") == PLAIN[0]:
        settings["tokenizer_class"] = PLAIN[1]
    if isinstance(extra := settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = extra
        del settings["extra_special_tokens"]
    if isinstance(tokenizer.chat_template, str):
        settings["chat_template"] = tokenizer.chat_template
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    file.write_text(f"{text}\n", encoding="utf-8")


ADDED = 64
"""Tokens at most that a model may have beside those of the model it was made from."""


def compare_tokenizers(
    name: str, tokenizer: Any, original: str, known: Any, texts: Sequence[str]
) -> None:
    """Make sure that two models are asked the same tokens; a few added ones are said.

    Args:
        known: The original's tokenizer.
        texts: What is asked, with answers.

    Raises:
        ValueError: If a token is another number in one of them, many are in one of them only, or
            a text is read otherwise.
    """
    words, others = tokenizer.get_vocab(), known.get_vocab()
    moved = sorted(word for word, number in words.items() if others.get(word, number) != number)
    apart = sorted(words.keys() ^ others.keys())
    if moved or len(apart) > ADDED:
        about = (
            f"{moved[0]!r} is token {words[moved[0]]} of one and {others[moved[0]]} of the other"
            if moved
            else f"{len(apart)} tokens are in one of them only, such as {apart[0]!r}"
        )
        raise ValueError(
            f"{name} and {original} have different vocabularies ({about}); only models of one "
            "family can be compared"
        )
    _compare_readings(name, tokenizer, original, known, texts)
    if apart:
        console.print(
            f"[dim]{name} and {original} differ by {len(apart)} added tokens, such as "
            f"{apart[0]!r}; the others are the same[/dim]",
            markup=True,
        )


def _compare_readings(
    name: str, tokenizer: Any, original: str, known: Any, texts: Sequence[str]
) -> None:
    """Tokenizers of one vocabulary may split texts otherwise, and answers differ for that alone."""
    own, others = (each(list(texts))["input_ids"] for each in (tokenizer, known))
    apart = [(a, b) for a, b in zip(own, others, strict=True) if a != b]
    if not apart:
        return
    pairs = enumerate(zip_longest(*apart[0]))
    start = next(i for i, (a, b) in pairs if a != b)
    ours, theirs = (
        each.convert_ids_to_tokens(row[start : start + 4])
        for each, row in zip((tokenizer, known), apart[0], strict=True)
    )
    raise ValueError(
        f"the tokenizer of {name} reads {len(apart)} of {len(own)} questions otherwise than that "
        f"of {original} ({ours} for {theirs}), and their answers would differ for that alone; copy "
        f"the tokenizer files of the model that {name} was made from, or leave its own out"
    )


def check_fit(tokenizer: Any, vocabulary: int, name: str) -> None:
    """Make sure that the tokenizer reads text, as tokens that the model has.

    Args:
        vocabulary: Rows of the model's embedding.

    Raises:
        ValueError: If a token has no embedding, or text is lost.
    """
    words = tokenizer.get_vocab()
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= vocabulary:
        tokenizer.pad_token = None  # Added for training, without an embedding.
        settle_padding(tokenizer)
    beyond = {i: w for w, i in words.items() if i >= vocabulary and w != "<pad>"}
    if beyond:
        last = max(beyond)
        raise ValueError(
            f"the tokenizer does not fit {name}: it has tokens up to number {last} "
            f"({beyond[last]!r}), but the model has embeddings for {vocabulary}; take the "
            "tokenizer files of the model it was made from"
        )
    special = set(tokenizer.all_special_ids)
    some = sorted(set(words.values()) - special)
    some = some[:: max(1, len(some) // 50)]
    text = tokenizer.decode(some, skip_special_tokens=True)
    ids = tokenizer(text)["input_ids"]
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    if bare and ids[-1] != bare[-1]:
        raise ValueError(
            f"the tokenizer of {name} puts {tokenizer.convert_ids_to_tokens(ids[-1])!r} behind "
            "every text, after which nothing can be asked or answered; save it with "
            "add_eos_token=False (and without it in the post_processor of tokenizer.json)"
        )
    if not set(ids) - special:
        raise ValueError(
            f"the tokenizer of {name} loses all text: it reads {text[:40]!r} as nothing; take the "
            "tokenizer files of the model it was made from"
        )
