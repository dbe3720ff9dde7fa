"""Address of an SMTP server, as given in `MOVIE_SMTP_URL`."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

_EXPECTED = "must look like smtp://user:pass@host:587?tls=starttls or smtps://user:pass@host:465"


class Tls(StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Address and credentials of an SMTP server. Without a username the client does not authenticate."""

    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_encrypted(self) -> bool:
        return self.tls is not Tls.NONE


def parse_smtp_url(text: str) -> SmtpServer:
    """Parse `smtp://user:pass@host:587?tls=starttls`, `smtps://user:pass@host:465`, or, unencrypted, `smtp://host:25`.

    User and password are percent-encoded; either both or neither are given. Raises `ValueError`, whose text contains no
    part of the URL, as that may be a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        options = parse_qs(parts.query, strict_parsing=bool(parts.query), keep_blank_values=True)
    except ValueError:
        raise ValueError(_EXPECTED) from None
    modes = {
        ("smtp", ()): (Tls.NONE, 25),
        ("smtp", ("none",)): (Tls.NONE, 25),
        ("smtp", ("starttls",)): (Tls.STARTTLS, 587),
        ("smtps", ()): (Tls.IMPLICIT, 465),
    }
    tls, default_port = modes.get((parts.scheme, tuple(options.pop("tls", ()))), (None, 0))
    has_login = bool(parts.username and parts.password)
    is_complete = parts.hostname and parts.path in ("", "/") and not parts.fragment and not options and port != 0
    if tls is None or not is_complete or ("@" in parts.netloc and not has_login):
        raise ValueError(_EXPECTED)
    return SmtpServer(
        host=parts.hostname or "",
        port=port or default_port,
        tls=tls,
        username=unquote(parts.username or "") if has_login else None,
        password=unquote(parts.password or "") if has_login else None,
    )
