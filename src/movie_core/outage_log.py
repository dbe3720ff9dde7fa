"""Logs an outage once, not at every failed attempt."""

import logging


class OutageLog:
    """Logs the start and the end of an outage of one dependency.

    Call `failed` after each failed attempt and `recovered` after each successful one. Of consecutive
    calls of one kind only the first is logged: the start at `level` (WARNING by default), the end at INFO.
    """

    def __init__(
        self, logger: logging.Logger, *, unavailable: str, recovered: str, level: int = logging.WARNING
    ) -> None:
        """`unavailable` and `recovered` are log messages; `unavailable` may have `%` placeholders for `failed`."""
        self._logger = logger
        self._unavailable = unavailable
        self._recovered = recovered
        self._level = level
        self._is_unavailable = False

    @property
    def is_unavailable(self) -> bool:
        """Whether the latest attempt failed."""
        return self._is_unavailable

    def failed(self, *args: object) -> None:
        if not self._is_unavailable:
            self._is_unavailable = True
            self._logger.log(self._level, self._unavailable, *args)

    def recovered(self) -> None:
        if self._is_unavailable:
            self._is_unavailable = False
            self._logger.info(self._recovered)
