import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_adapters.security.password_strength import MAX_EXAMINED, ZxcvbnPasswordStrength
from movie_core.accounts.users import MIN_STRENGTH
from movie_core.testing import PasswordStrengthContract

ANY_TEXT = st.text(st.characters(codec=None))
MAX_CPU_SECONDS = 0.05
"""Upper bound of CPU time for any password."""

LOOK_ALIKE = "4a@a8b(c{c[c<c3e6g9g&g#g!i1i/i|i0o$s5s+t7t%s2z"
"""Each substitution next to its letter: the password of the security review that blocked the server."""
FOUND_BY_SEARCH = [
    "gag![1e/6|e0o$95<+b7(2{c",
    "<S![49@$y5s+17t(c6t0g!$|",
    "96!t1i4<|i$s5[+g7t%s2zzl@@(g",
    "96!t11i4<|i$s5[+g7%s2zCl@a(g",
    "@[c<c3b6g9!i1f/i||0o$T5s+47t%s2i",
    "[1sa7/02471dwal4I33q[(@C\xe90l76g9g",
    "$$|60t|i5le@974|$s|s|7$8",
    "I170045日65S1x17A17A17009001$2009",
    "i178i|i|111I_ra111f_118xT1111_11",
]
"""The slowest passwords that searches found, with only the length bounded and with the present bounds."""
COMMON = """
password asdfghjk bulldogs 01011980 sweetpea ghbdtnbr guardian kingston viktoria jamesbon skorpion 12131415 thegreat
dolphin1 elizaveta 50spanks concorde 02011984 01011900 pipeline marines1 02081980 vendetta 08081988 26031988 mandrake
nineinch 02021971 apollo11 123456789qwe playmate ronaldinho jurassic deathnote gizmodo1 skydiver bajingan undertow
businessbabe mackenzi 43046721 maurolarastefy cxfcnkbdfz golfclub dragon11 teamwork
"""
"""Every sixtieth of the 3,000 most common leaked passwords with at least 8 characters."""
PIECES = [
    *"4@8({[<369&#!1/|0$5+7%2",
    *"abcegiostlzxACEGIOST ",
    "password",
    "qwerty",
    "1987",
    "11/11/1987",
    "aaaa",
    "日",
]


class TestZxcvbnStrength(PasswordStrengthContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[ZxcvbnPasswordStrength]:
        yield ZxcvbnPasswordStrength()


def cpu_seconds(password: str, known: tuple[str, ...] = ()) -> float:
    strength = ZxcvbnPasswordStrength()
    durations = []
    for _ in range(3):
        began = time.thread_time()
        strength.score(password, known)
        durations.append(time.thread_time() - began)
    return min(durations)


def test_common_passwords_are_weak_and_a_few_uncommon_words_are_strong() -> None:
    for weak in (
        "password1",
        "iloveyou",
        "Passw0rd!",
        "qwertyuiop",
        "19841984",
        "letmein123",
        "11/05/1987",
        "p4$$w0rd",
    ):
        assert ZxcvbnPasswordStrength().score(weak, ()) < MIN_STRENGTH, weak
    for strong in ("violet harbour skates", "v!0l3t h4rb0ur $k@735", "8f4e2a9c1b7d6350"):
        assert ZxcvbnPasswordStrength().score(strong, ()) >= MIN_STRENGTH, strong


@pytest.mark.parametrize("password", COMMON.split())
def test_the_3000_most_common_passwords_are_weak(password: str) -> None:
    for spelling in (password, password.upper(), password.capitalize()):
        assert ZxcvbnPasswordStrength().score(spelling, ()) < MIN_STRENGTH


def test_only_the_first_characters_are_examined() -> None:
    start = "a" * MAX_EXAMINED
    assert (
        ZxcvbnPasswordStrength().score(start + "vB7#qLz0!mKd9@Tx", ())
        == ZxcvbnPasswordStrength().score(start, ())
        < MIN_STRENGTH
    )


@pytest.mark.parametrize("password", [LOOK_ALIKE, LOOK_ALIKE * 3, LOOK_ALIKE[::-1], *FOUND_BY_SEARCH])
def test_the_slowest_known_passwords_are_scored_within_the_time_limit(password: str) -> None:
    known = (f"{'4@8({[<' * 9}@{'.'.join(['1!|7'] * 40)}.example", LOOK_ALIKE, *["$5+%"] * 60)
    assert cpu_seconds(password) < MAX_CPU_SECONDS
    assert cpu_seconds(password, known) < MAX_CPU_SECONDS


def test_a_search_finds_no_password_beyond_the_time_limit() -> None:
    rng = random.Random(12)
    best = [(cpu_seconds(one), one) for one in FOUND_BY_SEARCH]
    for _ in range(150):
        _, one = rng.choice(best)
        _, other = rng.choice(best)
        cut = rng.randrange(MAX_EXAMINED)
        child = one[:cut] + rng.choice(PIECES) + other[cut:]
        best = sorted([*best, (cpu_seconds(child), child)], reverse=True)[:10]
    assert best[0][0] < MAX_CPU_SECONDS, best[0]


@given(ANY_TEXT, st.lists(ANY_TEXT, max_size=5))
def test_any_text_has_a_score(password: str, known: list[str]) -> None:
    assert ZxcvbnPasswordStrength().score(password, known) in range(5)
