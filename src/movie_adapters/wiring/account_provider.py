"""Provider of users, sessions, emails, rate limits and administration."""

import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from datetime import timedelta

from dishka import Provider, Scope, provide, provide_all

from movie_adapters.settings.settings import Settings
from movie_adapters.wiring.connections import Database, SharedRedis
from movie_adapters.wiring.secret_file import load_or_create_secret
from movie_core.accounts.account_data import AccountData
from movie_core.accounts.credentials import Credentials
from movie_core.accounts.identifiers import IdentifierParser
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.login import Login
from movie_core.accounts.outbox import MailRules
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.passwords import Passwords
from movie_core.accounts.profiles import Profiles
from movie_core.accounts.registration import Registration
from movie_core.accounts.rules import AccountRules
from movie_core.accounts.session_registry import SessionRegistry
from movie_core.accounts.session_service import Sessions
from movie_core.accounts.session_tokens import SessionTokens
from movie_core.accounts.user_management import UserManagement
from movie_core.clock import Clock
from movie_core.operations.administration import AuditRecorder, MailAdministration, UserAdministration
from movie_core.operations.rate_limits import RateLimits
from movie_core.ports import (
    AccessTokens,
    AccountDataRepo,
    AddressSyntax,
    AuditLog,
    DeliveryNotifier,
    EventStore,
    Mailer,
    Outbox,
    PasswordHasher,
    PasswordResetRepo,
    PasswordStrength,
    PersonalOrderStore,
    RateLimiter,
    RatingStore,
    RegistrationRepo,
    SessionRepo,
    UserDirectory,
    UsernameSyntax,
    UserRepo,
)


