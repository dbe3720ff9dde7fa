"""Values and rules of the outbox."""

from datetime import UTC, datetime, timedelta

from movie_core.accounts.keyring import Keyring, token_hash
from movie_core.accounts.outbox import (
    LEASE,
    MAX_ERROR,
    NOTICES,
    SEND_SECONDS,
    SUBJECTS,
    USER_KINDS,
    EmailLink,
    Mail,
    MailKind,
    MailRejected,
    MailRules,
    MailState,
    after_rejection,
    link_url,
)
from movie_core.quotas import Rate

AT = datetime(2030, 1, 1, tzinfo=UTC)
PENDING = Mail("1", MailKind.ACTIVATION, "a@example.org", MailState.PENDING, 0, "", AT, AT)


def test_reset_and_activation_links_have_different_paths() -> None:
    links = {link_url("https://x.test", kind, "u", "t") for kind in (MailKind.PASSWORD_RESET, MailKind.ACTIVATION)}
    assert links == {
        "https://x.test/api/v1/authentication/password/reset/u/t/",
        "https://x.test/api/v1/authentication/verify-email/u/t/",
    }


def test_a_long_reply_of_a_server_is_truncated() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    mail = Mail("1", MailKind.ACTIVATION, "a@example.org", MailState.PENDING, 0, "", now, now)
    assert len(after_rejection(mail, MailRejected("x" * 9999, is_final=False), now).last_error) == MAX_ERROR


def test_a_server_that_rejects_an_email_temporarily_is_asked_for_about_twelve_minutes() -> None:
    mail, now = PENDING, AT
    while (mail := after_rejection(mail, MailRejected("451 later", is_final=False), now)).state is MailState.PENDING:
        assert mail.last_error == "451 later"
        assert now + timedelta(seconds=2) <= mail.due_at <= now + timedelta(minutes=5)
        now = mail.due_at
    assert (mail.state, mail.attempts) == (MailState.DEAD, 8)
    assert timedelta(minutes=12) <= now - AT <= timedelta(minutes=12, seconds=10)


def test_a_permanently_rejected_email_is_not_due_again() -> None:
    mail = after_rejection(PENDING, MailRejected("550 no", is_final=True), AT + timedelta(seconds=1))
    assert (mail.state, mail.attempts, mail.last_error, mail.due_at) == (MailState.DEAD, 1, "550 no", AT)


def test_a_lease_outlasts_an_attempt_to_send() -> None:
    assert timedelta(seconds=SEND_SECONDS) < LEASE


def test_all_networks_together_may_request_four_times_the_emails_of_one() -> None:
    rules = MailRules(timedelta(hours=24), Rate(1, 3600))
    earlier = [(AT - timedelta(minutes=10 * number), f"network {number}") for number in range(1, 6)]
    assert rules.total == Rate(4, 3600)
    assert rules.free_at(AT, [], "here") == AT
    assert rules.free_at(AT, earlier[:3], "here") == AT
    # Four of the last hour: the oldest must expire; of five, the second oldest too.
    assert rules.free_at(AT, earlier[:4], "here") == AT + timedelta(minutes=20)
    assert rules.free_at(AT, earlier, "here") == AT + timedelta(minutes=20)
    assert rules.free_at(AT, earlier, "here", is_known=True) == AT
    assert rules.free_at(AT, earlier[:2], "network 2") == AT + timedelta(minutes=40)
    assert rules.free_at(AT, earlier, "network 2", is_known=True) == AT + timedelta(minutes=40)


def test_without_a_limit_emails_are_never_delayed() -> None:
    rules = MailRules(timedelta(hours=24), None)
    assert rules.total is None
    assert rules.free_at(AT, [(AT, "here")] * 99, "here") == AT


def test_a_link_is_valid_for_its_lifetime_from_sending() -> None:
    assert MailRules(timedelta(hours=24), None).link_expiry(AT) == AT + timedelta(days=1)


def test_a_new_link_has_a_token_that_only_the_keyring_decrypts() -> None:
    keyring = Keyring(["k" * 32])
    link = EmailLink.create("anna", keyring)
    token = keyring.decrypt_token(link.encrypted_token, link.token_hash)
    assert token is not None
    assert (link.uid, link.token_hash) == ("anna", token_hash(token))


def test_kinds_that_only_users_get_are_not_those_of_strangers() -> None:
    assert {MailKind.ACTIVATION, MailKind.ACTIVATION_RENEWAL}.isdisjoint(USER_KINDS)
    assert NOTICES < USER_KINDS
    assert MailKind.PASSWORD_RESET in USER_KINDS - NOTICES
    assert MailKind.PASSWORD_CHANGED in NOTICES
    assert set(SUBJECTS) == set(MailKind)
