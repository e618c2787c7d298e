"""Does this package's arithmetic give the numbers of plain forwards? Asked before any number.

Scoring packs endings, shares prefixes and pads rows, all of which rest on how a model masks and
places tokens. A few rows of random tokens are scored so, and by plain forwards of the plain model
alone, in which each prompt with each ending is a text of its own. Where they differ, the ways to
save arithmetic are switched off one after the other; where they still differ, the model is refused.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.decoding import Cached
from mechunlearn.bench.engine import output, read
from mechunlearn.bench.rotation import context_of, limit_of
from mechunlearn.bench.rows import Row
from mechunlearn.models.gate import difference, tolerance_of
from mechunlearn.progress import console
from mechunlearn.types import HookedModel, Parity, Shortcuts

SHARED = 18
"""Tokens that the rows begin with: enough to be worth caching."""
STEMS = (3, 5, 3, 5)
"""Tokens of each row after these."""
ENDINGS = {3: (3, 5, 3), 5: (1, 3, 1)}
"""Tokens of each row's endings, by those of its stem; whole texts have two lengths."""
STEPS = 3
"""Tokens that are generated."""
CROSSED = 256
"""Lengths in a configuration up to this are crossed by the rows: windows, chunks, limits."""
LENGTHS = re.compile(r"window|chunk|position|context")
"""What configurations call lengths after which something changes."""


