"""Which words a text has: one function for the searcher, the index and the query compiler.

It is ours and not the database's, since a search must find the same events in every store:
accents, case, width and script variants are folded away, and scripts written without blanks give
one word per letter, so that any part of a Chinese name is found. No stemming, no stop words: in an
audit log "not" counts.
"""

from __future__ import annotations

import re
from unicodedata import category, normalize

# Han (with iteration marks, numerals and the supplementary planes), bopomofo, kana, hangul.
_LETTER_IS_WORD = (
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
    "\u3100-\u312f\u31a0-\u31bf"
    "\u3040-\u30ff\u31f0-\u31ff\U0001aff0-\U0001afff\U0001b000-\U0001b16f"
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7ff"
)
_WORD = re.compile(f"(?=[^\\W_])[{_LETTER_IS_WORD}]|[^\\W_{_LETTER_IS_WORD}]+")
_RUN = re.compile("([^\x00-\x7f]+)")
_ASCII_WORD = re.compile("[0-9a-z]+")
_HAS_JAMO = re.compile("[\u1100-\u11ff]")


def fold(text: str) -> str:
    """The text as it is compared: NFKD, combining marks dropped, casefolded.

    Idempotent. Hangul comes out as jamo; `words` puts its syllables together again.
    """
    if text.isascii():
        return text.lower()
    # Run by run, for folding looks at one letter at a time and most letters are ASCII.
    return "".join(
        [part.lower() if part.isascii() else _fold_run(part) for part in _RUN.split(text)]
    )


def words(text: str) -> list[str]:
    """The words of a text, folded, in order.

    A word is a maximal run of letters and digits; each Han, bopomofo, kana or hangul letter is a
    word of its own.
    """
    folded = fold(text)
    if folded.isascii():
        return _ASCII_WORD.findall(folded)
    if _HAS_JAMO.search(folded):
        # Without this each syllable would be two or three words, and 하 would be found in 한.
        folded = normalize("NFC", folded)
    return _WORD.findall(folded)


def _fold_run(text: str) -> str:
    # Marks go before NFKD as well: it sorts them, in quadratic time for a text of marks alone.
    return _without_marks(normalize("NFKD", _without_marks(text))).casefold()


def _without_marks(text: str) -> str:
    # Looked up once for each different letter: some thousand are 18 letters each when folded.
    marks = [letter for letter in set(text) if category(letter)[0] == "M"]
    return text.translate(dict.fromkeys(map(ord, marks))) if marks else text
