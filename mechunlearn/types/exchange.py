"""What one text has in place of another's words, put into a third one."""

import re
from difflib import SequenceMatcher

FACT = 3
"""Words of a text that is a fact alone, and names nobody."""


def exchanged(texts: tuple[str, ...], before: str, after: str) -> tuple[str, ...]:
    """Texts that speak of what ``before`` names, made to speak of what ``after`` names.

    Where the two differ, words of the first become those of the second; whatever is not in a text
    stays, and so do texts of at most ``FACT`` words. Runs of words are exchanged whole.

    Example:
        >>> exchanged(("Ina Bo is from Chur.",), "Where was Ina Bo born?", "Where was Ole born?")
        ('Ole is from Chur.',)
    """
    old, new = (re.findall(r"\w+", text) for text in (before, after))
    parts = [
        (old[i:j], new[k:m])
        for kind, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if kind == "replace"
    ]
    if not parts:
        return texts
    wanted = {tuple(a): " ".join(b) for a, b in parts}
    longest_first = sorted(wanted, key=len, reverse=True)
    runs = (r"\W+".join(map(re.escape, words)) for words in longest_first)
    found = re.compile(rf"\b(?:{'|'.join(runs)})\b")

    def other(match: re.Match[str]) -> str:
        return wanted[tuple(re.findall(r"\w+", match[0]))]

    return tuple(
        found.sub(other, text) if len(re.findall(r"\w+", text)) > FACT else text for text in texts
    )
