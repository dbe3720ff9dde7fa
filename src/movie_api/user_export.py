"""The export of a user as JSON values, the same in `GET users/me/export/` and on the command line."""

from typing import Any

import msgspec

from movie_core.accounts.exports import UserExport


def render_export(export: UserExport) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for part in (export.account, *export.personal):
        content |= msgspec.to_builtins(part)
    if "events" in content:  # most fields of an event do not apply to its type
        content["events"] = [
            {name: value for name, value in event.items() if value is not None} for event in content["events"]
        ]
    return content
