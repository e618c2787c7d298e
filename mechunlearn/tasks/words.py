"""Words of texts in any script, for comparing questions and answers."""

import re
import unicodedata

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters; like the others the inside of a regular expression's brackets."""
KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"
ABUGIDAS = r"\u0e00-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Burmese, Khmer: letters with signs, and no spaces between words."""
ALONE = HAN + r"\u3005-\u3007"
"""Characters that are about a word each: the Chinese ones and their iteration marks."""
UNSPACED = ALONE + KANA + ABUGIDAS + HANGUL
"""Scripts that put no spaces between words, or write particles onto them (Korean)."""
TOGETHER = 2
"""Letters in a row that stand for a word where none are written apart; one letter says nothing."""

_SIGNS = "".join(
    chr(code)
    for code in range(0x300, 0x1F000)
    if unicodedata.category(chr(code))[0] == "M"
    and not 0x20D0 <= code <= 0x20FF  # Around symbols.
    and not 0xFE00 <= code <= 0xFE0F  # Which of two forms to draw.
)
"""Vowels, tones and accents that Unicode keeps apart from their letter."""
_WORD = re.compile(rf"\w[\w{_SIGNS}]*")
_LETTER = re.compile(rf"\w[{_SIGNS}]*")
_PIECE = re.compile(
    rf"[{ALONE}]|[{KANA}]+|[{HANGUL}]+|[{ABUGIDAS}]+|[^{UNSPACED}{_SIGNS}][^{UNSPACED}]*"
)
_LETTERED = re.compile(f"[{KANA}{HANGUL}{ABUGIDAS}]")
_INVISIBLE = re.compile(rf"(?<=[{ABUGIDAS}])[\u200b\u2060]+(?=[{ABUGIDAS}])")
_GAP = re.compile(rf"(?<=[{KANA}{ABUGIDAS}])[\s\u200b\u2060]+(?=[{KANA}{ABUGIDAS}])")


def composed(text: str) -> str:
    """The text in Unicode's composed form: one sign for a letter with its accent.

    macOS and PDF files write two signs, models one.

    Example:
        >>> len("S\u0061\u0303o"), len(composed("S\u0061\u0303o"))
        (4, 3)
    """
    return unicodedata.normalize("NFC", text)


def parted(text: str, scripts: str = UNSPACED) -> list[str]:
    """Words of a normalised text, where each character of some scripts is a word.

    Args:
        scripts: ``HAN`` or ``UNSPACED``.

    Example:
        >>> parted("bern in \u745e\u58eb")
        ['bern', 'in', '\u745e', '\u58eb']
    """
    return re.findall(rf"[{scripts}]|[^\s{scripts}]+", text)


def characters(text: str) -> list[str]:
    """The words of a text in lower case; of ``UNSPACED`` scripts every character and every sign.

    For whether a text stands in another one: what containment finds, and nothing else.

    Example:
        >>> characters("In Bern, \u0e41\u0e21\u0e48")
        ['in', 'bern', '\u0e41', '\u0e21', '\u0e48']
    """
    return [part for word in _apart(text) for part in parted(word)]


def words(text: str, together: int = TOGETHER) -> list[str]:
    """The words of a text in lower case, for how much two texts have in common.

    A Chinese character is one. Kana, Hangul and the letters of Thai, Lao, Tibetan, Burmese and
    Khmer, each with its signs, are too few to say anything one by one: some in a row are one, at
    every letter anew.

    Args:
        together: So many letters in a row.

    Example:
        >>> words("In Bern, S\u00e3o Paulo or \u745e\u58eb?")
        ['in', 'bern', 's\u00e3o', 'paulo', 'or', '\u745e', '\u58eb']
        >>> words("\u30b9\u30a4\u30b9")
        ['\u30b9\u30a4', '\u30a4\u30b9']
    """
    found: list[str] = []
    for word in _apart(text):
        for piece in (word,) if word.isascii() else _PIECE.findall(word):
            if _LETTERED.match(piece):
                letters = _LETTER.findall(piece)
                starts = range(max(1, len(letters) - together + 1))
                found.extend("".join(letters[i : i + together]) for i in starts)
            else:
                found.append(piece)
    return found


def findable(text: str, together: int) -> frozenset[str]:
    """All that ``words`` may find in a part of a text: also fewer letters in a row.

    Spaces between letters of scripts that need none are passed over.

    Example:
        >>> sorted(findable("\u30b9\u30a4 \u30b9", 2))
        ['\u30a4', '\u30a4\u30b9', '\u30b9', '\u30b9\u30a4']
    """
    if not _LETTERED.search(text):
        return frozenset(words(text))
    whole = _GAP.sub("", text)
    return frozenset(word for n in range(1, together + 1) for word in words(whole, n))


def _apart(text: str) -> list[str]:
    """Letters and digits in a row, with their signs, in lower case."""
    return _WORD.findall(_INVISIBLE.sub("", composed(text).lower()))
