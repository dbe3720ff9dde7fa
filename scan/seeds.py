"""Seed corpus and dictionary (for libFuzzer) of each fuzz target in `scan/parsers.py`."""

import gzip
import json
import lzma

SECRET = "a secret of this fuzz target, never used elsewhere"
SIGNED = b"\x01"
"""First byte of an input that is signed before it is passed to the token reader."""
TOKEN_ID = "0123456789abcdef" * 2
BODY_KINDS = {b"r": "rating", b"l": "rows", b"f": "form"}
"""Body reader by the first byte of the input; all other bytes: any JSON."""

_CLAIMS = (
    b'{"iss":"ISSUER","aud":"movie-api","sub":"%(id)b","sid":"%(id)b","jti":"%(id)b","iat":NOW,"exp":1893456000,'
    b'"typ":"access"%(more)b}'
)
_MOVIES = b'id,title,year,genres,imdb_id\n1,The Matrix,1999,Action|Drama,tt0133093\n2,"Up, up",2009.0,,\n'
_MOVIELENS = b'movieId,title,genres\n1,"Matrix, The (a.k.a. Neo) (1999)",Action|Sci-Fi\n'
_IMDB = b"tconst\ttitleType\tprimaryTitle\tisAdult\tstartYear\truntimeMinutes\ntt1\tmovie\tUp\t0\t2009\t96\n"
_LINES = (
    b'{"id": "a", "title": "Up", "year": 2009, "genres": ["Comedy"], "popularity": 1.5}\n{"title": {"name": "x"}}\n'
)

SEEDS: dict[str, list[bytes]] = {
    "query": [
        b"query=the+matrix&limit=10&offset=20",
        b"query=caf%C3%A9%20%E4%B8%AD&year=1990..1999&genre=Sci-Fi&order=personal&exclude=rated",
        b"query=twenty-one+grams+2003&order=year",
        b"query=ocean%27s+eleven+%26+part+ii+1%2F2",
    ],
    "rating-file": [
        b"Const,Your Rating,Date Rated,Title,Year\ntt0133093,9,2024-02-29,The Matrix,1999\n",
        b'Date,Name,Year,Letterboxd URI,Rating\n2024-01-01,"Up, up",2009,https://boxd.it/x,4.5\n',
        b"userId,movieId,title,rating,timestamp\n1,2,Up (2009),3.5,1700000000\n1,3,Matrix (The) (1999),9,1\n",
        b"movie_id,imdb_id,tmdb_id,rating,average_rating\n1,0133093,603.0,5,3\n",
    ],
    "movie-file": [
        *(b"\x00" + text for text in (_MOVIES, _MOVIELENS, _IMDB, _LINES, _MOVIES.replace(b",", b";"))),
        b"\x01" + gzip.compress(_MOVIES, mtime=0),
        b"\x02" + lzma.compress(_LINES),
    ],
    "token": [
        SIGNED + b'{"alg":"HS256","typ":"JWT","kid":"KID"}\n' + _CLAIMS % {b"id": TOKEN_ID.encode(), b"more": b""},
        SIGNED + b'{"kid":"KID","alg":"HS256"}\n' + _CLAIMS % {b"id": TOKEN_ID.encode(), b"more": b',"nbf":NOW'},
        b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
        b"eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
    ],
    "body": [
        b'a{"value": [1.0, -2e5, "\\ud83d\\ude00", null, true, {"a": []}]}',
        b'a{"value": ' + b"[" * 31 + b"]" * 31 + b"}",
        b'a{"value": "' + b'[{\\"' * 20 + b'"}',
        b'r{"rating": 9.5}',
        b"l" + json.dumps([{"movie_id": "tt1", "rating": 8, "rated_at": "2024-01-01T00:00:00Z"}]).encode(),
        b"fpassword=copper+lantern&new=walks%20home%C3%A9",
    ],
    "planted": [b"P"],
}

WORDS: dict[str, list[bytes]] = {
    "query": b"query= & limit= offset= year= .. genre= order=popularity exclude=rated + %27s viii hundred+and+".split()
    + b"%C3%A9 %00 %ED%A0%80 %EF%BC%91 %CC%81".split(),
    "rating-file": b"Const,Your Rating,Letterboxd URI,userId,movieId,imdb_id,timestamp,(1999),(2001-2004)".split(b",")
    + b'9999-12-31|99999999999999999999|"|""|\r\n|\xef\xbb\xbf'.split(b"|"),
    "movie-file": b"title,year,movieId,genres,tconst,isAdult,popularity,overview,inf,nan,1e999,\\N,(a.k.a. ".split(b",")
    + b', The/"/""/\r\n/\t/|/\xef\xbb\xbf/{"title":'.split(b"/"),
    "token": TOKEN_ID.encode().split()
    + b'KID ISSUER NOW "alg":"HS256" "alg":"none" "nbf": "exp": true 1e400 \\ud800 . =='.split()
    + b'"crit":["b64"] "aud":["movie-api"]'.split(),
    "body": b'{"value": "rating": "movie_id": "rated_at": 1e999 NaN -0 \\ud800 \\u0000 [[[[ ]]]] { } " \\ %C3'.split()
    + b"password= & 9007199254740993 0001-01-01T00:00:00+14:00".split(),
    "planted": [b"lant"],
}
