"""Does this package's arithmetic give the numbers of plain forwards? Asked before any number.

Scoring packs endings, shares prefixes and pads rows, all of which rest on how a model masks and
places tokens. A few rows of random tokens are scored so, and by plain forwards of the plain model
alone, in which each prompt with each ending is a text of its own. Where they differ, the ways to
save arithmetic are switched off one after the other; where they still differ, the model is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechunlearn.bench.engine import output, read
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
    last: Float[Tensor, "row vocab"]
    """Logits after each stem."""
    greedy: list[int]
    """What is generated after the first stem."""
    steps: Float[Tensor, "step vocab"]
    """Logits at each of these tokens."""

    @property
    def spread(self) -> float:
        """How far logits of different tokens lie apart."""
        return float(self.last.std(dim=-1).mean())


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
        greedy, steps = list(rows[0].tokens[: rows[0].stem]), []
        for _ in range(STEPS):
            steps.append(_plain_logits(plain, [greedy])[0][-1])
            greedy.append(int(steps[-1].argmax()))
        letters = last[:, ids].cpu().numpy()
        tail = greedy[rows[0].stem :]
        return Reference(rows, ids, letters, cloze, last, tail, torch.stack(steps))

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
        padded, generated = _padded(model, reference), _generated(model, reference)
        if not generated <= tolerance:
            raise RuntimeError(
                f"{model.provenance.name} generates otherwise than plain forwards of its texts "
                f"would: logits differ by {generated:.2g} (allowed: {tolerance:.2g})"
            )
        if not padded <= tolerance:
            model.shortcuts = Shortcuts(shortcuts.packing, shortcuts.sharing, left_padding=False)
            off.append(f"left padding: {padded:.2g}")
        if off:
            console.print(
                f"[dim]{model.provenance.name}: computed without what would change its numbers "
                f"({'; '.join(off)})[/dim]"
            )
        found = Parity(letters, cloze, padded, generated, tolerance, tuple(off))
        model.provenance = _with_parity(model, found)


PARITY = ParityCheck()


def _with_parity(model: HookedModel, found: Parity) -> Any:
    import dataclasses

    return dataclasses.replace(model.provenance, parity=found)


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
    longest = getattr(text, "max_position_embeddings", None) or CROSSED
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


def _next_logits(model: HookedModel, rows: list[list[int]], steps: int) -> tuple[Tensor, Tensor]:
    """What ``generate`` says after rows, padded on the left: ``[row, step]`` and logits."""
    width = max(len(row) for row in rows)
    pad = model.tokenizer.pad_token_id or 0
    device = model.cfg.device
    tokens = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    real = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=device)
    found = model.original_model.generate(
        tokens,
        attention_mask=real,
        min_new_tokens=steps,
        max_new_tokens=steps,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return found.sequences[:, width:], torch.stack(found.logits, dim=1).float()


def _padded(model: HookedModel, reference: Reference) -> float:
    """Logits after stems of two lengths, the shorter ones padded."""
    try:
        _, logits = _next_logits(model, [r.tokens[: r.stem] for r in reference.rows], 1)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError):
        return float("inf")
    return difference(logits[:, 0], reference.last.to(logits.device))


def _generated(model: HookedModel, reference: Reference) -> float:
    """Logits at the tokens generated after one stem, up to the first that differs."""
    first = reference.rows[0]
    tokens, logits = _next_logits(model, [first.tokens[: first.stem]], STEPS)
    same = [a == b for a, b in zip(tokens[0].tolist(), reference.greedy, strict=True)]
    until = next((i + 1 for i, equal in enumerate(same) if not equal), STEPS)
    return difference(logits[0, :until], reference.steps[:until].to(logits.device))
