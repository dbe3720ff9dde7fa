"""Import of a file with the ratings of many people, which then train the recommender."""

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from movie_core.discovery.movie_matching import MatchedBy, MismatchReason, MovieIdentity, MovieMatch, reconcile
from movie_core.discovery.ports import TrainingRatingStore
from movie_core.discovery.training_ratings import MAX_TRAINING_RATINGS, FileRating, TrainingImport, TrainingRating
from movie_core.errors import InvalidParameter
from movie_core.search.ports import MovieCatalogue

BATCH = 10_000
"""Ratings that are stored together."""
FUTURE = "the time is in the future"
BEYOND_LIMIT = "the file has more ratings than can be used"
_MAX_AHEAD = timedelta(days=1)
"""Maximum time by which a clock may be ahead."""
_SAMPLED = 0.95
"""Share of the limit that the sample is expected to fill, because its size varies by a few percent."""

Identify = Callable[[Collection[str]], Mapping[str, MovieIdentity]]
"""Returns what a file states about those of these movies that it identifies."""


async def import_training_ratings(
    store: TrainingRatingStore,
    catalogue: MovieCatalogue,
    rows: Iterable[FileRating | str],
    identify: Identify,
    now: datetime,
    *,
    max_ratings: int = MAX_TRAINING_RATINGS,
) -> TrainingImport | None:
    """Replace the stored training ratings by those of a file; None if another import has started in the meantime.

    `rows` is iterated twice; instead of a row that cannot be used it has the reason. Memory grows with the number of
    users and movies only. If more than `max_ratings` rows can be used, a random sample of the users is imported. Times
    are shifted so that the newest rating is one of now, because popularity decays. Raises `InvalidParameter`, changing
    nothing, if no row can be used.
    """
    latest = int((now + _MAX_AHEAD).timestamp())
    counts, newest, unused = await asyncio.to_thread(_survey, rows, latest)
    identities = await asyncio.to_thread(identify, counts)
    matches = reconcile(list(identities.values()), await catalogue.match(list(identities.values())))
    movie_ids: dict[str, str] = {}
    matched_by: Counter[MatchedBy] = Counter()
    for movie, match in zip(identities, matches, strict=True):
        if isinstance(match, MovieMatch):
            movie_ids[movie] = match.movie.id
            matched_by[match.by] += 1
        else:
            unused[match.reason] += counts[movie]
    if unidentified := sum(count for movie, count in counts.items() if movie not in identities):
        unused[MismatchReason.UNKNOWN] += unidentified
    usable = sum(counts[movie] for movie in movie_ids)
    if not usable:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in unused.most_common(3))
        raise InvalidParameter(f"no row of the file can be used: {reasons or 'it has none'}")
    sample = (1 << 32) if usable <= max_ratings else int(_SAMPLED * max_ratings / usable * (1 << 32))
    shift = int(now.timestamp()) - newest
    users: dict[str, int] = {}

    def selected() -> Iterator[TrainingRating]:
        taken = 0
        for row in rows:
            if isinstance(row, str) or row.rated_at > latest or row.movie not in movie_ids:
                continue
            if taken == max_ratings or zlib.crc32(row.user.encode("utf-8", "replace")) >= sample:
                unused[BEYOND_LIMIT] += 1
                continue
            taken += 1
            user = users.setdefault(row.user, len(users))
            yield TrainingRating(user, movie_ids[row.movie], row.rating, row.rated_at + shift)

    stored = await store.replace(_batches(selected()))
    if stored is None:
        return None
    return TrainingImport(stored, len(users), len(set(movie_ids.values())), matched_by, unused)


def _survey(rows: Iterable[FileRating | str], latest: int) -> tuple[Counter[str], int, Counter[str]]:
    """The number of usable ratings by movie, the time of the newest one, and the number of other rows by reason."""
    counts: Counter[str] = Counter()
    unused: Counter[str] = Counter()
    newest = 0
    for row in rows:
        if isinstance(row, str):
            unused[row] += 1
        elif row.rated_at > latest:
            unused[FUTURE] += 1
        else:
            counts[row.movie] += 1
            newest = max(newest, row.rated_at)
    return counts, newest, unused


def _batches(ratings: Iterator[TrainingRating]) -> Iterator[list[TrainingRating]]:
    batch: list[TrainingRating] = []
    for rating in ratings:
        batch.append(rating)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
