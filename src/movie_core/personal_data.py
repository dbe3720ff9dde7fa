"""The port shared by every store of data about users: export and erasure."""

from abc import abstractmethod
from typing import Protocol, TypeVar

Export_co = TypeVar("Export_co", covariant=True)
"""The dataclass that a store exports; its fields are sequences of records."""


class PersonalData(Protocol[Export_co]):
    """A store of data about users, apart from their user records."""

    @abstractmethod
    async def export(self, user_id: str) -> Export_co:
        """1. Returns all data about the user, in fields whose names no other store uses; all are empty for an unknown
        user.
        """

    @abstractmethod
    async def erase(self, user_id: str) -> None:
        """2. Deletes all data about the user. Raises `StoreUnavailable` if the deletion cannot be guaranteed."""
