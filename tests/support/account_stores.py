"""The account stores on one SQL database, for the contract suites."""

from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.security.username_syntax import UnicodeUsernameSyntax
from movie_adapters.sql.outbox import SqlOutbox
from movie_adapters.sql.sessions import SqlSessionStore
from movie_adapters.sql.users import SqlUserRepo
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.testing import Stores


def sql_account_stores(engine: AsyncEngine, rules: MailRules, keys: Keyring) -> Stores:
    users = SqlUserRepo(engine, rules, keys, UnicodeUsernameSyntax())
    return Stores(users, SqlSessionStore(engine), SqlOutbox(engine, rules, keys), keys)