class AccountProvider(Provider):
    """Users, sessions, emails, rate limits and administration."""

    scope = Scope.APP
    services = provide_all(
        SessionRegistry,
        IdentifierParser,
        Credentials,
        SessionTokens,
        Sessions,
        Registration,
        Login,
        Passwords,
        Profiles,
        UserManagement,
        AuditRecorder,
        UserAdministration,
        MailAdministration,
    )

    @provide
    def keyring(self, settings: Settings) -> Keyring:
        return Keyring(settings.secret_key or (load_or_create_secret(settings.data_dir),))

    @provide
    def mail_rules(self, settings: Settings) -> MailRules:
        return MailRules(link_ttl=timedelta(seconds=settings.link_ttl), limit=settings.limit_mail)

    @provide
    def users(self, database: Database) -> UserRepo:
        from movie_adapters.sql.users import SqlUserRepo

        return SqlUserRepo(database.engine)

    @provide
    def directory(self, database: Database) -> UserDirectory:
        from movie_adapters.sql.user_directory import SqlUserDirectory

        return SqlUserDirectory(database.engine)

    @provide
    def registrations(self, database: Database, rules: MailRules, keyring: Keyring) -> RegistrationRepo:
        from movie_adapters.sql.registrations import SqlRegistrationRepo

        return SqlRegistrationRepo(database.engine, rules, keyring)

    @provide
    def password_resets(self, database: Database) -> PasswordResetRepo:
        from movie_adapters.sql.password_resets import SqlPasswordResetRepo

        return SqlPasswordResetRepo(database.engine)

    @provide
    def account_data_repo(self, database: Database, rules: MailRules, syntax: UsernameSyntax) -> AccountDataRepo:
        from movie_adapters.sql.account_data import SqlAccountDataRepo

        return SqlAccountDataRepo(database.engine, rules, syntax)

    @provide
    def sessions(self, database: Database) -> SessionRepo:
        from movie_adapters.sql.sessions import SqlSessionRepo

        return SqlSessionRepo(database.engine)

    @provide
    def outbox(self, database: Database, rules: MailRules, keyring: Keyring) -> Outbox:
        from movie_adapters.sql.outbox import SqlOutbox

        return SqlOutbox(database.engine, rules, keyring)

    @provide
    async def mailer(self, settings: Settings) -> AsyncIterator[Mailer]:
        if settings.smtp_url is None:
            from movie_adapters.email.files import FileMailer

            yield FileMailer(
                settings.data_dir / "mail", settings.mail_from, _print_link if settings.shows_links else None
            )
            return
        from movie_adapters.email.smtp import SmtpMailer

        smtp = SmtpMailer(settings.smtp_url, settings.mail_from)
        yield smtp
        await smtp.close()

    @provide
    async def notifier(self, settings: Settings) -> AsyncIterator[DeliveryNotifier]:
        if settings.redis_url is None:
            from movie_adapters.wiring.event_notifier import EventNotifier

            yield EventNotifier()
            return
        from movie_adapters.redis.task_queue import TaskNotifier

        notifier = TaskNotifier(settings.redis_url, settings.key_prefix)
        yield notifier
        await notifier.close()

    @provide
    async def hasher(self) -> AsyncIterator[PasswordHasher]:
        from movie_adapters.security.argon2 import Argon2PasswordHasher

        hasher = Argon2PasswordHasher()
        yield hasher
        await hasher.close()

    @provide
    def tokens(self, settings: Settings, keyring: Keyring, clock: Clock) -> AccessTokens:
        from movie_adapters.security.jwt import JwtAccessTokens

        return JwtAccessTokens(keyring, issuer=settings.public_url, clock=clock)

    @provide
    def syntax(self, settings: Settings) -> AddressSyntax:
        from movie_adapters.email.syntax import EmailValidatorSyntax

        return EmailValidatorSyntax(accept_special_use=settings.env == "local")

    @provide
    def username_syntax(self) -> UsernameSyntax:
        from movie_adapters.security.username_syntax import UnicodeUsernameSyntax

        return UnicodeUsernameSyntax()

    @provide
    def strength(self) -> PasswordStrength:
        from movie_adapters.security.password_strength import ZxcvbnPasswordStrength

        return ZxcvbnPasswordStrength()

    @provide
    def rate_limiter(self, redis: SharedRedis) -> RateLimiter:
        from movie_adapters.redis.rate_limits import SharedRateLimiter

        return SharedRateLimiter(redis.client)

    @provide
    def limits(self, settings: Settings, limiter: RateLimiter) -> RateLimits:
        return RateLimits(
            limiter,
            login=settings.limit_login,
            register=settings.limit_register,
            search=settings.limit_search,
            suggest=settings.limit_suggest,
            events=settings.limit_events,
            writes=settings.limit_writes,
            imports=settings.limit_imports,
            exports=settings.limit_exports,
        )

    @provide
    def account_rules(self, settings: Settings) -> AccountRules:
        return AccountRules(
            password_min=settings.password_min,
            access_ttl=timedelta(seconds=settings.access_ttl),
            refresh_ttl=timedelta(seconds=settings.refresh_ttl),
            session_ttl=timedelta(seconds=settings.session_ttl),
            reauthenticate_after=timedelta(seconds=settings.reauthenticate_after),
        )

    @provide
    def account_data(
        self,
        repo: AccountDataRepo,
        mailer: Mailer,
        registry: SessionRegistry,
        notifier: DeliveryNotifier,
        ratings: RatingStore,
        events: EventStore,
        orders: PersonalOrderStore,
        audit_log: AuditLog,
        clock: Clock,
    ) -> AccountData:
        return AccountData(repo, (ratings, events, orders, audit_log), mailer, registry, notifier, clock)

    @provide
    def audit_log(self, database: Database) -> AuditLog:
        from movie_adapters.sql.audit import SqlAuditLog

        return SqlAuditLog(database.engine)

    @provide
    def dispatcher(
        self, settings: Settings, outbox: Outbox, mailer: Mailer, keyring: Keyring, clock: Clock
    ) -> OutboxDispatcher:
        owner = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(4)}"
        return OutboxDispatcher(outbox, mailer, keyring, public_url=settings.public_url, owner=owner, clock=clock)


def _print_link(line: str) -> None:
    """Print to the console and not to the log: a link in the line grants access like a password."""
    sys.stderr.write(f"movie-search: {line}\n")
    sys.stderr.flush()
