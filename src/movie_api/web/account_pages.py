"""The HTML pages of mailed links, without scripts and without personal data."""

from typing import Any

from litestar import Response
from litestar.response import Template

from movie_api.accept import parse_accept
from movie_api.operations import HTML
from movie_api.problems import AnyRequest, describe_error, problem_response
from movie_api.request_body import is_form
from movie_api.web.rendering import html_page
from movie_core.errors import InvalidLink, UsernameTaken

_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def wants_html(request: AnyRequest) -> bool:
    """Whether the client is a browser, which lists `text/html` in `Accept` or sends a form; others get JSON."""
    if request.method == "POST" and is_form(request):
        return True
    return parse_accept(request.headers.getall("accept", [])).get(HTML, 0.0) > 0


def activation_form(min_length: int, error: str = "", *, is_new: bool = False) -> Template:
    """The form that activates an account; with an `error`, its status is 400. `is_new` checks the box."""
    return _form("activation_form", min_length, error, is_new=is_new)


def activated() -> Template:
    return _page("activated")


def already_activated() -> Template:
    """The page for a link that was used before."""
    return _page("already_activated")


def password_form(min_length: int, error: str = "") -> Template:
    """The form for a new password; with an `error`, its status is 400."""
    return _form("password_form", min_length, error)


def password_changed() -> Template:
    return _page("password_changed")


def handle_link_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The exception handler of mailed links: an HTML page for a browser, else a problem document."""
    headers, problem = describe_error(request, error)
    if not wants_html(request):
        return problem_response(headers, problem)
    if isinstance(error, InvalidLink):
        is_activation = "/verify-email/" in request.scope["path"]
        response = _page("invalid_link", status_code=problem.status, is_activation=is_activation)
    elif isinstance(error, UsernameTaken):
        response = _page("username_taken", status_code=problem.status)
    else:
        response = _page("problem", status_code=problem.status, title=problem.title, detail=_sentence(problem.detail))
    response.headers |= {name: value for name, value in headers.items() if name != "content-type"}
    return response


def _form(name: str, min_length: int, error: str, **context: Any) -> Template:
    alert = _sentence(error) if error else ""
    return _page(name, status_code=400 if error else 200, min_length=min_length, error=alert, **context)


def _page(name: str, *, status_code: int = 200, **context: Any) -> Template:
    response = html_page(f"account/{name}.html", _POLICY, status_code=status_code, **context)
    response.headers["x-robots-tag"] = "noindex"
    return response


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
