"""The ports `EventStore` and `Analytics` in memory."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from movie_core.discovery.analytics import (
    CLICK_WINDOW,
    FIGURES_RETENTION,
    MAX_QUERIES,
    Clicks,
    Cohort,
    Days,
    Funnel,
    QueryCount,
    SourceDay,
    Summary,
)
from movie_core.discovery.events import Event, EventExport, EventKind
from movie_core.discovery.trending import Interaction, InteractionKind, utc_day, weight_of
from movie_core.memory.database import MemoryDatabase

_ACTIVE = (EventKind.SEARCH, EventKind.CLICK, EventKind.RATING)


class MemoryEventStore:
    """An `EventStore` and the `Analytics` over it, which scan all events for each report.

    Purged events are excluded from `export` and `interactions`; reports still count them.
    """

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database
        self._events: list[Event] = []
        self._purged: list[Event] = []
        self._purged_before = date.min
        self._interactions: dict[tuple[str, str, InteractionKind, date], Interaction] = {}
        self._source: dict[date, SourceDay] = {}

    async def export(self, user_id: str) -> EventExport:
        user_events = [event for event in self._events if event.user_id == user_id and user_id in self._database.users]
        return EventExport([event.exported("catalogue") for event in sorted(user_events, key=lambda event: event.at)])

    async def erase(self, user_id: str) -> None:
        self._events = [event for event in self._events if event.user_id != user_id]
        self._purged = [event for event in self._purged if event.user_id != user_id]
        self._interactions = {key: interaction for key, interaction in self._interactions.items() if key[0] != user_id}

    async def append(self, events: Sequence[Event], now: datetime) -> Sequence[Interaction]:
        counted = []
        for event in events:
            day = utc_day(event.at)
            if day < self._purged_before or not self._is_recorded(event.user_id):
                continue
            self._events.append(event)
            if event.user_id is None or event.movie_id is None or event.kind.value not in set(InteractionKind):
                continue
            kind = InteractionKind(event.kind.value)
            key = (event.user_id, event.movie_id, kind, day)
            if key not in self._interactions:
                self._interactions[key] = Interaction(
                    event.movie_id, kind, weight_of(kind, event.rating), event.at, now
                )
                counted.append(self._interactions[key])
        return counted

    def _is_recorded(self, user_id: str | None) -> bool:
        user = None if user_id is None else self._database.users.get(user_id)
        return user_id is None or (user is not None and user.is_active and user.record_events)

    async def count(self, day: date, counts: Mapping[str, int]) -> None:
        source_day = self._source.get(day, SourceDay(day))
        self._source[day] = replace(
            source_day, **{name: getattr(source_day, name) + increment for name, increment in counts.items()}
        )

    async def interactions(self) -> AsyncIterator[Sequence[Interaction]]:
        yield [
            interaction for (user_id, *_), interaction in self._interactions.items() if user_id in self._database.users
        ]

    async def purge(self, before: date) -> int:
        self._purged_before = max(self._purged_before, before)
        old = [event for event in self._events if utc_day(event.at) < before]
        self._events = [event for event in self._events if utc_day(event.at) >= before]
        self._interactions = {key: interaction for key, interaction in self._interactions.items() if key[3] >= before}
        self._purged = [event for event in self._purged + old if utc_day(event.at) >= before - FIGURES_RETENTION]
        self._source = {day: figures for day, figures in self._source.items() if day >= before - FIGURES_RETENTION}
        return len(old)

    # --- reports

    def _all(self) -> Iterator[Event]:
        for event in (*self._purged, *self._events):
            if event.user_id is None or event.user_id in self._database.users:
                yield event

    def _in(self, days: Days) -> list[Event]:
        return [event for event in self._all() if days.first <= utc_day(event.at) <= days.last]

    async def summary(self, days: Days) -> Summary:
        events = self._in(days)
        return Summary(
            searches=_count(events, lambda event: event.kind is EventKind.SEARCH),
            users=len({event.user_id for event in events if event.kind in _ACTIVE and event.user_id is not None}),
            ratings=_count(events, lambda event: event.kind is EventKind.RATING),
            clicks=_count(events, lambda event: event.kind is EventKind.CLICK),
            zero_result_searches=_count(events, lambda event: event.kind is EventKind.SEARCH and event.found is False),
        )

    async def top_searches(self, days: Days, *, zero_results: bool = False) -> Sequence[QueryCount]:
        counts: Counter[str] = Counter()
        users: dict[str, set[str]] = defaultdict(set)
        for event in self._in(days):
            if event.kind is EventKind.SEARCH and event.query and not (zero_results and event.found is not False):
                counts[event.query] += event.times
                users[event.query] |= set() if event.user_id is None else {event.user_id}
        ranked = sorted(counts, key=lambda query: (-counts[query], query))[:MAX_QUERIES]
        return [QueryCount(query, counts[query], len(users[query])) for query in ranked]

    async def clicks(self, days: Days) -> Clicks:
        clicked: dict[tuple[str | None, str | None], list[datetime]] = defaultdict(list)
        for event in self._all():
            if event.kind is EventKind.CLICK and event.user_id is not None and event.query is not None:
                clicked[event.user_id, event.query].append(event.at)

        def is_followed(event: Event) -> bool:
            return event.kind is EventKind.SEARCH and any(
                event.at <= at <= event.at + CLICK_WINDOW for at in clicked.get((event.user_id, event.query), ())
            )

        events = self._in(days)
        searches = _count(events, lambda event: event.kind is EventKind.SEARCH)
        placed = [event for event in events if event.kind is EventKind.CLICK and event.position is not None]
        positions = sum(event.times * (event.position or 0) for event in placed)
        return Clicks(
            searches=searches,
            clicks=_count(events, lambda event: event.kind is EventKind.CLICK),
            click_through_rate=_count(events, is_followed) / searches if searches else 0.0,
            mean_position=positions / _count(placed, lambda _: True) if placed else None,
        )

    async def funnel(self, days: Days) -> Funnel:
        searched = clicked = rated = 0
        events_by_user: dict[str, list[Event]] = defaultdict(list)
        for event in self._in(days):
            if event.user_id is not None:
                events_by_user[event.user_id].append(event)
        for events in events_by_user.values():
            search = min((event.at for event in events if event.kind is EventKind.SEARCH), default=None)
            if search is None:
                continue
            searched += 1
            click = min(
                (event.at for event in events if event.kind is EventKind.CLICK and event.at >= search), default=None
            )
            if click is None:
                continue
            clicked += 1
            rated += any(event.kind is EventKind.RATING and event.at >= click for event in events)
        return Funnel(searched, clicked, rated)

    async def retention(self, days: Days) -> Sequence[Cohort]:
        members: dict[date, set[str]] = defaultdict(set)
        for user in self._database.users.values():
            began = utc_day(user.created_at)
            if days.first <= began <= days.last:
                members[_monday(began)].add(user.id)
        weeks: dict[date, set[str]] = defaultdict(set)
        for event in self._all():
            if event.kind is EventKind.SEARCH and event.user_id is not None and utc_day(event.at) <= days.last:
                weeks[_monday(utc_day(event.at))].add(event.user_id)
        cohorts = []
        for week in sorted(members):
            span = range((_monday(days.last) - week).days // 7 + 1)
            returned = tuple(len(members[week] & weeks[week + timedelta(weeks=number)]) for number in span)
            cohorts.append(Cohort(f"{week:%G-W%V}", len(members[week]), returned))
        return cohorts

    async def source(self, days: Days) -> Sequence[SourceDay]:
        return [self._source[day] for day in sorted(self._source) if days.first <= day <= days.last]


def _count(events: Sequence[Event], matches: Callable[[Event], bool]) -> int:
    return sum(event.times for event in events if matches(event))


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
