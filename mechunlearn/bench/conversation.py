"""Talk to a model: a conversation in its chat template, turn after turn."""

import dataclasses
from dataclasses import dataclass, field

from mechunlearn.bench.generation import Decoding, sample
from mechunlearn.tasks.chat import chat_prompt, user_turn
from mechunlearn.types import NO_CHANGE, Change, HookedModel, Turn


@dataclass(slots=True)
class Conversation:
    """One model, under a change or none, and what was said so far.

    A model without a chat template continues each text by itself: it has no turns to remember.

    Raises:
        ValueError: If the change reads elsewhere or asks questions in another form, which says
            nothing.

    Example:
        >>> from mechunlearn import load
        >>> talk = Conversation(load("organism:original"), decoding=Decoding(max_tokens=1))
        >>> talk.remembers
        False
    """

    model: HookedModel
    change: Change = NO_CHANGE
    decoding: Decoding = Decoding(max_tokens=128)
    system: str | None = None
    """Message of a system turn; ``None``: no such turn."""
    remembers: bool = True
    """Whether turns are in a chat template; set to no where the tokenizer has none."""
    turns: list[dict[str, str]] = field(default_factory=list)
    """``role`` and ``content`` of what the model was told, rewritten texts as they were asked."""
    _turn: Turn = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.change.read_out is not None or self.change.form is not None:
            raise ValueError(
                f"{self.change.name!r} only reads or asks otherwise, and a chat is the model's own "
                "output; take an attack that changes hooks, weights or the prompt"
            )
        tokenizer = self.model.tokenizer
        self.remembers = self.remembers and tokenizer.chat_template is not None
        if self.system is not None and not self.remembers:
            raise ValueError("without a chat template there is no system turn to put a text into")
        self._turn = user_turn(tokenizer, self.system, "use --plain") if self.remembers else Turn()

    def say(self, text: str) -> str:
        """What the model answers to a text, at the end of the conversation so far.

        Where the conversation no longer fits into the model's context, its first turns go.

        Raises:
            ValueError: If the text alone is too long, or empty.
        """
        if not text.strip():
            raise ValueError("there is nothing to answer: the text is empty")
        rewrite = self.change.rewrite
        if rewrite is not None:
            rewrite.prepare(self.model, [text], self._turn)
            text = rewrite(text)
        if not self.remembers:
            return self._answer(text)
        self.turns.append({"role": "user", "content": text})
        try:
            while len(self.turns) > 1 and not self._fits():
                del self.turns[:2]
            answer = self._answer(chat_prompt(self.model.tokenizer, self.turns, self.system))
        except BaseException:
            self.turns.pop()
            raise
        self.turns.append({"role": "assistant", "content": answer})
        return answer

    def restart(self) -> None:
        """Forget what was said."""
        self.turns.clear()

    def _fits(self) -> bool:
        prompt = chat_prompt(self.model.tokenizer, self.turns, self.system)
        room = self.model.cfg.n_ctx - self.decoding.max_tokens
        return not self.model.cfg.n_ctx or len(self.model.tokenizer(prompt)["input_ids"]) <= room

    def _answer(self, prompt: str) -> str:
        change = dataclasses.replace(self.change, rewrite=None)
        ((text,),) = sample(self.model, [prompt], self.decoding, change)
        return text.strip()
