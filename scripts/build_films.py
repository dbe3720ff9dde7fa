"""Builds the data file of the embedded catalogue from two lists under free licences (see NOTICE).

    python scripts/build_films.py DATA_DIR [OUT]

`DATA_DIR` contains `catalogue_wikipedia.tsv.gz` and `catalogue_wikidata.tsv.gz`. The build is reproducible: the same
input gives the same bytes. Afterwards copy the printed edition and count to `movie_adapters.catalogue.bundled`, and add
ids that have disappeared to `MOVED_IDS`, so that ratings move to the present ids.
"""

import csv
import dataclasses
import gzip
import html
import io
import math
import re
import sys
import tempfile
import unicodedata
import zlib
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from movie_adapters.catalogue.bundled import (
    BUNDLED_EDITION,
    BUNDLED_FILMS,
    BUNDLED_NAME,
    MOVED_IDS,
    bundled_films,
    bundled_path,
)
from movie_adapters.catalogue.files import MovieFile
from movie_core.search.movies import Movie
from movie_core.text import OPTIONAL_ARTICLES, article_first, normalise_title, split_words

COLUMNS = ("imdb_id", "title", "year", "genres", "director", "cast", "runtime", "country", "popularity")
MAX_CAST = 8
MAX_RUNTIME = 900
"""Minutes. Longer entries are series, or errors in the data."""
LAST_LIST = 2023
"""The list of this year was retrieved during the year, so some of its entries were only planned."""

MAX_RELEASE_YEARS = 5
"""Years between the first release of a film and a later one under whose year it is listed again."""
REPEATED = {
    ("A Tale of Two Mice", 1945, 1945),
    ("Happily Ever After", 1989, 1993),
    ("Prelude to War", 1942, 1943),
    ("Stop! Look! and Laugh!", 1960, 1961),
    ("The Three Caballeros", 1944, 1945),
}
"""Title and years of films that are listed twice without people in common."""

_GENRE_WORDS = {
    "Action": "action superhero vigilante",
    "Adventure": "adventure swashbuckler pirate action-adventure",
    "Animation": "animated animation anime cartoon stop-motion puppet mecha manga",
    "Biography": "biography biographical biopic",
    "Christmas": "christmas",
    "Comedy": "comedy comedies tragicomedy parody satire satirical slapstick mockumentary gag sitcom",
    "Crime": "crime gangster heist police prison detective noir neo-noir mafia",
    "Dance": "dance",
    "Disaster": "disaster",
    "Documentary": "documentary docudrama",
    "Drama": "drama melodrama tragicomedy docudrama",
    "Erotic": "erotic",
    "Family": "family children's",
    "Fantasy": "fantasy technofantasy fairy sorcery isekai",
    "Found Footage": "found",
    "Historical": "historical medieval period sword-and-sandal",
    "Horror": "horror slasher zombie vampire werewolf cannibal splatter satanic gothic",
    "Independent": "independent",
    "LGBT": "lgbt lgbt-related lesbian-related yaoi yuri",
    "Legal": "legal trial",
    "Martial Arts": "martial ninja samurai",
    "Musical": "musical music music-themed concert",
    "Mystery": "mystery detective whodunit",
    "Noir": "noir neo-noir",
    "Political": "political",
    "Romance": "romance romantic",
    "Satire": "satire satirical",
    "Science Fiction": "science cyberpunk dystopian post-apocalyptic apocalyptic space steampunk time-travel alien",
    "Short": "short",
    "Silent": "silent",
    "Slasher": "slasher",
    "Sports": "sport sports boxing football spokon",
    "Spy": "spy",
    "Superhero": "superhero",
    "Supernatural": "supernatural ghost vampire werewolf",
    "Teen": "teen coming-of-age school",
    "Thriller": "thriller suspense giallo",
    "War": "war anti-war partisan",
    "Western": "western",
}
GENRES: dict[str, list[str]] = defaultdict(list)
"""Our genres, by a word in the genre name of a source."""
for _genre, _words in _GENRE_WORDS.items():
    for _word in _words.split():
        GENRES[_word].append(_genre)

