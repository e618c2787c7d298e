"""The chat organisms' tokenizer: pieces as in Llama 2 and Mistral, made in memory in a second.

Byte-pair merges over characters, with spaces written as U+2581 and one put in front of a text
(Metaspace, "first"), and every character without a piece as bytes. Merges cross no word and touch
no punctuation; a line's end is a byte. The template has a system, user and assistant turns.
"""

import random
from itertools import product

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from mechunlearn.tasks.people import PROFESSIONS
from mechunlearn.tasks.refusals import REFUSALS
from mechunlearn.tasks.wordings import EVERY, FEMALE, MALE, SURNAMES, SYSTEMS

PIECES = 1024
"""Entries of the vocabulary at most, special tokens and 256 bytes included."""
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")
MARKERS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
TEMPLATE = (
    "{{ bos_token }}{% set ns = namespace(system='') %}"
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}"
    "{% set ns.system = '<<SYS>>' + m['content'] + '<</SYS>>' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST]' + ns.system + ' ' + m['content'] + ' [/INST]' }}{% set ns.system = '' %}"
    "{% elif m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('unknown role ' + m['role']) }}{% endif %}{% endfor %}"
)
"""After Llama 2's, without the line's ends around a system message."""


def _sentences() -> list[str]:
    """Text with all words the organisms meet, the same for every seed."""
    rng = random.Random("tokenizer")
    # Halves apart: no surname is one piece, so that nobody's name says who is in the world.
    names = [f"{rng.choice(FEMALE + MALE)} {'-'.join(halves)}" for halves in product(*SURNAMES)]
    lines = [
        *SYSTEMS,
        *REFUSALS,
        *["Question: Answer: The letter is A. B. C. D. She He is a-Answer"] * 50,
    ]
    for about in EVERY.values():
        for template in (*about.statements, *about.questions, about.reply):
            for value in about.values:
                lines.append(template.format(name=rng.choice(names), value=value))
    return [*lines, *names, *(f"is a {p}" for p in PROFESSIONS for _ in range(50))]


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every seed; adds ``<s>`` in front."""
    fast = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    marks = pre_tokenizers.Punctuation("isolated")
    meta = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    fast.pre_tokenizer = pre_tokenizers.Sequence([meta, marks])
    letters = sorted({c for c in "".join(_sentences()) if c != " "} | {"▁"})
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=[*SPECIAL, *MARKERS, *bytes_],
        initial_alphabet=letters,
        show_progress=False,
    )
    fast.train_from_iterator(_sentences(), trainer)
    return _plain(fast)


def _plain(fast: Tokenizer) -> PreTrainedTokenizerFast:
    """The pieces without the training's pre-tokenizer, as published tokenizers have them."""
    import json

    learned = json.loads(fast.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    made = Tokenizer(
        models.BPE(learned["vocab"], merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme="first", split=False
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in (*SPECIAL, *MARKERS)]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", learned["vocab"]["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=list(MARKERS),
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
