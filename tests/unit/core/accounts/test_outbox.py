"""Values and rules of the outbox."""

from datetime import UTC, datetime

from movie_core.accounts.outbox import (
    MAX_ERROR,
    Mail,
    MailKind,
    MailRejected,
    MailState,
    after_rejection,
    link_url,
)


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