class Check(Protocol):
    """What a model has to pass when it is loaded."""

    def reference(self, plain: Any, tokenizer: Any) -> Any:
        """What the plain model says, before it is hooked."""

    def compare(self, model: HookedModel, reference: Any) -> None:
        """Compare the hooked model with that.

        Raises:
            RuntimeError: Saying what differs, and by how much.
        """


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows, and what plain forwards say of them."""

    rows: list[Row]
    ids: list[int]
    """Tokens whose logits count as letters."""
    letters: Float[np.ndarray, "row token"]
    cloze: Float[np.ndarray, "row choice"]
    stems: list[list[int]]
    """Prompts of two lengths."""
    tails: list[list[int]]
    """The most likely tokens after each of them."""
    steps: Float[Tensor, "row step vocab"]
    """Logits of each of these tokens."""
    spread: float
    """How far logits of different tokens lie apart."""


class ParityCheck:
    """See the module."""

    name: ClassVar[str] = "parity"

    @torch.no_grad()
    def reference(self, plain: Any, tokenizer: Any) -> Reference:
        """Plain forwards of texts of equal length together, so that nothing is padded."""
        rows, ids = _rows(plain, tokenizer)
        texts = [_texts(row) for row in rows]
        wholes = _plain_logits(plain, [text for own in texts for text in own])
        stems = _plain_logits(plain, [row.tokens[: row.stem] for row in rows])
        cloze, at = np.zeros((len(rows), len(texts[0]))), 0
        for i, (row, own) in enumerate(zip(rows, texts, strict=True)):
            for j, text in enumerate(own):
                after = wholes[at][row.stem - 1 : -1].log_softmax(-1)
                ending = torch.tensor(text[row.stem :], device=after.device)
                cloze[i, j] = float(after.gather(1, ending[:, None]).mean())
                at += 1
        last = torch.stack([logits[-1] for logits in stems])
        letters, spread = last[:, ids].cpu().numpy(), float(last.std(dim=-1).mean())
        # Keys are cached up to this length only.
        context = context_of(plain.config)
        cut = max(0, max(row.stem for row in rows) + STEPS - limit_of(plain, context))
        prompts = [row.tokens[cut : row.stem] for row in rows]
        tails, steps = _plain_tails(plain, prompts)
        return Reference(rows, ids, letters, cloze, prompts, tails, steps, spread)

    @torch.no_grad()
    def compare(self, model: HookedModel, reference: Reference) -> None:
        """Switch off what changes numbers; refuse a model whose numbers stay different."""
        tolerance = tolerance_of(next(model.parameters()).dtype)
        off = []
        for shortcuts in (
            Shortcuts(),
            Shortcuts(sharing=False),
            Shortcuts(packing=False),
            Shortcuts(packing=False, sharing=False),
        ):
            model.shortcuts = shortcuts
            letters, cloze = _letters(model, reference), _cloze(model, reference)
            if letters <= tolerance and cloze <= tolerance:
                break
            kept = [name for name in ("packing", "sharing") if getattr(shortcuts, name)]
            off.append(f"{' and '.join(kept)}: letters {letters:.2g}, cloze {cloze:.2g}")
        else:
            raise RuntimeError(
                f"scores of {model.provenance.name} differ from plain forwards of its texts, "
                f"letters by {letters:.2g} and cloze by {cloze:.2g} of the spread of its logits "
                f"(allowed: {tolerance:.2g}): {model.provenance.architecture} masks or places "
                "tokens in a way that is not known here; no number would be valid"
            )
        padded = _continued(model, reference, len(reference.stems))
        generated = _continued(model, reference, 1)
        if not padded <= tolerance:
            off.append(f"left padding: {padded:.2g}")
        if not generated <= tolerance:
            off.append(f"caching what is generated: {generated:.2g}")
        model.shortcuts = dataclasses.replace(
            shortcuts, left_padding=padded <= tolerance, caching=generated <= tolerance
        )
        if off:
            console.print(
                f"[dim]{model.provenance.name}: computed without what would change its numbers "
                f"({'; '.join(off)})[/dim]"
            )
        found = Parity(letters, cloze, padded, generated, tolerance, tuple(off))
        model.provenance = dataclasses.replace(model.provenance, parity=found)


PARITY = ParityCheck()


def _rows(plain: Any, tokenizer: Any) -> tuple[list[Row], list[int]]:
    """Rows of ordinary tokens that share a prefix, and four tokens as letters."""
    n = min(plain.get_input_embeddings().num_embeddings, len(tokenizer))
    ordinary = sorted(set(range(n)) - set(tokenizer.all_special_ids)) or list(range(n))
    generator = torch.Generator().manual_seed(1)

    def draw(count: int) -> list[int]:
        at = torch.randint(0, len(ordinary), (count,), generator=generator)
        return [ordinary[i] for i in at]

    shared, rows = draw(_shared_length(plain.config)), []
    for own in STEMS:
        tokens = shared + draw(own)
        stem, reads, lengths = len(tokens), [], ENDINGS[own]
        for choice, length in enumerate(lengths):
            ending = draw(length)
            before = [stem - 1, *range(len(tokens), len(tokens) + length - 1)]
            reads += [(a, token, choice) for a, token in zip(before, ending, strict=True)]
            tokens = tokens + ending
        rows.append(Row(tokens, reads, stem, lengths))
    return rows, [ordinary[i] for i in torch.randperm(len(ordinary), generator=generator)[:4]]


def _shared_length(config: Any) -> int:
    """So many tokens that stems and endings lie on both sides of a length in the configuration."""
    text = config.get_text_config()
    longest = context_of(config) or CROSSED
    places = [text.to_dict(), *(v for v in text.to_dict().values() if isinstance(v, dict))]
    lengths = [
        value
        for place in places
        for key, value in place.items()
        if LENGTHS.search(str(key)) and isinstance(value, int) and SHARED < value <= CROSSED
    ]
    return max([n - 4 for n in lengths if n + 8 < longest] + [SHARED])


def _texts(row: Row) -> list[list[int]]:
    """The stem with each ending."""
    texts, start = [], row.stem
    for length in row.endings:
        texts.append(row.tokens[: row.stem] + row.tokens[start : start + length])
        start += length
    return texts


def _plain_logits(plain: Any, texts: Sequence[list[int]]) -> list[Float[Tensor, "pos vocab"]]:
    """Logits of each text, by forwards of texts of equal length, without a cache."""
    logits: dict[int, Tensor] = {}
    for length in {len(text) for text in texts}:
        own = [i for i, text in enumerate(texts) if len(text) == length]
        tokens = torch.tensor([texts[i] for i in own], device=plain.device)
        logits |= dict(zip(own, plain(tokens, use_cache=False).logits.float(), strict=True))
    return [logits[i] for i in range(len(texts))]


def _plain_tails(
    plain: Any, prompts: Sequence[list[int]]
) -> tuple[list[list[int]], Float[Tensor, "row step vocab"]]:
    """The most likely tokens after each prompt, and the logits that each was taken from."""
    texts, steps = [list(prompt) for prompt in prompts], []
    for _ in range(STEPS):
        steps.append(torch.stack([logits[-1] for logits in _plain_logits(plain, texts)]))
        for text, token in zip(texts, steps[-1].argmax(-1).tolist(), strict=True):
            text.append(token)
    return [text[-STEPS:] for text in texts], torch.stack(steps, dim=1)


def _distance(got: Any, want: Any, spread: float) -> float:
    gap = torch.as_tensor(got).double().cpu() - torch.as_tensor(want).double().cpu()
    return float(gap.square().mean().sqrt()) / spread


def _letters(model: HookedModel, reference: Reference) -> float:
    rows = [
        Row(r.tokens[: r.stem], [(r.stem - 1, t, i) for i, t in enumerate(reference.ids)], r.stem)
        for r in reference.rows
    ]
    return _scored(model, rows, reference.ids, reference.letters, reference.spread)


def _cloze(model: HookedModel, reference: Reference) -> float:
    return _scored(model, reference.rows, None, reference.cloze, reference.spread)


def _scored(
    model: HookedModel, rows: list[Row], ids: list[int] | None, want: np.ndarray, spread: float
) -> float:
    """How far scores lie from the plain ones; infinite where the model cannot be asked so."""
    try:
        (got,) = read(model, rows, [output(model)], ids=ids)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return float("inf")
    return _distance(got, want, spread)


def _continued(model: HookedModel, reference: Reference, n: int) -> float:
    """How far logits along the plain answers to the first ``n`` stems lie from the plain ones."""
    want = reference.steps[:n]
    try:
        texts = Cached(model, reference.stems[:n])
        logits = [texts.start()]
        for at in range(STEPS - 1):
            tokens = [tail[at] for tail in reference.tails[:n]]
            logits.append(texts.step(torch.tensor(tokens, device=model.cfg.device)))
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return float("inf")
    return difference(torch.stack(logits, dim=1), want.to(logits[0].device))
