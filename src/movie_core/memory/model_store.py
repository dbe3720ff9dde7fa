"""The `ModelStore` port in memory."""

from datetime import datetime

from movie_core.discovery.recommendations import (
    ModelInfo,
)


class MemoryModelStore:
    """A `ModelStore` for one process."""

    def __init__(self) -> None:
        self._kept: tuple[ModelInfo, str, bytes] | None = None

    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        if self._kept is not None and self._kept[0].made_at > info.made_at:
            return False
        self._kept = info, version, body
        return True

    async def present(self) -> tuple[ModelInfo, str] | None:
        return None if self._kept is None else self._kept[:2]

    async def body(self, made_at: datetime) -> bytes | None:
        return self._kept[2] if self._kept is not None and self._kept[0].made_at == made_at else None
