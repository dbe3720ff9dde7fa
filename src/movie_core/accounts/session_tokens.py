"""The tokens of sessions: issued at login, exchanged at refresh, verified at each request."""

from collections import OrderedDict
from datetime import datetime

from movie_core.accounts.keyring import Keyring, new_id, new_token, token_hash
from movie_core.accounts.rules import AccountRules
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.sessions import MAX_DEVICE, AccessClaims, Caller, Session, TokenPair
from movie_core.accounts.users import User
from movie_core.clock import Clock, utc_now
from movie_core.errors import InvalidToken
from movie_core.ports import AccessTokens, SessionRepo

MAX_CALLERS = 10_000
"""Verified tokens that are cached, about 1 kB each."""


class SessionTokens:
    """Starts sessions, and issues and verifies their tokens. Every method raises `StoreUnavailable` if the store is
    unavailable, unless it says otherwise.
    """

    def __init__(
        self,
        sessions: SessionRepo,
        registry: SessionRegistry,
        tokens: AccessTokens,
        keyring: Keyring,
        rules: AccountRules,
        clock: Clock = utc_now,
    ) -> None:
        self._sessions = sessions
        self._registry = registry
        self._tokens = tokens
        self._keyring = keyring
        self._rules = rules
        self._clock = clock
        self._callers: OrderedDict[str, Caller] = OrderedDict()

    async def start(
        self, user: User, device: str, *, new_password_hash: str | None = None, network: str = ""
    ) -> TokenPair:
        """Starts a session of a user whose password was verified; `new_password_hash` replaces the stored hash. Raises
        `InvalidCredentials` if the user was deactivated or the password changed since `user` was read."""
        now = self._clock()
        device = "".join(c if c.isprintable() else " " for c in device)[:MAX_DEVICE]
        session = Session(new_id(), user.id, device, created_at=now, last_used_at=now)
        refresh = new_token()
        ended = await self._sessions.start(
            session,
            token_hash(refresh),
            now + min(self._rules.refresh_ttl, self._rules.session_ttl),
            password_hash=user.password_hash,
            new_password_hash=new_password_hash,
            network=network,
        )
        self._registry.mark_ended(ended)
        return TokenPair(self._issue_access_token(session, now), refresh)

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchanges a refresh token for new tokens. Raises `InvalidToken`; a stolen token also ends its session."""
        now = self._clock()
        successors = self._keyring.successors(refresh_token)
        rotated = await self._sessions.rotate(
            token_hash(refresh_token),
            [token_hash(successor) for successor in successors],
            now,
            now + self._rules.refresh_ttl,
            lifetime=self._rules.session_ttl,
        )
        if rotated is None:
            raise InvalidToken("the refresh token is not valid")
        return TokenPair(self._issue_access_token(rotated.session, now), successors[rotated.successor])

    async def find_owner(self, refresh_token: str) -> str | None:
        """Returns the id of the user of a refresh token; None for an unknown token or an ended session."""
        return await self._sessions.find_owner(token_hash(refresh_token))

    async def authenticate(self, access_token: str) -> Caller:
        """Verifies an access token and its session. Raises `InvalidToken`. Queries the store only for the first request
        of a session, and works without the store while it is unavailable."""
        caller = self._caller(access_token)
        await self._registry.check(caller.session_id)
        return caller

    def authenticate_cached(self, access_token: str) -> Caller | None:
        """Verifies an access token without a query. Returns None if the token is invalid or its session is not cached;
        call `authenticate` then."""
        try:
            caller = self._caller(access_token)
        except InvalidToken:
            return None
        return caller if self._registry.is_live(caller.session_id) else None

    def _caller(self, access_token: str) -> Caller:
        """Reads a token. A verified token is cached until it expires; its session is not checked here."""
        cached = self._callers.get(access_token)
        if cached is not None and self._clock() < cached.expires_at:
            self._callers.move_to_end(access_token)
            return cached
        claims = self._tokens.read(access_token)
        caller = self._callers[access_token] = Caller(claims.user_id, claims.session_id, claims.expires_at)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        return caller

    def _issue_access_token(self, session: Session, now: datetime) -> str:
        now = now.replace(microsecond=0)
        expires_at = min(
            now + self._rules.access_ttl, session.created_at.replace(microsecond=0) + self._rules.session_ttl
        )
        return self._tokens.issue(AccessClaims(session.user_id, session.id, new_id(), now, expires_at))
