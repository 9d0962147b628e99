"""Words are the same for the searcher, the index and the compiler."""

from __future__ import annotations

import sys
import time
import unicodedata
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import NAMES
from whodid.query.words import fold, words

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = get_args(Form)
texts = st.one_of(st.text(), st.lists(st.sampled_from(NAMES)).map(" ".join))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" -…_/", []),
        ("Password reset", ["password", "reset"]),
        ("alice@example.com", ["alice", "example", "com"]),
        ("10.0.0.1", ["10", "0", "0", "1"]),
        ("snake_case-and.dots", ["snake", "case", "and", "dots"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Žana ÅNGSTRÖM İstanbul", ["zana", "angstrom", "istanbul"]),
        ("ΣΊΣΥΦΟΣ", ["σισυφοσ"]),
        ("ﬁne Ⅷ x² ½", ["fine", "viii", "x2", "1", "2"]),
        ("محمد عَلي", ["محمد", "علي"]),
        ("עִבְרִית", ["עברית"]),
        ("हिन्दी", ["हनद"]),
        ("nul\x00byte\ud800x", ["nul", "byte", "x"]),
        ("🙂ok", ["ok"]),
    ],
)
def test_words_are_runs_of_folded_letters_and_digits(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("東京都", ["東", "京", "都"]),
        ("さくらガ", ["さ", "く", "ら", "カ"]),
        ("ﾀﾅｶ ｶﾞ", ["タ", "ナ", "カ", "カ"]),
        ("한국 하", ["한", "국", "하"]),
        ("ㄅㄆ", ["ㄅ", "ㄆ"]),
        ("\U00020000\u3007", ["\U00020000", "\u3007"]),
        ("v2東京a", ["v2", "東", "京", "a"]),
        ("中・々、。", ["中", "々"]),
    ],
)
def test_each_cjk_letter_is_a_word(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_syllable_is_not_found_in_a_longer_one() -> None:
    assert words("하") != words("한")[:1]


@given(texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(texts, st.sampled_from(FORMS))
def test_words_do_not_depend_on_the_normal_form(text: str, form: Form) -> None:
    assert words(unicodedata.normalize(form, text)) == words(text)


@given(texts)
def test_words_are_the_same_in_any_case(text: str) -> None:
    assert words(text.casefold()) == words(text)


@given(texts)
def test_words_joined_by_blanks_have_the_same_words(text: str) -> None:
    # This is what an index stores.
    assert words(" ".join(words(text))) == words(text)


@given(texts)
def test_every_word_is_found_in_the_folded_text(text: str) -> None:
    # What lets a scan look for letters first.
    assert all(fold(word) in fold(text) for word in words(text))


@given(texts)
def test_words_hold_letters_and_digits_alone(text: str) -> None:
    assert all(letter.isalnum() for word in words(text) for letter in word)


def test_every_character_folds_and_splits_stably() -> None:
    assigned = (c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) != "Cn")
    for character in assigned:
        folded = fold(character)
        if folded != character and (fold(folded) != folded or words(folded) != words(character)):
            pytest.fail(f"U+{ord(character):04X} folds to {folded!r}, which folds further")


def test_a_text_of_marks_alone_takes_no_longer() -> None:
    # unicodedata sorts marks in quadratic time, which would be minutes for these.
    started = time.perf_counter()

    assert words("\u0315\u0300" * 200_000) == []

    assert time.perf_counter() - started < 5
