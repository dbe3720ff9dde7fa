import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from argon2.exceptions import VerificationError, VerifyMismatchError

from movie_adapters.security.argon2 import NICENESS, Argon2PasswordHasher
from movie_core.errors import Busy
from movie_core.testing import PasswordHasherContract

T = TypeVar("T")

WEAK = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$pzfyCjALHEvMGgMuqk+3cKlBEp0Mo7kAFVEbAiXPbN4"


@asynccontextmanager
async def open_hasher(**options: int) -> AsyncIterator[Argon2PasswordHasher]:
    hasher = Argon2PasswordHasher(**{"time_cost": 1, "memory_cost": 16, **options})
    try:
        yield hasher
    finally:
        await hasher.close()


class TestArgon2Hasher(PasswordHasherContract):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[Argon2PasswordHasher]:
        async with open_hasher() as hasher:
            yield hasher

    def outdated_hash(self) -> str:
        return WEAK


async def test_hashes_use_the_configured_parameters() -> None:
    async with open_hasher(time_cost=2, memory_cost=64) as hasher:
        assert (await hasher.hash("secret")).startswith("$argon2id$v=19$m=64,t=2,p=1$")


async def test_a_hash_with_higher_parameters_is_not_outdated_and_verifies() -> None:
    async with open_hasher(time_cost=3, memory_cost=32) as strong, open_hasher() as weak:
        hashed = await strong.hash("secret")
        assert await weak.verify("secret", hashed)
        assert not weak.is_outdated(hashed)
        assert strong.is_outdated(await weak.hash("secret"))


@pytest.mark.parametrize("hashed", ["", "\ud800", "secret", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAA"])
async def test_an_unknown_hash_format_is_outdated(hashed: str) -> None:
    async with open_hasher() as hasher:
        assert hasher.is_outdated(hashed)


async def test_a_corrupt_hash_with_huge_parameters_is_not_computed() -> None:
    async with open_hasher() as hasher:
        hashed = (await hasher.hash("secret")).replace("m=16,t=1", "m=90000000,t=4000000000")
        assert not await asyncio.wait_for(hasher.verify("secret", hashed), 5)


async def test_a_password_longer_than_1024_bytes_is_truncated_for_hashing_and_never_verifies() -> None:
    async with open_hasher() as hasher:
        hashed = await hasher.hash("a" * 1024)
        assert await hasher.verify("a" * 1024, hashed)
        assert not await hasher.verify("a" * 1025, hashed)
        with pytest.raises(ValueError, match="at most 1024 bytes"):
            await hasher.hash("a" * 1025)


async def test_every_verification_computes_one_hash_and_the_dummy_is_created_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_hasher() as hasher:
        hashed = await hasher.hash("secret")
        calls: list[str] = []
        argon2 = hasher._argon2

        class Counting:
            def hash(self, secret: bytes) -> str:
                calls.append("hash")
                return argon2.hash(secret)

            def verify(self, hashed: str, secret: bytes) -> bool:
                try:
                    return argon2.verify(hashed, secret)
                except VerifyMismatchError:  # raised after the hashing
                    calls.append("verify")
                    raise

        monkeypatch.setattr(hasher, "_argon2", Counting())
        for known in (None, hashed, "broken", hashed[:-5], None):
            await hasher.verify("another", known)
        assert calls == ["hash", *["verify"] * 5]
        calls.clear()
        assert not await hasher.verify("a" * 2000, hashed)
        assert calls == ["verify"]


async def test_calls_beyond_the_capacity_are_rejected_and_later_ones_succeed() -> None:
    async with open_hasher(max_waiting=2) as hasher:
        release = _block(hasher)
        waiting = [await _queued(hasher.hash("secret")) for _ in range(2)]
        with pytest.raises(Busy) as caught:
            await hasher.verify("secret", None)
        assert caught.value.retry_after >= 1
        release.set()
        await asyncio.gather(*waiting)
        assert not await hasher.verify("secret", None)


async def test_cancelled_callers_release_their_capacity() -> None:
    async with open_hasher(max_waiting=2) as hasher:
        release = _block(hasher)
        for _ in range(5):
            waiting = [await _queued(hasher.hash("secret")) for _ in range(2)]
            for task in waiting:
                task.cancel()
            assert all(
                isinstance(result, BaseException) for result in await asyncio.gather(*waiting, return_exceptions=True)
            )
        release.set()
        both = await asyncio.gather(*(hasher.hash("secret") for _ in range(2)))
        assert len(set(both)) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have their own priority on Linux only")
async def test_hashing_threads_have_a_lower_priority() -> None:
    async with open_hasher() as hasher:

        def priority() -> int:
            return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        own = priority()
        worker = await asyncio.wrap_future(hasher._executor.submit(priority))
        assert worker == max(own, NICENESS)
        assert priority() == own


async def test_running_out_of_memory_is_not_reported_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_hasher() as hasher:

        class Exhausted:
            def hash(self, secret: bytes) -> str:
                return WEAK

            def verify(self, hashed: str, secret: bytes) -> bool:
                raise VerificationError("Memory allocation error")

        hashed = await hasher.hash("secret")
        monkeypatch.setattr(hasher, "_argon2", Exhausted())
        with pytest.raises(Busy):
            await hasher.verify("secret", hashed)


def _block(hasher: Argon2PasswordHasher) -> threading.Event:
    """Block the hasher's only thread until the returned event is set."""
    release = threading.Event()
    hasher._executor.submit(release.wait, 10)
    return release


async def _queued(call: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Start a call of a hasher; returns when it is in the queue."""
    started = asyncio.Event()

    async def run() -> T:
        started.set()
        return await call  # without a pause before the hasher's own

    task = asyncio.create_task(run())
    await started.wait()
    return task


async def test_queues_are_served_round_robin_and_none_uses_the_whole_capacity() -> None:
    async with open_hasher(max_waiting=20) as hasher:
        release = _block(hasher)
        done: list[str] = []

        async def check(queue: str) -> None:
            await hasher.verify("secret", None, queue=queue)
            done.append(queue)

        waiting = [await _queued(check("attacked")) for _ in range(10)]
        with pytest.raises(Busy):
            await hasher.verify("secret", None, queue="attacked")
        waiting += [await _queued(check(queue)) for queue in ("other", "another")]
        release.set()
        await asyncio.gather(*waiting)
        assert sorted(done[:3]) == ["another", "attacked", "other"]
        assert not hasher._queue._sizes


async def test_default_parameters_meet_the_recommended_cost() -> None:
    """OWASP Password Storage Cheat Sheet: Argon2id with at least 19 MiB, 2 passes and 1 lane."""
    hasher = Argon2PasswordHasher()
    try:
        _, kind, _, parameters, salt, digest = (await hasher.hash("secret")).split("$")
    finally:
        await hasher.close()
    cost = dict(part.split("=") for part in parameters.split(","))
    assert kind == "argon2id"
    assert int(cost["m"]) >= 19 * 1024
    assert int(cost["t"]) >= 2
    assert [len(part) * 6 // 8 for part in (salt, digest)] == [16, 32]
