"""The base class of the structs of requests and responses, and types of fields that several structs share.

The OpenAPI document is generated from the structs. A struct has the name of its schema; a class of the core with the
same name is imported as `Core…`. Constraints of requests are only documented here: the core enforces them, with errors
that state the field and the reason.
"""

from typing import Annotated, Any, Self

import msgspec

from movie_core.accounts.users import MAX_USERNAME
from movie_core.discovery.ratings import HIGHEST, LOWEST

NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""A pattern for text without control characters."""


def documented(description: str | None = None, /, **keywords: Any) -> msgspec.Meta:
    """Documents a type by keywords of JSON Schema, which msgspec copies and does not validate."""
    return msgspec.Meta(description=description, extra_json_schema=keywords)


class JsonObject(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON object of a request or response without other members than its fields.

    A struct of a response has `omit_defaults` if some of its fields are left out when unknown. The class attribute
    `SCHEMA` adds keywords to its JSON Schema; their values may be types.
    """

    @classmethod
    def of(cls, source: object, **fields: Any) -> Self:
        """The object with these `fields`; all others are copied from the attributes of `source` with the same names."""
        copied = {name: getattr(source, name) for name in cls.__struct_fields__ if name not in fields}
        return cls(**copied, **fields)


Timestamp = Annotated[str, documented(format="date-time")]
OptionalTimestamp = Annotated[str | None, documented(format="date-time")]
Count = Annotated[int, documented(minimum=0)]
Score = Annotated[float, documented(minimum=LOWEST, maximum=HIGHEST, multipleOf=0.5, examples=[8.5])]
"""A rating."""

EmailAddress = Annotated[
    str, documented("One plain mailbox of at most 254 bytes.", format="email", examples=["ann@example.com"])
]
Username = Annotated[
    str,
    documented(
        "Letters and digits of any script, `. _ -`, and single spaces inside.",
        minLength=1,
        maxLength=MAX_USERNAME,
        examples=["ann"],
    ),
]
PASSWORD_EXAMPLE = "velvet harbour quill tundra"  # noqa: S105 - a documented example
_PASSWORD = {"format": "password", "examples": [PASSWORD_EXAMPLE]}
Password = Annotated[
    str,
    documented(
        "At most 1,024 bytes, not short, common, easily guessed, or similar to email address or username.", **_PASSWORD
    ),
]
CurrentPassword = Annotated[str, documented(**_PASSWORD)]
"""A password in use, to which the rules for new passwords do not apply."""


class StoredRecord(msgspec.Struct):
    """A stored record: its fields by name."""
