"""A model's chat template, taken apart: what it puts around a user's turn, and who stands in it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from mechunlearn.progress import console
from mechunlearn.types import Example, Turn

QUESTION = "\x00"
SYSTEM = "\x01"
"""Stand for the texts of the turns where a template is taken apart."""
CLOCK = datetime(2024, 7, 26)
"""What every template takes for the present, whenever it is asked: the date that the templates of
Llama 3 fall back to. Else the same command would ask another prompt tomorrow."""
LATER = CLOCK + timedelta(days=400, hours=7, minutes=31, seconds=13)
PROBE = "Is this it?\nA. yes\nB. no\n\nAnswer:"


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns that a chat template makes: the one place that tells which of them a prompt is in.

    They are the user's turn alone, that after an empty system message and after one of any text,
    and what a task asks in, where a system message may be a part of the user's turn.
    """

    known: tuple[Turn, ...]
    system: Turn = Turn()
    """That after a system message ``SYSTEM``; plain where the template has no such turn."""

    @classmethod
    def of(cls, tokenizer: Any, *own: Turn) -> "Turns":
        """Those of a tokenizer's template, none where it has no template or cannot be used.

        Args:
            own: What a task asks in.
        """
        made: dict[str | None, Turn] = {}
        for system in (None, "", SYSTEM) if tokenizer.chat_template is not None else ():
            with suppress(ValueError):
                made[system] = Turn(*_around(tokenizer, system))
        message = made.pop(SYSTEM, Turn())
        known = tuple(turn for turn in (*own, *made.values()) if not turn.plain)
        return cls(known, message if SYSTEM in message.before else Turn())

    def of_prompt(self, prompt: str) -> Turn:
        """The turn that a prompt stands in, the longest where several fit; plain where none does.

        A system message ends where the template first goes on as it does behind one; where only
        blanks are between it and the user's text, it cannot be told from that.
        """
        turns = [*self.known]
        first, _, behind = self.system.before.partition(SYSTEM)
        message, found, _ = prompt.removeprefix(first).partition(behind or SYSTEM)
        if behind.strip() and found and prompt.startswith(first):
            turns.append(Turn(first + message + behind, self.system.after))
        held = [turn for turn in turns if turn.holds(prompt)]
        return max(held, key=lambda turn: len(turn.around("")), default=Turn())

    def asked(self, example: Example, turn: Turn) -> Example:
        """An example asked and answered in a turn, or in plain text, whichever it stands in."""
        now = self.of_prompt(example.prompt)
        question, answer = now.inside(example.prompt), turn.reply(example.answer)
        if turn.plain and not now.plain:
            answer = ("" if question[-1:].isspace() else " ") + answer.lstrip()
        return Example(turn.around(question), answer)


def user_turn(tokenizer: Any, system: str | None = None, instead: str = "") -> Turn:
    """What the tokenizer's chat template puts around a user's turn, up to the answer.

    Where the template has no system turn, the system message becomes the first paragraph of the
    user's turn, and where it demands one, an empty one is said; that, and the date that a template
    with a clock is given, is printed and noted.

    Args:
        system: Message of a system turn before it; ``None``: no such turn.
        instead: What to do where the template cannot be used; default: change ``task.chat``.

    Raises:
        ValueError: If the tokenizer has no chat template, or it refuses or changes the prompt.
    """
    if tokenizer.chat_template is None:
        instead = instead or "leave out task.chat"
        raise ValueError(f"this model's tokenizer has no chat template; {instead}")
    taken, folded, notes = _system_taken(tokenizer, system)
    try:
        before, after = _around(tokenizer, taken)
        later = _render(tokenizer, _turns(PROBE, taken), LATER)
    except ValueError as err:
        alone = taken is not None and _accepts(tokenizer, None)
        usual = "try task.chat=user" if alone else "leave out task.chat"
        raise ValueError(f"{err}; {instead or usual}") from err
    if later != _render(tokenizer, _turns(PROBE, taken)):
        notes.append(
            f"the chat template writes the time into every prompt: {CLOCK:%d %b %Y %H:%M} is used, "
            "always"
        )
    for note in notes:
        console.print(f"[dim]{note}[/dim]")
    lead = _lead(tokenizer, before + PROBE + after)
    return Turn(before + folded, after, lead, tuple(notes))


def chat_prompt(tokenizer: Any, turns: Sequence[Mapping[str, str]], system: str | None) -> str:
    """A conversation in the chat template, up to where the assistant answers its last turn.

    With one turn it is ``user_turn(tokenizer, system).around(text)``.

    Args:
        turns: As chat templates take them, ``role`` and ``content``; the first is the user's.
        system: As for ``user_turn``.

    Raises:
        ValueError: If the template refuses these turns.
    """
    taken, folded, _ = _system_taken(tokenizer, system)
    first, *rest = turns
    messages = [{**first, "content": folded + first["content"]}, *rest]
    said = [] if taken is None else [{"role": "system", "content": taken}]
    return _without_start(tokenizer, _render(tokenizer, [*said, *messages]))


def _system_taken(tokenizer: Any, system: str | None) -> tuple[str | None, str, list[str]]:
    """The system message as the template takes it, what of it the user says, and notes on that."""
    if system is None:
        if _accepts(tokenizer, None) or not _accepts(tokenizer, ""):
            return None, "", []
        return "", "", ["the chat template demands a system turn: an empty one is said"]
    if _takes_system(tokenizer):
        return system, "", []
    return None, f"{system}\n\n" if system else "", [_without_system(system)]


def _around(tokenizer: Any, system: str | None) -> tuple[str, str]:
    """What stands before and after a user's text, behind a system message or none.

    Raises:
        ValueError: If the template refuses or changes the prompt.
    """
    before, question, after = _render(tokenizer, _turns(QUESTION, system)).partition(QUESTION)
    if not question or _render(tokenizer, _turns(PROBE, system)) != before + PROBE + after:
        raise ValueError("the chat template changes the prompt")
    return _without_start(tokenizer, before), after


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
        raise ValueError(f"the chat template refuses these turns: {err}") from err


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


def _accepts(tokenizer: Any, system: str | None) -> bool:
    """Whether the template takes a user's turn behind this system message, or behind none."""
    try:
        return bool(_render(tokenizer, _turns(QUESTION, system)))
    except ValueError:
        return False


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
