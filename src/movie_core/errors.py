"""All errors, in families. Each leaf class has a stable `code`.

    MovieError
    ├── Invalid       the input is invalid: InvalidQuery, InvalidEmail, WeakPassword, …
    ├── Denied        authentication or permission is missing: NotAuthenticated, InvalidToken, NotAllowed, …
    ├── NotFound      MovieNotFound, UserNotFound, SessionNotFound, …
    ├── Conflict      the stored data does not permit the request: UsernameTaken, MailNotDead, …
    ├── Unavailable   a dependency is unavailable, retry later: SourceUnavailable, StoreUnavailable, Busy
    └── RateLimited

Errors describe problems in terms of the domain. `movie_api.problems` maps each code to an HTTP status; a test checks
that it covers every leaf class.
"""

from typing import ClassVar

from movie_core.quotas import Quota


class MovieError(Exception):
    """The base class of all errors. `detail` is one sentence for users and contains no secret."""

    code: ClassVar[str]

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        """The invalid parameter or body field, if there is one."""


class Invalid(MovieError):
    """The input is invalid; a retry with the same input fails again."""

    others: "tuple[Invalid, ...]" = ()
    """Further errors in the same input."""


class Denied(MovieError):
    """Authentication or permission is missing."""


class NotFound(MovieError):
    """The requested object does not exist."""


class Conflict(MovieError):
    """The request is valid but conflicts with the stored data."""


class Unavailable(MovieError):
    """A required dependency is unavailable; a retry of the same request may succeed later."""

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds to wait before a retry."""


class InvalidOffsetOrLimit(Invalid):
    code = "invalid_offset_or_limit"


class InvalidQuery(Invalid):
    code = "invalid_query"


class InvalidParameter(Invalid):
    code = "invalid_parameter"


class UnknownParameter(Invalid):
    """The operation has no parameter of this name."""

    code = "unknown_parameter"


class FilterUnsupported(Invalid):
    """The movie source does not support this filter or order."""

    code = "filter_unsupported"


class PageOutOfRange(Invalid):
    code = "page_out_of_range"

    def __init__(self, *, offset: int, total: int, total_pages: int) -> None:
        super().__init__(
            f"offset {offset} is past the end: there are {total} items on {total_pages} pages", field="offset"
        )
        self.total_pages = total_pages


class NotAuthenticated(Denied):
    code = "not_authenticated"


class InvalidToken(Denied):
    code = "invalid_token"


class MovieNotFound(NotFound):
    code = "movie_not_found"


class SourceUnavailable(Unavailable):
    """The movie source gave no usable response within the deadline."""

    code = "source_unavailable"


class StoreUnavailable(Unavailable):
    """A store, such as the database, is unreachable or timed out."""

    code = "store_unavailable"


class InvalidEmail(Invalid):
    code = "invalid_email"


class InvalidUsername(Invalid):
    code = "invalid_username"


class WeakPassword(Invalid):
    """The password violates a rule; `detail` states which."""

    code = "weak_password"


class InvalidPassword(Invalid):
    """The current password, or the password of the registration to activate, is wrong."""

    code = "invalid_password"


class InvalidBody(Invalid):
    """The request body or uploaded file has an invalid format."""

    code = "invalid_body"


class InvalidRating(Invalid):
    """The rating is not on the scale."""

    code = "invalid_rating"


class InvalidEvent(Invalid):
    """One event of a list is invalid; none of the list was stored."""

    code = "invalid_event"


class TooManyRows(Invalid):
    """The list exceeds the maximum length; none of it was stored."""

    code = "too_many_rows"


class UnclosedQuote(Invalid):
    """The file has a quote that is not closed, or is truncated; none of it was stored."""

    code = "unclosed_quote"


class SeveralUsers(Invalid):
    """The file contains ratings of more than one user."""

    code = "several_users"


class InvalidLink(Invalid):
    """An activation or reset link that is malformed, used, superseded or expired; the cause is not disclosed."""

    code = "invalid_link"


class InvalidCredentials(Denied):
    """Email or password is wrong, or the user is unknown or inactive; deliberately the same error."""

    code = "invalid_credentials"


class ReauthenticationRequired(Denied):
    """The request requires a recent login."""

    code = "reauthentication_required"


class NotAllowed(Denied):
    """The user is authenticated but lacks the permission."""

    code = "not_allowed"


class RatingNotFound(NotFound):
    code = "rating_not_found"


class UserNotFound(NotFound):
    code = "user_not_found"


class SessionNotFound(NotFound):
    code = "session_not_found"


class MailNotFound(NotFound):
    code = "mail_not_found"


class UsernameTaken(Conflict):
    code = "username_taken"


class PasswordRequired(Conflict):
    """Several registrations are pending for the address, so the link alone does not decide whose password is used."""

    code = "password_required"


class OwnAccount(Conflict):
    """Staff users cannot deactivate themselves or revoke their own staff rights."""

    code = "own_account"


class MailNotDead(Conflict):
    """The email is pending or sent, so it cannot be retried."""

    code = "mail_not_dead"


class TooManyRatings(Conflict):
    """The user has the maximum number of ratings."""

    code = "too_many_ratings"


class RateLimited(MovieError):
    """A rate limit was exceeded; `quota` states which."""

    code = "rate_limited"

    def __init__(self, detail: str, *, quota: Quota) -> None:
        super().__init__(detail)
        self.quota = quota


class Busy(Unavailable):
    """The process is at its capacity limit."""

    code = "busy"