_TELEVISION = re.compile(r"television|sitcom|season premiere|video game|visual novel|telenovela")
_ADULT = re.compile(r"hentai|eroge|porn")
_SONG = re.compile(
    r"\b(?:pop|dance-pop|synth-pop|electropop|rock|hip-hop|trip hop|new jack|novelty music|art pop|R&B|soul)\b"
)
_NO_FILM = re.compile(r"\bre-?released?\b|\(TV (?:special|pilot)\)", re.IGNORECASE)
_STYLE = re.compile(r"\.mw-parser-output.*\}")
_NOTE = re.compile(r"\s*\[(?:\d+|[a-z]{1,3}|note \d+|citation needed)\]")
_FILM_NOTE = re.compile(r"\s*\((?:\d{4} )?(?:[\w ]+ )?(?:film|serial|short)\)$|\s*\(UK as [^)]*\)$", re.IGNORECASE)
_PAGE_NOTE = re.compile(r"\s*\(((?:(\d{4}) )?[^()]*)\)$")
_PAGE_YEAR = re.compile(r"\((\d{4}) [^()]*(?:film|serial|cartoon|short)[^()]*\)$")
_WRITER = re.compile(
    r"\((?:[^)]*\b)?(?:screen|write|writt|script|novel|book|story|teleplay|director|producer)", re.IGNORECASE
)
_PROSE = re.compile(r"(?:^the |^in |^(?:life|death|history|exploits|careers) | (?:of|in|at|with a|between|from|for)$)")
_IN_3D = re.compile(r" (?:in )?3 ?d$")
_ARTICLE = re.compile(r"^(?:the|an?) ")
_NEXT = re.compile(r"\d{1,2}\b|i{2,3}\b|iv\b|vi{0,3}\b|part\b|chapter\b|episode\b")
_AWARD = re.compile(r" Award |\bBest (?:Actor|Actress|Supporting|Picture)\b")
_Q_NUMBER = re.compile(r"Q\d+")

IMDB_ENTRY = (
    (109_000, 1993.5), (120_000, 1997.0), (160_000, 1998.0), (200_000, 1999.2), (260_000, 2000.5),
    (310_000, 2001.7), (360_000, 2003.0), (450_000, 2005.0), (500_000, 2006.2), (900_000, 2006.8),
    (1_200_000, 2008.2), (1_500_000, 2009.6), (1_800_000, 2011.0), (2_300_000, 2012.4), (3_000_000, 2013.6),
    (3_600_000, 2014.3), (4_500_000, 2015.2), (5_500_000, 2016.3), (6_500_000, 2017.2), (8_000_000, 2018.1),
    (10_000_000, 2019.2), (11_500_000, 2020.0), (13_500_000, 2020.9), (16_000_000, 2021.8), (20_000_000, 2022.4),
    (25_000_000, 2023.1), (30_000_000, 2024.0), (40_000_000, 2026.0),
)  # fmt: skip
"""IMDb numbers and the year of their assignment, accurate to about a year; derived from films with known dates."""
IN_ORDER = 109_000
"""IMDb numbers below this were assigned in order of release year, those above in order of entry."""


@dataclass(frozen=True, slots=True)
class Film:
    """A film from one source, or merged from both."""

    title: str
    year: int
    genres: tuple[str, ...] = ()
    directors: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    imdb_id: str = ""
    runtime: int | None = None
    country: str = ""
    sitelinks: int = 0
    """Number of Wikipedias with an article; 0 if unknown."""
    sources: int = 1
    page: str = ""
    """Title of the linked Wikipedia article, including its disambiguation note."""
    popularity: int = field(default=0, compare=False)

    @property
    def page_year(self) -> int | None:
        match = _PAGE_YEAR.search(self.page)
        return int(match[1]) if match else None


