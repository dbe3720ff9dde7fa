from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path

import pytest
from tests.support.html import Html

from movie_adapters.email import messages
from movie_adapters.email.messages import build_message, needs_utf8
from movie_core.accounts.outbox import ACTIVATION_KINDS, SUBJECTS, MailKind, OutgoingEmail

SENDER = "noreply@movies.example.com"
URL = "https://movies.example.com/api/v1/authentication/verify-email/" + "0" * 32 + "/" + "x" * 43 + "/"


def make_email(*links: str, kind: MailKind = MailKind.ACTIVATION, to: str = "ann@example.com") -> OutgoingEmail:
    return OutgoingEmail("ab" * 16, kind, to, datetime(2026, 2, 3, 4, 5, 6, 789, UTC), links)


def parse_built(email: OutgoingEmail, sender: str = SENDER) -> EmailMessage:
    raw = build_message(email, sender).as_bytes()
    return message_from_bytes(raw, policy=SMTPUTF8)


def part(message: EmailMessage, subtype: str) -> str:
    body = message.get_body((subtype,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_headers_are_derived_from_the_email():
    message = parse_built(make_email(URL))
    assert message["To"] == "ann@example.com"
    assert message["From"] == f"Movie Search <{SENDER}>"
    assert message["Message-ID"] == f"<{'ab' * 16}@movies.example.com>"
    assert message["Date"] == "Tue, 03 Feb 2026 04:05:06 +0000"
    assert message["Subject"] == "Activate your account"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"


def test_the_same_email_is_built_into_the_same_bytes():
    email = make_email(URL)
    assert build_message(email, SENDER).as_bytes() == build_message(email, SENDER).as_bytes()


def test_a_link_is_on_its_own_line_in_the_raw_message():
    assert f"\r\n{URL}\r\n".encode() in build_message(make_email(URL), SENDER).as_bytes()


def test_the_raw_message_is_ascii_without_long_lines():
    raw = build_message(make_email(URL), SENDER).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) < 998


def test_the_text_of_an_activation_email():
    assert part(parse_built(make_email(URL)), "plain") == (
        "Hello,\n\n"
        "Someone, probably you, registered this email address. To activate the account, open the link and enter the "
        "password that was chosen at registration, or choose a new one.\n\n"
        f"{URL}\n\n"
        "If you did not register, ignore this email: no account will be created.\n\n"
        "-- \nMovie Search\n"
    )


def test_the_text_of_an_email_without_links():
    assert part(parse_built(make_email(kind=MailKind.TEST)), "plain") == (
        "Hello,\n\nThis is a test message. Email delivery works.\n\n-- \nMovie Search\n"
    )


@pytest.mark.parametrize("kind", MailKind)
def test_text_and_html_have_the_same_paragraphs(kind):
    """The wording is plain text in one template; the HTML layout escapes it."""
    has_link = kind in (*ACTIVATION_KINDS, MailKind.PASSWORD_RESET)
    for count in range(1, 4) if kind in ACTIVATION_KINDS else [int(has_link)]:
        message = parse_built(make_email(*[URL] * count, kind=kind))
        greeting, *paragraphs, _ = part(message, "plain").split("\n\n")
        texts = Html(part(message, "html")).texts
        assert greeting in texts
        assert [text for text in texts if text in paragraphs and text != URL] == [
            text for text in paragraphs if text != URL
        ]


def test_every_kind_has_a_template():
    folder = Path(messages.__file__).parent / "templates"
    assert {path.name for path in folder.iterdir()} == {"layout.txt", "layout.html"} | {
        f"{kind.value}.txt" for kind in MailKind
    }


@pytest.mark.parametrize("subtype", ["plain", "html"])
def test_several_links_keep_their_order(subtype):
    text = part(parse_built(make_email(URL + "1/", URL + "2/", URL + "3/")), subtype)
    assert "several times" in text
    positions = [text.index(url) for url in (URL + "1/", URL + "2/", URL + "3/")]
    assert positions == sorted(positions)


@pytest.mark.parametrize("kind", MailKind)
def test_every_kind_has_a_subject_a_text_part_and_an_html_part(kind):
    has_link = kind in (*ACTIVATION_KINDS, MailKind.PASSWORD_RESET)
    message = parse_built(make_email(*([URL] if has_link else []), kind=kind))
    assert message["Subject"] == SUBJECTS[kind]
    for subtype in ("plain", "html"):
        assert (URL in part(message, subtype)) == has_link
        assert ("://" in part(message, subtype)) == has_link


def test_links_are_html_escaped():
    html = part(parse_built(make_email(URL + "<b>&amp", URL + "'\"><img src=x>")), "html")
    assert "&lt;b&gt;&amp;amp" in html
    assert "<img" not in html
    assert "<b>" not in html


@pytest.mark.parametrize("kind", [*sorted(ACTIVATION_KINDS), MailKind.PASSWORD_RESET])
def test_no_value_changes_the_structure_of_the_html(kind):
    html = part(parse_built(make_email("\"><script>x</script><a href='{{ 7 * 7 }}' onload=\"", kind=kind)), "html")
    harmless = part(parse_built(make_email(URL, kind=kind)), "html")
    assert Html(html).structure == Html(harmless).structure
    assert "{{ 7 * 7 }}" in html


def test_html_loads_no_remote_content():
    html = part(parse_built(make_email(URL)), "html")
    assert not [word for word in ("src=", "<link", "@import", "url(", "<script") if word in html]
    assert html.count("://") == html.count(URL) == 3


def test_a_non_ascii_domain_is_sent_as_idna():
    email = make_email(URL, to="ann@Bücher.example")
    assert not needs_utf8(SENDER, email.recipient)
    raw = build_message(email, SENDER).as_bytes()
    assert b"\r\nTo: ann@xn--bcher-kva.example\r\n" in raw


def test_a_non_ascii_local_part_is_sent_as_utf8():
    email = make_email(URL, to="zoë@example.com")
    assert needs_utf8(SENDER, email.recipient)
    assert "\r\nTo: zoë@example.com\r\n".encode() in build_message(email, SENDER).as_bytes()


@pytest.mark.parametrize("local", ["o'neil+films", "a.b-c_d", "x=y", "50%off", "a!b/c{d}|e~f^g`h#i$j&k*l?m"])
def test_an_unusual_local_part_is_unchanged(local):
    assert (
        parse_built(make_email(URL, to=f"{local}@example.com"))["To"].addresses[0].addr_spec == f"{local}@example.com"
    )


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\r\n",
        "ann\n@example.com",
        "ann@example.com, eve@example.com",
        "Ann <ann@example.com>",
        "ann@exam ple.com",
        "ann@example.com>",
        "ann\x00@example.com",
    ],
)
def test_an_address_that_is_not_one_plain_mailbox_is_rejected(address):
    with pytest.raises(ValueError, match="not one plain mailbox"):
        build_message(make_email(URL, to=address), SENDER)
