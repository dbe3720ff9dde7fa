"""`AccountStores` over one SQL database or over a deployment in memory, as the contract suites take them."""

from sqlalchemy.ext.asyncio import AsyncEngine

from movie_adapters.security.username_syntax import UnicodeUsernameSyntax
from movie_adapters.sql.outbox import SqlOutbox
from movie_adapters.sql.sessions import SqlSessionStore
from movie_adapters.sql.users import SqlUserRepo
from movie_core.accounts.keyring import Keyring
from movie_core.accounts.outbox import MailRules
from movie_core.memory import Deployment
from movie_core.testing import AccountStores


def sql_account_stores(engine: AsyncEngine, rules: MailRules, keys: Keyring) -> AccountStores:
    users = SqlUserRepo(engine, rules, keys, UnicodeUsernameSyntax())
    return AccountStores(users, SqlSessionStore(engine), SqlOutbox(engine, rules, keys), keys)


def memory_account_stores(deployment: Deployment) -> AccountStores:
    return AccountStores(deployment.user_repo, deployment.session_repo, deployment.outbox, deployment.keys)
