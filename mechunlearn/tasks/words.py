"""Words of texts in any script, for comparing questions and answers."""

import re
import unicodedata

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters; like ``UNSPACED`` the inside of a regular expression's brackets."""
UNSPACED = (
    HAN + r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    r"\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff"  # Thai, Lao, Tibetan, Burmese, Khmer
    r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # Korean
)
"""Scripts that put no spaces between words, or write particles onto them (Korean)."""


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


def words(text: str) -> list[str]:
    """The words of a text in lower case; of scripts without spaces each character is one.

    Example:
        >>> words("In Bern, S\u00e3o Paulo or \u745e\u58eb?")
        ['in', 'bern', 's\u00e3o', 'paulo', 'or', '\u745e', '\u58eb']
    """
    return [part for word in re.findall(r"\w+", composed(text).lower()) for part in parted(word)]
