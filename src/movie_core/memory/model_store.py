"""The `ModelStore` port in memory."""

from datetime import datetime

from movie_core.discovery.recommendations import ModelInfo


class MemoryModelStore:
    """A `ModelStore` for one process."""

    def __init__(self) -> None:
        self._saved: tuple[ModelInfo, str, bytes] | None = None

    async def save(self, info: ModelInfo, version: str, body: bytes) -> bool:
        if self._saved is not None and self._saved[0].made_at > info.made_at:
            return False
        self._saved = info, version, body
        return True

    async def current(self) -> tuple[ModelInfo, str] | None:
        return None if self._saved is None else self._saved[:2]

    async def body(self, made_at: datetime) -> bytes | None:
        return self._saved[2] if self._saved is not None and self._saved[0].made_at == made_at else None
