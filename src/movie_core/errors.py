"""What can go wrong, in families; each leaf has a code that stays stable.

An error says what happened in the words of the domain. Which HTTP status it becomes stands in one table of the API
(`movie_api.problems`); a test keeps that table total over the leaves defined here.
"""

from typing import ClassVar

from movie_core.provenance import CacheStatus
from movie_core.quotas import Quota


class MovieError(Exception):
    """The root of every error that a caller may meet. `detail` is one sentence for a person, never a secret."""

    code: ClassVar[str]

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        """The parameter or body field that is to blame, where there is one."""


class Invalid(MovieError):
    """The input is at fault; sending it again can't help."""

    others: "tuple[Invalid, ...]" = ()
    """What else is wrong with the same input."""


class Denied(MovieError):
    """Who asks may not, or hasn't shown who they are."""


class NotFound(MovieError):
    """What was asked for isn't there."""


class Conflict(MovieError):
    """The request is fine by itself but not beside what is stored already."""


class Unavailable(MovieError):
    """A part that is needed is away; the same request may succeed later."""

    def __init__(self, detail: str, *, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds after which another try makes sense."""


class InvalidOffsetOrLimit(Invalid):
    code = "invalid_offset_or_limit"


class InvalidQuery(Invalid):
    code = "invalid_query"


class InvalidParameter(Invalid):
    code = "invalid_parameter"


class FilterUnsupported(Invalid):
    """The source in use can't apply this filter or order."""

    code = "filter_unsupported"


class PageOutOfRange(Invalid):
    code = "page_out_of_range"

    def __init__(self, *, offset: int, total: int, total_pages: int) -> None:
        super().__init__(
            f"offset {offset} lies past the end: there are {total} items on {total_pages} pages", field="offset"
        )
        self.total_pages = total_pages


class NotAuthenticated(Denied):
    code = "not_authenticated"


class InvalidToken(Denied):
    code = "invalid_token"


class MovieNotFound(NotFound):
    code = "movie_not_found"

    def __init__(self, detail: str, *, state: "CacheStatus | None" = None) -> None:
        super().__init__(detail)
        self.state = state
        """Of a search: whether it was remembered that nothing matches."""


class SourceUnavailable(Unavailable):
    """The movie source gave no usable answer in the time there was."""

    code = "source_unavailable"


class StoreUnavailable(Unavailable):
    """The database can't be reached, or doesn't answer in time."""

    code = "store_unavailable"


class InvalidEmail(Invalid):
    code = "invalid_email"


class InvalidUsername(Invalid):
    code = "invalid_username"


class WeakPassword(Invalid):
    """The password breaks a rule; the detail says which."""

    code = "weak_password"


class InvalidPassword(Invalid):
    """The current password, or the password of the registration to activate, is wrong."""

    code = "invalid_password"


class InvalidBody(Invalid):
    """The body isn't what the route takes."""

    code = "invalid_body"


class InvalidRating(Invalid):
    """A rating that isn't on the scale."""

    code = "invalid_rating"


class InvalidEvent(Invalid):
    """An event of a list that can't be one; nothing of the list was kept."""

    code = "invalid_event"


class TooManyRows(Invalid):
    """A list that is longer than may be given at once; nothing of it was kept."""

    code = "too_many_rows"


class SeveralUsers(Invalid):
    """A file of ratings that are not all of one user."""

    code = "several_users"


class InvalidLink(Invalid):
    """An activation or reset link that is malformed, used, superseded or expired; the cause is not disclosed."""

    code = "invalid_link"


class InvalidCredentials(Denied):
    """Address and password don't belong together; also where there is no such account, or it is inactive."""

    code = "invalid_credentials"


class ReauthenticationRequired(Denied):
    """The request requires a recent login."""

    code = "reauthentication_required"


class NotAllowed(Denied):
    """Who asks is known, and may not."""

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
    """Staff would shut itself out."""

    code = "own_account"


class MailNotDead(Conflict):
    """The mail waits or was sent, so there is nothing to try again."""

    code = "mail_not_dead"


class TooManyRatings(Conflict):
    """The user has as many ratings as can be kept."""

    code = "too_many_ratings"


class RateLimited(MovieError):
    """Too many of something in too short a time."""

    code = "rate_limited"

    def __init__(self, detail: str, *, quota: "Quota") -> None:
        super().__init__(detail)
        self.quota = quota


class Busy(Unavailable):
    """The process has as much to do as it takes on."""

    code = "busy"
