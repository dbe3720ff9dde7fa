"""Password hashing with Argon2id, in worker threads of low priority."""

import asyncio
import contextlib
import os
import re
import secrets
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from argon2 import PasswordHasher as Argon2
from argon2 import Type, extract_parameters
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError

from movie_core.accounts.users import MAX_PASSWORD
from movie_core.errors import Busy
from movie_core.ports import PasswordHasher

T = TypeVar("T")
BUSY_SECONDS = 5.0
"""`retry_after` of `Busy`: about half of a full queue is processed in this time."""
NICENESS = 10
QUEUE_DIVISOR = 2
"""A named queue may use 1/QUEUE_DIVISOR of the total capacity."""

# The parameters are bounded, so that verifying a corrupt hash costs neither gigabytes nor minutes.
_ENCODED = re.compile(
    r"\$argon2id\$v=19\$m=[1-9][0-9]{0,5},t=[1-9][0-9]?,p=[1-9][0-9]?\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,86}"
)


class Argon2PasswordHasher(PasswordHasher):
    """A `PasswordHasher` that uses the standard encoded form, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`."""

    def __init__(
        self,
        time_cost: int = 2,
        memory_cost: int = 19456,
        parallelism: int = 1,
        threads: int = 1,
        max_waiting: int = 300,
    ) -> None:
        """`memory_cost` is in KiB per thread. Calls raise `Busy` while `max_waiting` calls are waiting or running."""
        self._argon2 = Argon2(
            time_cost=time_cost, memory_cost=memory_cost, parallelism=parallelism, salt_len=16, type=Type.ID
        )
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_lower_priority)
        self._queue = _FairQueue()
        self._max_waiting = max_waiting
        self._dummy_lock = threading.Lock()
        self._dummy: str | None = None

    async def close(self) -> None:
        """Cancel waiting calls and stop the threads."""
        self._queue.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str, *, salt: bytes | None = None, queue: str = "") -> str:
        """Raises `ValueError` for a password of more than `users.MAX_PASSWORD` bytes, `Busy` if the queue is full."""
        secret = _encode(password)
        if len(secret) > MAX_PASSWORD:
            raise ValueError(f"a password has at most {MAX_PASSWORD} bytes")
        return await self._run(lambda: self._argon2.hash(secret, salt=salt), queue)

    async def verify(self, password: str, hashed: str | None, *, queue: str = "") -> bool:
        secret = _encode(password)
        if len(secret) > MAX_PASSWORD:
            secret, hashed = secret[:MAX_PASSWORD], None
        return await self._run(lambda: self._verify(secret, hashed), queue)

    def is_outdated(self, hashed: str) -> bool:
        if not _ENCODED.fullmatch(hashed):
            return True
        parameters = extract_parameters(hashed)
        return parameters.time_cost < self._argon2.time_cost or parameters.memory_cost < self._argon2.memory_cost

    async def _run(self, work: Callable[[], T], queue: str) -> T:
        if not self._queue.has_capacity(queue, self._max_waiting):
            raise Busy("too many password checks in progress", retry_after=BUSY_SECONDS)
        future: Future[T] = Future()
        self._queue.add(queue, work, future)
        self._executor.submit(self._queue.run_next)
        try:
            return await asyncio.wrap_future(future)
        except (HashingError, VerificationError) as error:  # out of memory
            raise Busy("passwords cannot be checked at the moment", retry_after=BUSY_SECONDS) from error

    def _verify(self, secret: bytes, hashed: str | None) -> bool:
        # Timing: the dummy hash is computed before the first verification, whether or not there is a hash to verify.
        with self._dummy_lock:
            if self._dummy is None:
                self._dummy = self._argon2.hash(secrets.token_bytes(16))
        if hashed is not None and _ENCODED.fullmatch(hashed):
            try:
                return self._argon2.verify(hashed, secret)
            except VerifyMismatchError:
                return False
            except VerificationError:  # invalid base64, detected before any hashing: fall through to the dummy
                pass
        with contextlib.suppress(VerifyMismatchError):
            self._argon2.verify(self._dummy, secret)
        return False


class _FairQueue:
    """Named work queues, served round-robin. After each `add`, call `run_next` once, in a worker thread.

    Capacity is released when the work ends or is cancelled before it starts, not when the caller is cancelled.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._queues: OrderedDict[str, deque[tuple[Callable[[], Any], Future[Any]]]] = OrderedDict()
        self._sizes: Counter[str] = Counter()
        """Waiting and running work items, by queue."""

    def has_capacity(self, queue: str, capacity: int) -> bool:
        with self._lock:
            queue_capacity = capacity // QUEUE_DIVISOR if queue else capacity
            return self._sizes.total() < capacity and self._sizes[queue] < max(1, queue_capacity)

    def add(self, queue: str, work: Callable[[], T], future: "Future[T]") -> None:
        with self._lock:
            self._queues.setdefault(queue, deque()).append((work, future))
            self._sizes[queue] += 1
        future.add_done_callback(lambda _: self._release(queue))

    def run_next(self) -> None:
        with self._lock:
            if not self._queues:
                return
            queue, waiting = self._queues.popitem(last=False)
            work, future = waiting.popleft()
            if waiting:
                self._queues[queue] = waiting  # last in the rotation
        if future.set_running_or_notify_cancel():
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (raised to the caller)
                future.set_exception(error)
            else:
                future.set_result(result)

    def cancel(self) -> None:
        with self._lock:
            futures = [future for waiting in self._queues.values() for _, future in waiting]
            self._queues.clear()
        for future in futures:
            future.cancel()

    def _release(self, queue: str) -> None:
        with self._lock:
            self._sizes[queue] -= 1
            self._sizes += Counter()  # drops empty queues


def _lower_priority() -> None:
    # Argon2 releases the GIL, so the kernel scheduler divides the CPU between hashing and the event loop.
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _encode(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
