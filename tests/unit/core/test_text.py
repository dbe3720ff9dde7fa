"""Normalisation of titles, articles and IMDb ids. Queries are tested in `search/test_movies.py`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from movie_core.text import (
    ARTICLES,
    MAX_SYMBOLS,
    article_first,
    external_id,
    fold,
    normalise_imdb_id,
    normalise_title,
    normalise_tmdb_id,
    split_words,
    split_years,
    title_spellings,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The Matrix", ["the", "matrix"]),
        ("ＡＬＩＥＮ ３", ["alien", "3"]),
        ("𝔸𝕝𝕚𝕖𝕟", ["alien"]),
        ("\ufb01re", ["fire"]),
        ("Amélie", ["amelie"]),
        ("Les Mise\u0301rables", ["les", "miserables"]),
        ("Ærøskøbing Łódź", ["aeroskobing", "lodz"]),
        ("Straße", ["strasse"]),
        ("İstanbul ısı", ["istanbul", "isi"]),
        ("ΟΔΥΣΣΕΥΣ", ["οδυσσευσ"]),
        ("Schindler\u2019s `List´", ["schindlers", "list"]),
        ("WALL·E", ["wall", "e"]),
        ("Spider-Man: No Way Home!", ["spider", "man", "no", "way", "home"]),
        ("snake_case", ["snake", "case"]),
        ("Fast & Furious", ["fast", "and", "furious"]),
        ("8½", ["8", "half"]),
        ("8 1/2", ["8", "half"]),
        ("11/2", ["11", "2"]),
        ("[Rec]³", ["rec", "3"]),
        ("20,000 Leagues", ["20000", "leagues"]),
        ("1,2,3", ["1", "2", "3"]),
        ("千と千尋の神隠し", ["千と千尋の神隠し"]),
        ("हिन्दी", ["हनद"]),
        ("x" * 130, ["x" * 60, "x" * 60, "x" * 10]),
        ("!?", ["_21_3f"]),
        ("? ! ", ["_3f_21"]),
        ("？！", ["_3f_21"]),
        ("…", ["_2e_2e_2e"]),
        (". . .", ["_2e_2e_2e"]),
        ("❤\ufe0f", ["_2764"]),
        ("\ufe0f", ["_fe0f"]),
        ("Kaua\u02bbi \u02bbO\u02bco", ["kauai", "oo"]),
        ("Spider\u2011Man", ["spider", "man"]),
        ("Ghost\u00adlight™", ["ghostlight"]),
        ("Hunter \N{MULTIPLICATION SIGN} Hunter", ["hunter", "x", "hunter"]),
        ("Lamp⁴", ["lamp", "4"]),
        ("¼ Mile", ["quarter", "mile"]),
        ("1/4 Mile", ["quarter", "mile"]),
        ("11/4", ["11", "4"]),
        ("می\u200cشود", ["میشود"]),
        ("علي", ["علی"]),
        ("", ["_"]),
        (" ", ["_"]),
    ],
)
def test_words_are_folded(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_a_title_of_symbols_is_bounded() -> None:
    assert split_words("!" * 1000) == ["_21" * MAX_SYMBOLS]


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The", "The Matrix"),
        ("American in Paris, An", "An American in Paris"),
        ("Strada, La", "La Strada"),
        ("Misérables,Les", "Les Misérables"),
        ("Avventura, L'", "L'Avventura"),
        ("Avventura, L\u2019", "L\u2019Avventura"),
        ("Postino, Il", "Il Postino"),
        ("Boot, Das", "Das Boot"),
        ("Andere Leben, EIN", "EIN Andere Leben"),
        ("Espíritu, El", "El Espíritu"),
        ("Quatrilho, O", "O Quatrilho"),
        ("Sjunde inseglet, Det", "Det Sjunde inseglet"),
        ("Aanslag, De", "De Aanslag"),
        ("Good, the Bad and the Ugly, The", "The Good, the Bad and the Ugly"),
        (" Heat ", "Heat"),
        ("The Matrix", "The Matrix"),
        ("Yes, Then", "Yes, Then"),
        (", The", ", The"),
        ("The", "The"),
        ("", ""),
    ],
)
def test_an_article_moves_from_the_end_to_the_front(title: str, expected: str) -> None:
    assert article_first(title) == expected


@pytest.mark.parametrize("article", sorted({article for articles in ARTICLES.values() for article in articles}))
def test_every_article_is_recognised_at_both_ends(article: str) -> None:
    front = f"{article}Lamp" if article.endswith("'") else f"{article} Lamp"
    assert title_spellings(front) == (front, f"Lamp, {article}")
    assert title_spellings(f"Lamp, {article}") == (front, f"Lamp, {article}")
    assert normalise_title(f"LAMP, {article.upper()}") == normalise_title(front)


@pytest.mark.parametrize("title", ["Theremin", "The", "Heat", "", "Yes, Then"])
def test_a_title_without_an_article_has_one_spelling(title: str) -> None:
    assert title_spellings(title) == (title,)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Matrix", "Matrix, The"),
        ("the matrix", "MATRIX,THE "),
        ("L'avventura", "Avventura, L\u2019"),
        ("Amélie", "AMELIE"),
        ("Spider-Man: No Way Home", "Spider Man - No Way Home!"),
        ("Schindler's List", "Schindler\u2019s List"),
        ("Fast & Furious", "Fast and Furious"),
        ("Straße", "STRASSE"),
        ("\ufb01re", "Fire"),
        ("ＨＥＡＴ", "Heat"),
        ("Søn", "Son"),
        ("8½", "8 1/2"),
        ("WALL·E", "Wall-E"),
        (" ??? ", "? ? ?"),
    ],
)
def test_spellings_of_one_title_have_one_key(one: str, other: str) -> None:
    assert normalise_title(one) == normalise_title(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Matrix", "Matrix"),
        ("Alien", "Aliens"),
        ("Me, Myself and I", "I Me, Myself"),
        ("!", "!!"),
        ("8", "8½"),
        ("La Strada", "Strada"),
    ],
)
def test_different_titles_have_different_keys(one: str, other: str) -> None:
    assert normalise_title(one) != normalise_title(other)


@given(st.text("aéÉzZ7 '-,!", max_size=12))
def test_case_makes_no_difference_to_a_key(title: str) -> None:
    assert normalise_title(title) == normalise_title(title.swapcase())
    assert " " not in normalise_title(title)


@given(st.text(max_size=300))
def test_folding_words_again_changes_nothing(text: str) -> None:
    words = split_words(text)
    if not words[0].startswith("_"):
        assert split_words(" ".join(words)) == words
        assert fold(words[0]) == words[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tt0133093", "tt0133093"),
        ("133093", "tt0133093"),
        (" tt10872600 ", "tt10872600"),
        ("tt0000133093", "tt0133093"),
        ("1", "tt0000001"),
        ("nm0000206", None),
        ("tt", None),
        ("", None),
        ("tt12345678901", None),
        ("١٢٣", None),
        ("TT0133093", "tt0133093"),
        ("tt 0133093", "tt0133093"),
        ("'0133093", "tt0133093"),
        ("133093.0", "tt0133093"),
        ("133093,00", "tt0133093"),
        ("133093.5", None),
        ("1.33E+05", None),
        ("https://www.imdb.com/title/tt0133093/?ref_=x", "tt0133093"),
        ("https://www.imdb.com/name/nm0000206/", None),
        ("tt0133093/", "tt0133093"),
        ("0.0", None),
    ],
)
def test_imdb_ids_have_one_form(text: str, expected: str | None) -> None:
    assert normalise_imdb_id(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "603") for text in ("603", " 0603 ", "603.0", "603,00", "'603", "https://themoviedb.org/movie/603-x")),
        *(
            (text, None)
            for text in ("", "0", "0.0", "603.5", "6.03E+02", "x", "https://www.themoviedb.org/tv/603", "٦")
        ),
    ],
)
def test_tmdb_ids_have_one_form(text: str, expected: str | None) -> None:
    assert normalise_tmdb_id(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tt 0133093", None),
        ("tt0133093.0", None),
        ("tt0133093", ("imdb_id", "tt0133093")),
        (" TT133093 ", ("imdb_id", "tt0133093")),
        ("https://www.imdb.com/title/tt0133093/", ("imdb_id", "tt0133093")),
        ("HTTPS://WWW.IMDB.COM/title/tt0133093/?ref_=fn_al_tt_1", ("imdb_id", "tt0133093")),
        ("http://m.imdb.com/title/tt0133093#cast", ("imdb_id", "tt0133093")),
        ("imdb.com/pt-br/title/tt0133093/reviews", ("imdb_id", "tt0133093")),
        ("https://www.imdb.com/title/tt0133093/ The Matrix", ("imdb_id", "tt0133093")),
        ("https://www.themoviedb.org/movie/603-the-matrix?language=de", ("tmdb_id", "603")),
        ("themoviedb.org/movie/603", ("tmdb_id", "603")),
        ("https://tmdb.org/movie/0603/", ("tmdb_id", "603")),
        ("<https://www.imdb.com//title/tt0133093/>", ("imdb_id", "tt0133093")),
        ("//www.imdb.com:443/title/tt0133093&ref=1", ("imdb_id", "tt0133093")),
        ("http://us.imdb.com/Title?0133093", ("imdb_id", "tt0133093")),
        ("The Matrix (1999) - IMDb https://www.imdb.com/title/tt0133093/?ref_=ext_shr", ("imdb_id", "tt0133093")),
        ("\uff54\uff54\uff10\uff11\uff13\uff13\uff10\uff19\uff13", ("imdb_id", "tt0133093")),
        ("tt0133093/", ("imdb_id", "tt0133093")),
        ("tt0133093?ref_=fn", ("imdb_id", "tt0133093")),
        ("IMDb ID: tt0133093", ("imdb_id", "tt0133093")),
        ("imdb 133093", ("imdb_id", "tt0133093")),
        ("imdb:0", None),
        ("tmdb:603", ("tmdb_id", "603")),
        ("TMDB ID 603", ("tmdb_id", "603")),
        ("tmdb 0", None),
        ("https://api.themoviedb.org/3/movie/603", ("tmdb_id", "603")),
        ("(https://m.themoviedb.org/de/movie/603)", ("tmdb_id", "603")),
        ("look: https://www.themoviedb.org/movie/603-the-matrix", ("tmdb_id", "603")),
        ("https://www.imdb.com/title/tt0133093abc", None),
        ("https://www.imdb.com.example.com/title/tt0133093/", None),
        ("https://example.com/www.imdb.com/title/tt0133093/", None),
        ("imdb", None),
        ("tmdb 603 films", None),
        ("https://www.themoviedb.org/tv/1396", None),
        ("https://www.themoviedb.org/movie/0", None),
        ("https://www.imdb.com/name/nm0000206/", None),
        ("https://notimdb.com/title/tt0133093/", None),
        ("https://example.com/?u=imdb.com/title/tt0133093", None),
        ("tt0133093 matrix", None),
        ("tt12345678901", None),
        ("tt3d", None),
        ("tt", None),
        ("0133093", None),
        ("", None),
    ],
)
def test_ids_and_urls_of_other_sites_are_recognised(text: str, expected: tuple[str, str] | None) -> None:
    assert external_id(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kubrick 1968", [("kubrick", 1968)]),
        ("1968 kubrick", [("kubrick", 1968)]),
        ("kubrick 1968 odyssey", [("kubrick odyssey", 1968)]),
        ("Strada, La (1954)", [("Strada, La", 1954)]),
        ("[1954] La Strada", [("La Strada", 1954)]),
        ("heat - 1995", [("heat", 1995)]),
        ("Heat（１９９５）", [("Heat", 1995)]),
        ("2001: a space odyssey", [("a space odyssey", 2001)]),
        ("2001 1968", [("2001", 1968), ("1968", 2001)]),
        ("2001 odyssey 1968 kubrick", [("odyssey 1968 kubrick", 2001), ("2001 odyssey kubrick", 1968)]),
        ("... 2020", [("...", 2020)]),
        ("8½ 1963", [("8½", 1963)]),
        ("1968", []),
        ("(1968)", []),
        ("heat95", []),
        ("x1995 1995y", []),
        ("é1995", []),
        ("heat 2100", []),
        ("", []),
    ],
)
def test_years_are_split_from_a_query(text: str, expected: list[tuple[str, int]]) -> None:
    assert split_years(text) == expected
