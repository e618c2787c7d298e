"""A model's chat template, taken apart: what it puts around a user's turn."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any

from mechunlearn.progress import console
from mechunlearn.types import Turn

QUESTION = "\x00"
SYSTEM = "\x01"
"""Stand for the texts of the turns where a template is taken apart."""
CLOCK = datetime(2024, 7, 26)
"""What every template takes for the present, whenever it is asked: the date that the templates of
Llama 3 fall back to. Else the same command would ask another prompt tomorrow."""
PROBE = "Is this it?\nA. yes\nB. no\n\nAnswer:"


def user_turn(tokenizer: Any, system: str | None = None) -> Turn:
    """What the tokenizer's chat template puts around a user's turn, up to the answer.

    Where the template has no system turn, the system message becomes the first paragraph of the
    user's turn; that, and the date that a template with a clock is given, is printed and noted.

    Args:
        system: Message of a system turn before it; ``None``: no such turn.

    Raises:
        ValueError: If the tokenizer has no chat template, or it refuses or changes the prompt.
    """
    if tokenizer.chat_template is None:
        raise ValueError("this model's tokenizer has no chat template; leave out task.chat")
    folded, notes = "", []
    if system is not None and not _takes_system(tokenizer):
        notes.append(_without_system(system))
        folded, system = f"{system}\n\n" if system else "", None
    turns = _turns(QUESTION, system)
    text = _render(tokenizer, turns)
    before, question, after = text.partition(QUESTION)
    if not question or _render(tokenizer, _turns(PROBE, system)) != before + PROBE + after:
        raise ValueError("the chat template changes the prompt; leave out task.chat")
    later = CLOCK + timedelta(days=400, hours=7, minutes=31, seconds=13)
    if _render(tokenizer, turns, later) != text:
        notes.append(
            f"the chat template writes the time into every prompt: {CLOCK:%d %b %Y %H:%M} is used, "
            "always"
        )
    for note in notes:
        console.print(f"[dim]{note}[/dim]")
    lead = _lead(tokenizer, before + PROBE + after)
    return Turn(_without_start(tokenizer, before) + folded, after, lead, tuple(notes))


def chat_prompt(tokenizer: Any, turns: Sequence[Mapping[str, str]], system: str | None) -> str:
    """A conversation in the chat template, up to where the assistant answers its last turn.

    With one turn it is ``user_turn(tokenizer, system).around(text)``.

    Args:
        turns: As chat templates take them, ``role`` and ``content``; the first is the user's.
        system: As for ``user_turn``.

    Raises:
        ValueError: If the template refuses these turns.
    """
    if system and not _takes_system(tokenizer):
        first, *rest = turns
        turns, system = [{**first, "content": f"{system}\n\n{first['content']}"}, *rest], None
    messages = [*([{"role": "system", "content": system}] if system is not None else []), *turns]
    return _without_start(tokenizer, _render(tokenizer, messages))


def _without_start(tokenizer: Any, text: str) -> str:
    """Without the first token's text, where the tokenizer adds that token by itself."""
    ids = tokenizer("")["input_ids"]
    adds = tokenizer.bos_token and ids[:1] == [tokenizer.bos_token_id]
    return text.removeprefix(tokenizer.bos_token) if adds else text


def _turns(question: str, system: str | None) -> list[Mapping[str, str]]:
    first = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": question}]


def _render(tokenizer: Any, turns: Sequence[Mapping[str, str]], now: datetime = CLOCK) -> str:
    try:
        with _clock_at(now):
            return str(
                tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            )
    except Exception as err:  # Templates raise what they like.
        instead = "try task.chat=user" if turns[0]["role"] == "system" else "leave out task.chat"
        raise ValueError(f"the chat template refuses these turns: {err}; {instead}") from err


@contextmanager
def _clock_at(now: datetime) -> Iterator[None]:
    """Stop the clock of chat templates, which take a time from one place in transformers only."""
    from transformers.utils import chat_template_utils

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return now

    real = chat_template_utils.datetime
    chat_template_utils.datetime = Stopped  # type: ignore[misc]
    try:
        yield
    finally:
        chat_template_utils.datetime = real  # type: ignore[misc]


def _takes_system(tokenizer: Any) -> bool:
    """Whether a system message comes out again: templates refuse or drop what they lack."""
    try:
        return SYSTEM in _render(tokenizer, _turns(QUESTION, SYSTEM))
    except ValueError:
        return False


def _without_system(system: str) -> str:
    what = "goes in front of the user's turn" if system.strip() else "is empty and left out"
    return f"the chat template has no system turn: task.system {what}"


def _lead(tokenizer: Any, prompt: str) -> str:
    """How an answer begins behind a prompt, so that its token is the one of the answer alone.

    Letters are read at their token "without special tokens" in plain and chat prompts alike, as
    Łucki et al. 2024, arXiv:2409.18025, do. SentencePiece vocabularies write a word alone as after
    a space; byte-pair ones do not.
    """
    alone, *behind = (
        tokenizer(text, add_special_tokens=False)["input_ids"][-1:]
        for text in ("A", f"{prompt}A", f"{prompt} A")
    )
    return " " if behind[0] != alone and behind[1] == alone else ""
