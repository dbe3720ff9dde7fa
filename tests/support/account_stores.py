"""`AccountStores` over one SQL database, as the contract suites take them."""

from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.security.username_syntax import UnicodeUsernameSyntax
from movie_adapters.sql.account_data import SqlAccountDataRepo
from movie_adapters.sql.outbox import SqlOutbox
from movie_adapters.sql.password_resets import SqlPasswordResetRepo
from movie_adapters.sql.registrations import SqlRegistrationRepo
from movie_adapters.sql.sessions import SqlSessionRepo
from movie_adapters.sql.user_directory import SqlUserDirectory
from movie_adapters.sql.users import SqlUserRepo
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.testing import AccountStores


def sql_account_stores(engine: AsyncEngine, rules: MailRules, keyring: Keyring) -> AccountStores:
    return AccountStores(
        users=SqlUserRepo(engine),
        directory=SqlUserDirectory(engine),
        registrations=SqlRegistrationRepo(engine, rules, keyring),
        password_resets=SqlPasswordResetRepo(engine),
        sessions=SqlSessionRepo(engine),
        data=SqlAccountDataRepo(engine, rules, UnicodeUsernameSyntax()),
        outbox=SqlOutbox(engine, rules, keyring),
        keyring=keyring,
    )