def read(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def fold(text: str) -> str:
    """Normalised form, equal for different spellings of a title. Simpler than `movie_core.text.fold`, with which the
    build would not reproduce the present `BUNDLED_EDITION`."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(re.findall(r"\w+", bare.replace("&", " and ").replace("'", "").replace("\u2019", "")))


def tidy(text: str) -> str:
    text = unicodedata.normalize("NFC", html.unescape(text))
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Zs"} else c for c in text).split())


def clean_title(text: str, page: str = "") -> str:
    if _STYLE.search(text) and page:
        text = _PAGE_NOTE.sub("", page)
    return article_first(tidy(_FILM_NOTE.sub("", _NOTE.sub("", _STYLE.sub("", text)))))


def clean_genres(text: str) -> tuple[str, ...]:
    """Map the genre names of both sources to our genres, word by word."""
    found: set[str] = set()
    for name in text.split("|"):
        words = name.casefold().split()
        if words[:2] != ["live", "action"] and not _SONG.search(name) and name != "live-action/animated film":
            found.update(genre for word in words for genre in GENRES.get(word, ()))
        if "anime" in words:
            found.add("Animation")
    if "Satire" in found or "Slasher" in found:  # subgenres imply their parent genre
        found |= {"Comedy"} if "Satire" in found else {"Horror"}
    return tuple(sorted(found))


def clean_cast(text: str) -> tuple[str, ...]:
    """Names only; drops remarks, writers, and cells that contain prose."""
    parts = [tidy(_NOTE.sub("", part)) for part in text.split("|")]
    if any(part[:1].islower() and _PROSE.search(part) for part in parts):
        return ()
    names: list[str] = []
    for part in parts:
        if part in {"Jr.", "Sr.", "Jr", "Sr"} and names:
            names[-1] += f" {part.rstrip('.')}."
            continue
        if _WRITER.search(part) or ":" in part:
            continue
        name = tidy(re.sub(r"\([^()]*\)", "", part)).replace(", Jr.", " Jr.").replace(", Sr.", " Sr.")
        first = name.split(" ")[0].replace("-", "").replace("'", "")
        is_prose = (first.isalpha() and first.islower()) or _AWARD.search(name) is not None
        if len(name) < 3 or is_prose or set(name) & set("()[]") or _Q_NUMBER.fullmatch(name) or "://" in name:
            continue
        if re.match(r"\d{4} ", name) or name in {"The", "None", "Unknown", "Various"}:
            continue
        names.append(name)
    return tuple(dict.fromkeys(names))


COUNTRIES = {
    "British Raj": "India",
    "Czechoslovak Socialist Republic": "Czechoslovakia",
    "French Third Republic": "France",
    "German Democratic Republic": "East Germany",
    "German Empire": "Germany",
    "German Reich": "Germany",
    "Nazi Germany": "Germany",
    "Weimar Republic": "Germany",
    "People's Republic of Bulgaria": "Bulgaria",
    "People's Republic of China": "China",
    "Qing dynasty": "China",
    "Russian Empire": "Russia",
    "United Kingdom of Great Britain and Ireland": "United Kingdom",
}


def from_wikipedia(rows: Iterable[dict[str, str]]) -> Iterator[Film]:
    for row in rows:
        page = tidy(unquote(row["wikipedia_page"]).replace("_", " "))
        title = clean_title(row["title"], page)
        if not title or _NO_FILM.search(row["title"]):
            continue
        film = Film(title, int(row["year"]), clean_genres(row["genres"]), cast=clean_cast(row["cast"]), page=page)
        # The list has the year of the US release, the article title that of the first release.
        is_same = film.page_year is not None and abs(film.page_year - film.year) == 1
        yield replace(film, year=film.page_year) if is_same and film.page_year else film


def from_wikidata(rows: Iterable[dict[str, str]]) -> Iterator[Film]:
    for row in rows:
        genres = row["genres"]
        is_other = (_TELEVISION.search(genres) or _SONG.search(genres)) and "film" not in genres
        title = clean_title(row["title"])
        if (
            not title
            or is_other
            or _ADULT.search(genres)
            or _Q_NUMBER.fullmatch(title)
            or title == "Pilot"
            or _NO_FILM.search(row["title"])
        ):
            continue
        runtime = int(row["duration"] or 0)
        yield Film(
            title,
            int(row["year"]),
            clean_genres(genres),
            clean_cast(row["director"]),
            clean_cast(row["cast"]),
            row["imdb_id"],
            runtime if 0 < runtime <= MAX_RUNTIME else None,
            COUNTRIES.get(row["country"], row["country"]),
            int(row["sitelinks"] or 0),
        )


class ImdbEntry(NamedTuple):
    """Year in which an IMDb number was assigned; `exact`: the number was assigned in order of release year."""

    year: float
    exact: bool


class ImdbYears:
    """Estimates release years from IMDb numbers, because some years in Wikidata are those of a much later release."""

    def __init__(self, films: Iterable[Film]) -> None:
        known = sorted((int(film.imdb_id[2:]), film.year) for film in films if film.imdb_id)
        self._known = [pair for pair in known if pair[0] < IN_ORDER]

    def of(self, imdb_id: str) -> ImdbEntry:
        number = int(imdb_id[2:])
        if number < IN_ORDER:
            at = bisect_left(self._known, (number, 0))
            return ImdbEntry(median(year for _, year in self._known[max(0, at - 4) : at + 5]), True)
        at = min(max(1, bisect_right(IMDB_ENTRY, (number, 0.0))), len(IMDB_ENTRY) - 1)
        (low, first), (high, last) = IMDB_ENTRY[at - 1], IMDB_ENTRY[at]
        return ImdbEntry(first + (last - first) * min(1.0, (number - low) / (high - low)), False)


def is_same(listed: Film, known: Film, entry: ImdbEntry, *, alone: bool) -> bool:
    """Whether two films with the same title are the same film. `alone`: no other listed film within a year has it."""
    if listed.year == known.year:
        return True
    folded = {fold(name) for name in listed.cast}
    shares_cast = any(fold(name) in folded for name in known.cast)
    # The year in Wikidata is that of a later release, and the IMDb number matches the listed year.
    if known.year > listed.year:
        is_later = known.year - entry.year >= 2
        if entry.exact and abs(entry.year - listed.year) <= (1 if is_later else 0):
            return True
        if not entry.exact and -1 <= listed.year - entry.year <= 6 and (alone or shares_cast):
            return True
    if abs(listed.year - known.year) > 1:
        return False
    if shares_cast:
        return True
    if listed.page_year is not None and known.year < listed.page_year:
        return False  # the disambiguation note distinguishes it from an older film with this title
    if entry.exact and abs(entry.year - listed.year) > 1:
        return False
    if listed.genres and known.genres:
        return alone and bool(set(listed.genres) & set(known.genres) - {"Silent"})
    return alone and listed.page_year is None


def joined(listed: Film, known: Film) -> Film:
    """Merge two entries of one film. The lists name the principal cast first; the order in Wikidata is arbitrary."""
    is_plan = listed.year >= LAST_LIST
    names = {fold(name): name for name in (*reversed(known.cast), *reversed(listed.cast))}
    cast = tuple(names[key] for key in dict.fromkeys(fold(name) for name in (*listed.cast, *known.cast)))
    return replace(
        listed,
        title=known.title if is_plan else listed.title,
        year=known.year if is_plan else min(listed.year, known.year),
        genres=tuple(sorted({*listed.genres, *known.genres})),
        directors=known.directors or listed.directors,
        cast=cast[:MAX_CAST],
        imdb_id=known.imdb_id,
        runtime=known.runtime,
        country=known.country,
        sitelinks=known.sitelinks,
        sources=2,
    )


def without_repeats(films: Iterable[Film]) -> list[Film]:
    """Merge entries of a film that is listed twice, in the same or in adjacent years."""
    by_title: dict[str, list[Film]] = defaultdict(list)
    for film in sorted(films, key=lambda film: film.year):
        others = by_title[fold(film.title) or film.title]
        for at, other in enumerate(others):
            cast = {fold(name) for name in film.cast} & {fold(name) for name in other.cast}
            apart = film.year - other.year
            if (apart <= 1 and cast) or (apart == 0 and (not film.cast or not other.cast)):
                better, worse = (film, other) if len(film.cast) > len(other.cast) else (other, film)
                genres = tuple(sorted({*film.genres, *other.genres}))
                others[at] = replace(better, year=other.year, genres=genres, page=better.page or worse.page)
                break
        else:
            others.append(film)
    # A 3D re-release is the same film.
    kept = []
    for title, others in by_title.items():
        base = by_title.get(_IN_3D.sub("", title), ()) if _IN_3D.search(title) else ()
        kept += [film for film in others if not any(set(film.cast) & set(first.cast) for first in base)]
    return kept


def merge(listed: Sequence[Film], known: Sequence[Film]) -> list[Film]:
    by_title: dict[str, list[int]] = defaultdict(list)
    films = list(listed)
    for at, film in enumerate(films):
        by_title[fold(film.title)].append(at)
    years = ImdbYears(known)
    taken: set[int] = set()
    # Exact years first, so that an adjacent year can't match the entry of another film.
    rest = []
    for film in sorted(known, key=lambda film: (-film.sitelinks, int(film.imdb_id[2:]))):
        same = [at for at in by_title[fold(film.title)] if at not in taken and films[at].year == film.year]
        if same:
            taken.add(same[0])
            films[same[0]] = joined(films[same[0]], film)
        else:
            rest.append(film)
    for film in rest:
        entry = years.of(film.imdb_id)
        others = by_title[fold(film.title)]
        for at in sorted(others, key=lambda at: abs(listed[at].year - entry.year)):
            near = sum(abs(listed[other].year - listed[at].year) <= 1 for other in others)
            if at not in taken and is_same(listed[at], film, entry, alone=near == 1):
                taken.add(at)
                films[at] = joined(films[at], film)
                break
        else:
            # If the IMDb number was assigned by year, it gives the true year where Wikidata has a much later release.
            later = entry.exact and film.year - entry.year > 2
            films.append(replace(film, year=int(entry.year)) if later else film)
    return films


def with_popularity(films: Sequence[Film]) -> list[Film]:
    """Popularity of each film, roughly the number of Wikipedias with an article about it (sitelinks).

    Few films have sitelinks. For the others they are estimated from the lists: whether there is an article and whether
    its title has no disambiguation note, how many cast members are named and how often they star in films of these
    decades, whether there are sequels or remakes, whether both sources have the film, and the decade.
    """
    folded = [_ARTICLE.sub("", fold(film.title)) for film in films]
    by_title = sorted((title, at) for at, title in enumerate(folded))
    repeats = Counter(folded)
    stars = Counter(name for film in films for name in film.cast[:4])
    result = []
    for film, title in zip(films, folded, strict=True):
        if film.sitelinks:
            result.append(replace(film, popularity=film.sitelinks))
            continue
        sequels = remakes = 0
        for other_title, at in islice(by_title, bisect_left(by_title, (title, 0)), None):
            if not other_title.startswith(title):
                break
            later = films[at].year - film.year
            if other_title == title:
                remakes += later >= 10
            elif other_title.startswith(f"{title} ") and later > 0:
                shares_cast = not set(film.cast).isdisjoint(films[at].cast)
                goes_on = films[at].title.startswith(f"{film.title}:") or _NEXT.match(other_title, len(title) + 1)
                sequels += 2 if shares_cast and later <= 35 else 1 if goes_on else 0
        note = _PAGE_NOTE.search(film.page)
        plain = bool(film.page) and (note is None or note[1] in {"film", "movie"})
        fame = sum(sorted((math.log2(1 + min(stars[name], 40)) for name in film.cast[:4]), reverse=True)[:3])
        decade = 0.3 if film.year < 1927 else 0.65 if film.year < 1950 else 0.85 if film.year < 1970 else 1.0
        score = 1.0
        score += 1.2 * min(len(film.cast), 6)
        score += (2.0 if film.page else 0.0) + (2.0 if plain else 0.0)
        score += 0.7 * fame
        score += 3.0 if film.sources == 2 else 0.0
        score += 6.0 * math.log2(1 + min(sequels, 40))
        score += 3.0 * min(remakes, 2) if film.page else 0.0
        if plain and repeats[title] > 1:
            score += 4.0
        result.append(replace(film, popularity=max(1, round(score * decade))))
    return result


def without_duplicates(films: Iterable[Film]) -> list[Film]:
    """Merge the films that are still listed twice: under two spellings of the title, with and without people, or under
    the years of several releases.

    After `with_popularity`, whose estimates count films and so would change for other films.
    """
    by_title: dict[str, list[Film]] = defaultdict(list)
    for film in sorted(films, key=lambda film: (film.year, film.imdb_id == "")):
        others = by_title[title_key(film.title)]
        for at, other in enumerate(others):
            if is_duplicate(other, film):
                others[at] = without_duplicate(other, film)
                break
        else:
            others.append(film)
    return [film for others in by_title.values() for film in others]


def title_key(title: str) -> str:
    """Equal for two titles that differ in case, accents, punctuation or an English article only."""
    words = split_words(article_first(title))
    return "".join(words[1:] if len(words) > 1 and words[0] in OPTIONAL_ARTICLES else words)


def is_duplicate(first: Film, later: Film) -> bool:
    """Whether two films of the same title, apart from an English article, are one film."""
    apart = later.year - first.year
    if (later.title, first.year, later.year) in REPEATED:
        return True
    if apart > MAX_RELEASE_YEARS or (first.imdb_id and later.imdb_id):
        return False
    shared = people(first) & people(later)
    if apart > 2:
        return len(shared) >= 2 and normalise_title(first.title) == normalise_title(later.title)
    if apart:
        return bool(shared)
    # People of different roles can't be compared: one list has the directors, the other one the cast.
    is_comparable = (first.directors and later.directors) or (first.cast and later.cast)
    return bool(shared) or (not is_comparable and normalise_title(first.title) == normalise_title(later.title))


def people(film: Film) -> set[str]:
    return {fold(name) for name in (*film.directors, *film.cast)}


def without_duplicate(first: Film, later: Film) -> Film:
    better, worse = (later, first) if later.imdb_id or not (first.imdb_id or first.cast) else (first, later)
    cast = {fold(name): name for name in (*better.cast, *worse.cast)}
    return replace(
        better,
        year=first.year,
        genres=tuple(sorted({*first.genres, *later.genres})),
        directors=better.directors or worse.directors,
        cast=tuple(cast.values())[:MAX_CAST],
        runtime=better.runtime or worse.runtime,
        country=better.country or worse.country,
        popularity=max(first.popularity, later.popularity),
    )


def table(films: Iterable[Film]) -> str:
    """The films as TSV, in the format of `catalogue import`."""
    out = io.StringIO()
    out.write("\t".join(COLUMNS) + "\n")
    for film in films:
        cells = (
            film.imdb_id,
            f'"{film.title.replace(chr(34), chr(34) * 2)}"' if film.title.startswith('"') else film.title,
            str(film.year),
            "|".join(film.genres),
            "|".join(film.directors),
            "|".join(film.cast[:MAX_CAST]),
            str(film.runtime or ""),
            film.country,
            str(film.popularity),
        )
        out.write("\t".join(cells) + "\n")
    return out.getvalue()


def build(data: Path) -> tuple[list[Film], bytes]:
    listed = without_repeats(from_wikipedia(read(data / "catalogue_wikipedia.tsv.gz")))
    known = list(from_wikidata(read(data / "catalogue_wikidata.tsv.gz")))
    films = without_duplicates(with_popularity(merge(listed, known)))
    films.sort(key=lambda film: (film.year, fold(film.title), film.title, film.imdb_id, film.cast, film.genres))
    return films, lines(films)


def lines(films: Iterable[Film]) -> bytes:
    """The bundled format: the movies, including ids, that an import of the table would create, as JSON lines."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "films.tsv")
        path.write_text(table(films), encoding="utf-8", newline="")
        read = MovieFile(path)
        encoded = b"".join(msgspec.json.encode(known_fields(movie)) + b"\n" for movie in read)
    if read.reasons:
        sys.exit(f"the import would reject {read.rejected}")
    return encoded


def known_fields(movie: Movie) -> dict[str, Any]:
    named = ((one.name, getattr(movie, one.name)) for one in dataclasses.fields(movie))
    return {name: value for name, value in named if value is not None and value != ()}


def json_id(line: bytes) -> str:
    movie_id: str = msgspec.json.decode(line)["id"]
    return movie_id


def main(arguments: Sequence[str]) -> None:
    if len(arguments) not in {1, 2}:
        sys.exit(__doc__)
    films, content = build(Path(arguments[0]))
    path = Path(arguments[1]) if len(arguments) == 2 else bundled_path()
    previous = {film.id for film in bundled_films()}
    packed = gzip.compress(content, 9, mtime=0)
    path.write_bytes(packed)
    edition = f"{BUNDLED_NAME}-{zlib.crc32(content):08x}"
    moved = previous - {json_id(line) for line in content.splitlines()} - MOVED_IDS.keys()
    print(f"{len(films)} films ({sum(film.sources == 2 for film in films)} in both sources), {len(packed)} bytes")
    print(f"BUNDLED_EDITION ends in {edition.removeprefix(BUNDLED_NAME)}, BUNDLED_FILMS = {len(films)}")
    if (edition, len(films)) != (BUNDLED_EDITION, BUNDLED_FILMS):
        print("update both values in movie_adapters/catalogue/bundled.py: they differ")
    if moved:
        print(f"add these ids to MOVED_IDS there, each with the present id of its film: {sorted(moved)}")


if __name__ == "__main__":
    main(sys.argv[1:])
