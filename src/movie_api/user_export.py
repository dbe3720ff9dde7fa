"""The export of a user as JSON, the same in `GET users/me/export/` and on the command line."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec

from movie_core.accounts.exports import UserExport
from movie_core.discovery.events import ExportedEvent

ROWS_PER_STEP = 500
"""Records that are encoded before other tasks get a turn. A user may have hundreds of thousands of events, which would
block the event loop for seconds."""


async def encode_export(export: UserExport) -> bytes:
    """A JSON object with the fields of all stores."""
    members = []
    for part in (export.account, *export.personal):
        for field in dataclasses.fields(part):  # type: ignore[arg-type]  # a dataclass: see `UserExport.personal`
            value = getattr(part, field.name)
            content = await _encode_records(value) if isinstance(value, Sequence) else msgspec.json.encode(value)
            members.append(msgspec.json.encode(field.name) + b":" + content)
    return b"{" + b",".join(members) + b"}"


async def _encode_records(records: Sequence[object]) -> bytes:
    arrays = []
    for start in range(0, len(records), ROWS_PER_STEP):
        arrays.append(msgspec.json.encode([_fields(record) for record in records[start : start + ROWS_PER_STEP]]))
        await asyncio.sleep(0)
    return b"[" + b",".join(array[1:-1] for array in arrays) + b"]"


def _fields(record: object) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(record)
    if isinstance(record, ExportedEvent):  # most of its fields do not apply to its type
        return {name: value for name, value in content.items() if value is not None}
    return content
