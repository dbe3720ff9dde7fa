"""Email delivered by the objects that the worker's own container builds."""

from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTPUTF8
from pathlib import Path

from dishka import FromDishka, Provider, Scope, provide
from dishka.integrations.taskiq import inject

from movie_adapters.settings.settings import Settings
from movie_core.accounts.keyring import Keyring, new_id
from movie_core.accounts.outbox import MailRules, MailState
from movie_core.accounts.outbox_dispatcher import OutboxDispatcher
from movie_core.accounts.users import Address, PendingRegistration, Username
from movie_core.clock import utc_now
from movie_core.memory import MemoryDatabase, MemoryOutbox, MemoryRegistrationRepo
from movie_core.paging import Window
from movie_core.ports import Mailer, Outbox
from movie_worker.app import create_broker


class InMemoryOutbox(Provider):
    """Replaces the database; the mailer is the worker's own."""

    scope = Scope.APP

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__()
        self._database = database

    @provide(override=True)
    def outbox(self) -> Outbox:
        return MemoryOutbox(self._database)


async def test_email_from_and_to_special_use_domains_is_delivered(tmp_path: Path) -> None:
    settings = Settings.load(
        {"MOVIE_DATA_DIR": str(tmp_path), "MOVIE_MAIL_FROM": "films@corp.local", "MOVIE_SECRET_KEY": "x" * 32},
        dotenv=None,
    )
    database = MemoryDatabase(MailRules(timedelta(hours=1), None), Keyring(settings.secret_key))
    address = Address("ann@corp.local", "ann@corp.local")
    registration = PendingRegistration(new_id(), address, Username("ann", "ann"), "hash", utc_now())
    await MemoryRegistrationRepo(database).register(registration, utc_now())
    broker = create_broker(settings, InMemoryOutbox(database))

    @broker.task
    @inject(patch_module=True)
    async def deliver(dispatcher: FromDishka[OutboxDispatcher]) -> int:
        return await dispatcher.deliver_due()

    await broker.startup()
    result = await (await deliver.kiq()).wait_result(timeout=30)
    result.raise_for_error()
    await broker.shutdown()
    assert [mail.state for mail in (await MemoryOutbox(database).list_page(Window()))[1]] == [MailState.SENT]
    (file,) = (tmp_path / "mail").glob("*.eml")
    message = message_from_bytes(file.read_bytes(), policy=SMTPUTF8)
    assert (message["From"], message["To"]) == ("Movie Search <films@corp.local>", "ann@corp.local")


async def test_the_smtp_mailer_accepts_a_sender_in_a_special_use_domain() -> None:
    environ = {"MOVIE_SMTP_URL": "smtp://127.0.0.1:9", "MOVIE_MAIL_FROM": "films@corp.local"}
    broker = create_broker(Settings.load(environ, dotenv=None))

    @broker.task
    @inject(patch_module=True)
    async def create(mailer: FromDishka[Mailer]) -> str:
        return type(mailer).__name__

    await broker.startup()
    result = await (await create.kiq()).wait_result(timeout=30)
    await broker.shutdown()
    assert (result.is_err, result.return_value) == (False, "SmtpMailer")
