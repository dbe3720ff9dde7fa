"""The port shared by every store of data about users: export and erasure."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol


class PersonalData(Protocol):
    """A store of data about users, apart from their user records."""

    @abstractmethod
    async def export(self, user_id: str) -> Mapping[str, Any]:
        """1. Returns all data about the user in JSON-compatible types, under keys that no other store uses; an empty
        mapping for an unknown user.
        """

    @abstractmethod
    async def erase(self, user_id: str) -> None:
        """2. Deletes all data about the user. Raises `StoreUnavailable` if the deletion cannot be guaranteed."""
