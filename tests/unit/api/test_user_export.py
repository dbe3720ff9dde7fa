"""The JSON of an export."""

import json

from movie_api.user_export import render_export
from movie_core.accounts.exports import AccountExport, ExportedAccount, LoginNetwork, UserExport
from movie_core.discovery.events import Event, EventExport, EventKind
from movie_core.discovery.ratings import Rating, RatingExport, exported
from movie_core.testing import NOW


def test_all_stores_are_rendered_into_one_object() -> None:
    account = ExportedAccount("a", "ann@example.com", "ann", NOW, True, False, True, None)
    event = Event(EventKind.CLICK, NOW, "a", "7", position=3).exported("catalogue")
    rating = exported("catalogue", Rating("7", "Seven", None, 9.5, NOW))
    stored = AccountExport(account, login_networks=[LoginNetwork("192.0.2.1", NOW)])
    at = "2026-11-24T09:00:00Z"
    export = UserExport(stored, (RatingExport([rating]), EventExport([event])))
    assert json.loads(json.dumps(render_export(export))) == {
        "account": {"id": "a", "email": "ann@example.com", "username": "ann", "created_at": at, "is_active": True}
        | {"is_staff": False, "record_events": True, "last_login": None},
        "registrations": [],
        "sessions": [],
        "login_networks": [{"network": "192.0.2.1", "last_used_at": at}],
        "mails": [],
        "ratings": [
            {"source": "catalogue", "movie_id": "7", "title": "Seven", "year": None, "rating": 9.5, "rated_at": at}
        ],
        "events": [
            {"source": "catalogue", "type": "click", "at": at, "movie_id": "7", "position": 3, "times": 1},
        ],
        "event_days": [],
    }
