"""The `SessionRepo` port in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from movie_core.accounts.outbox import MailKind
from movie_core.accounts.sessions import MAX_NETWORKS, MAX_SESSIONS, Reuse, RotationResult, Session, classify_reuse
from movie_core.errors import InvalidCredentials
from movie_core.memory.database import MemoryDatabase, RefreshTokenRow


class MemorySessionRepo:
    """A `SessionRepo` over a `MemoryDatabase`."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def start(
        self,
        session: Session,
        refresh_hash: str,
        expires_at: datetime,
        *,
        password_hash: str,
        new_password_hash: str | None = None,
        network: str = "",
    ) -> Sequence[str]:
        database = self._database
        user = database.users.get(session.user_id)
        if user is None or not user.is_active or user.password_hash != password_hash:
            raise InvalidCredentials("the user was deleted or deactivated, or the password was changed")
        database.users[user.id] = replace(
            user, password_hash=new_password_hash or password_hash, last_login=session.created_at
        )
        excess = [session.id for session in database.list_sessions_of(user.id)[MAX_SESSIONS - 1 :]]
        database.end_sessions(excess, session.created_at)
        database.sessions[session.id] = session
        database.refresh_tokens[refresh_hash] = RefreshTokenRow(session.id, expires_at)
        if network:
            networks = database.login_networks.setdefault(user.id, {})
            networks.pop(network, None)
            networks[network] = session.created_at
            while len(networks) > MAX_NETWORKS:
                del networks[next(iter(networks))]
        return excess

    async def rotate(
        self,
        refresh_hash: str,
        successors: Sequence[str],
        now: datetime,
        expires_at: datetime,
        *,
        lifetime: timedelta | None = None,
    ) -> RotationResult | None:
        database = self._database
        token = database.refresh_tokens.get(refresh_hash)
        if token is None or token.expires_at <= now:
            return None
        if lifetime is not None:
            end = database.sessions[token.session_id].created_at + lifetime
            if end <= now:
                return None
            expires_at = min(expires_at, end)
        if token.used_at is None or token.successor is None:
            token.used_at, token.successor = now, successors[0]
            database.refresh_tokens[successors[0]] = RefreshTokenRow(token.session_id, expires_at)
            session = replace(database.sessions[token.session_id], last_used_at=now)
            database.sessions[session.id] = session
            return RotationResult(session, 0)
        successor = database.refresh_tokens.get(token.successor)
        is_unused = successor is not None and successor.used_at is None
        if classify_reuse(now, token.used_at, successor_is_unused=is_unused) is Reuse.THEFT:
            database.end_sessions([token.session_id], now)
            return None
        if token.successor not in successors:  # derived from a secret that is no longer set
            return None
        return RotationResult(database.sessions[token.session_id], list(successors).index(token.successor))

    async def list_for_user(self, user_id: str) -> Sequence[Session]:
        return self._database.list_sessions_of(user_id)

    async def end(
        self,
        user_id: str,
        now: datetime,
        *,
        session_id: str | None = None,
        except_session_id: str | None = None,
        notify: bool = False,
    ) -> Sequence[str]:
        ended = self._database.end_sessions(
            [
                session.id
                for session in self._database.list_sessions_of(user_id)
                if session_id in (None, session.id) and session.id != except_session_id
            ],
            now,
        )
        if ended and notify:
            self._database.delay_email(MailKind.SESSIONS_ENDED, self._database.users[user_id].address.key, now, now)
        return ended

    async def find(self, session_id: str) -> Session | None:
        return self._database.sessions.get(session_id)

    async def find_owner(self, refresh_hash: str) -> str | None:
        token = self._database.refresh_tokens.get(refresh_hash)
        return None if token is None else self._database.sessions[token.session_id].user_id

    async def ended_since(self, since: datetime) -> Sequence[str]:
        return [session_id for session_id, ended_at in self._database.ended_sessions.items() if ended_at >= since]
