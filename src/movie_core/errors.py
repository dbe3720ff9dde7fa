"""What can go wrong, in five families; each leaf has a code that stays stable.

An error says what happened in the words of the domain. Which HTTP status it becomes stands in one table of the API
(`movie_api.errors`); a test keeps that table total over the leaves defined here.
"""

from typing import ClassVar


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


class SourceUnavailable(Unavailable):
    """The movie source gave no usable answer in the time there was."""

    code = "source_unavailable"


class StoreUnavailable(Unavailable):
    """The database can't be reached, or doesn't answer in time."""

    code = "store_unavailable"
