"""The bundled films: JSON lines whose keys are the fields of `Movie`, built by `scripts/build_films.py`."""

import gzip
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import msgspec

from movie_core.search.movies import Movie

BUNDLED_NAME = "bundled-films"
BUNDLED_EDITION = f"{BUNDLED_NAME}-3c2d5040"
"""Name, and CRC-32 of the uncompressed file; printed by `scripts/build_films.py`."""
BUNDLED_FILMS = 40_077
"""Number of bundled films."""

MOVED_IDS: Mapping[str, str] = MappingProxyType(
    {
        "a-slipping-down-life-2004-lili-taylor": "a-slipping-down-life-1999-lili-taylor",
        "a-tale-of-two-mice-1945": "tt0038148",
        "article-47-l-1913-william-garwood": "larticle-47-1913-william-garwood",
        "bang-1997-darling-narita": "bang-1995-darling-narita",
        "cannibal-the-musical-1996-trey-parker": "cannibal-the-musical-1993-trey-parker",
        "circle-of-power-1983-yvette-mimieux": "circle-of-power-1981-yvette-mimieux",
        "darkness-2004-anna-paquin": "darkness-2002-anna-paquin",
        "falcon-and-the-snowman-the-1985-timothy-hutton": "the-falcon-and-the-snowman-1985-timothy-hutton",
        "finding-ohana-c5d593ce-2021-kea-peahu": "tt10332588",
        "goonies-the-1985-sean-astin": "tt0089218",
        "happily-ever-after-1993-irene-cara": "happily-ever-after-1989-irene-cara",
        "last-dragon-the-1985-taimak": "the-last-dragon-1985-taimak",
        "law-of-the-sea-1932-william-farnum": "the-law-of-the-sea-1931-william-farnum",
        "northeast-of-seoul-1974-anita-ekberg": "northeast-of-seoul-1972-anita-ekberg",
        "norwegian-wood-2012-kenichi-matsuyama": "norwegian-wood-2010-kenichi-matsuyama",
        "prelude-to-war-1943": "prelude-to-war-1942",
        "protector-the-1985-jackie-chan": "the-protector-1985-jackie-chan",
        "st-trinians-2009-rupert-everett": "st-trinians-2007-rupert-everett",
        "stop-look-and-laugh-1960": "stop-look-and-laugh-1960-the-three-stooges",
        "stop-look-and-laugh-1961-the-three-stooges": "stop-look-and-laugh-1960-the-three-stooges",
        "the-lone-ranger-1940-lee-powell": "tt0030382",
        "the-love-thief-1928-norman-kerry": "the-love-thief-1926-norman-kerry",
        "the-other-woman-2011-natalie-portman": "the-other-woman-2009-natalie-portman",
        "the-three-caballeros-1945": "the-three-caballeros-1944-aurora-miranda",
        "walking-the-edge-1985-robert-forster": "walking-the-edge-1983-robert-forster",
        "wonderful-trick-donkey-the-1901": "the-wonderful-trick-donkey-1901",
        "yacht-race-fleet-following-the-committee-boat-navigator-oct-1901": (
            "the-yacht-race-fleet-following-the-committee-boat-navigator-1901"
        ),
    }
)
"""Ids of earlier editions, and the present id of the same film, to which ratings move."""


def bundled_path() -> Path:
    """The file of the bundled films; `movie_adapters.catalogue.files.MovieFile` can read it too."""
    return Path(str(files("movie_adapters.catalogue") / "films.jsonl.gz"))


def bundled_films() -> Iterator[Movie]:
    """The bundled films, `BUNDLED_FILMS` of them, always in the same order."""
    decode = msgspec.json.Decoder(Movie).decode  # takes half the time of `MovieFile`, which validates its input
    yield from map(decode, gzip.decompress(bundled_path().read_bytes()).splitlines())
