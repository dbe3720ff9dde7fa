"""The outbox of a `MemoryDatabase`: delayed emails and dead ones."""

from datetime import datetime, timedelta

from movie_core import memory
from movie_core.accounts.outbox import MailRejected, MailRules
from movie_core.quotas import Rate
from movie_core.testing import NOW

PASSWORD = "copper lantern walks home"


async def test_renewed_links_for_two_mailboxes_of_one_address_key_are_sent_as_the_rate_limit_allows() -> None:
    now = NOW

    def clock() -> datetime:
        return now

    world = memory.deployment(clock=clock, mail_rules=MailRules(timedelta(hours=24), Rate(1, 3600)))
    mailboxes = ["strasse@example.com", "stra\u00dfe@example.com"]  # equal when casefolded
    for mailbox, username in zip(mailboxes, ("ann", "ben"), strict=True):
        await world.registration.register(mailbox, username, PASSWORD)
    await world.registration.resend_activation(mailboxes[0])
    sent = []
    for _ in range(4):
        await world.dispatcher.deliver_due()
        sent.append([email.recipient for email in world.mailer.emails])
        world.mailer.emails.clear()
        now += timedelta(hours=1)
    assert [len(recipients) for recipients in sent] == [1, 1, 1, 1], "one email an hour"
    assert sorted(sent[0] + sent[1]) == sorted(sent[2] + sent[3]) == sorted(mailboxes)


async def test_a_dead_email_whose_links_were_renewed_is_not_sent_by_a_retry() -> None:
    world = memory.deployment(clock=lambda: NOW)
    await world.registration.register("ann@example.com", "ann", PASSWORD)
    world.mailer.failure = MailRejected("no such mailbox", is_final=True)
    await world.dispatcher.deliver_due()
    world.mailer.failure = None
    await world.registration.resend_activation("ann@example.com")
    await world.dispatcher.deliver_due()
    assert len(world.mailer.emails) == 1
    assert len(await world.outbox.retry(None, NOW)) == 1
    await world.dispatcher.deliver_due()
    assert len(world.mailer.emails) == 1
