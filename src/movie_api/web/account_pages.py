"""The HTML pages of mailed links, without scripts and without personal data."""

from html import escape

from litestar import Response

from movie_api.problems import AnyRequest, describe_error, problem_response
from movie_api.request_body import is_form
from movie_api.web.pages import html_response, page
from movie_core.errors import InvalidLink, UsernameTaken

_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_DOCS = '<a href="/docs">API documentation</a>'


def wants_html(request: AnyRequest) -> bool:
    """Whether the client is a browser: it has `text/html` in `Accept`, or sends a form. All others are JSON clients."""
    if request.method == "POST" and is_form(request):
        return True
    for element in ",".join(request.headers.getall("accept", [])).split(","):
        media_type, *parameters = (part.strip().lower() for part in element.split(";"))
        if media_type == "text/html":
            return not any(value.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for value in parameters)
    return False


def activation_form(min_length: int, error: str = "", *, is_new: bool = False) -> Response[str]:
    """The form that activates an account; with an `error`, its status is 400. `is_new` checks the box."""
    alert, description = _error_parts(error)
    checked = " checked" if is_new else ""
    return _page(
        "Activate your account",
        "<p>Enter the password that you chose when you registered. If you forgot it, or did not register yourself, "
        f'enter a new one and tick the box.</p><form method="post"><label for="password">Password</label>{alert}'
        f'<input type="password" id="password" name="password" autocomplete="current-password" required {description}>'
        f'<p class="choice"><input type="checkbox" id="new" name="new"{checked}> <label for="new">This is a new '
        f'password</label></p><p class="hint" id="hint">A new password needs at least {min_length} characters and must '
        "be hard to guess: use a few uncommon words.</p><button>Activate my account</button></form>",
        status_code=400 if error else 200,
    )


def _error_parts(error: str) -> tuple[str, str]:
    """The HTML of the alert, and the attributes that connect the password field with it; no alert without an error."""
    if not error:
        return "", 'aria-describedby="hint"'
    alert = f'<p role="alert" id="error">{escape(_sentence(error))}</p>'
    return alert, 'aria-describedby="error hint" aria-invalid="true"'


def activated() -> Response[str]:
    return _page("Your account is active", f"<p>You can log in now. See the {_DOCS}.</p>")


def already_activated() -> Response[str]:
    """The page for a link that was used before."""
    return _page(
        "Your account is already active",
        f"<p>This link was used before; nothing was changed.</p><p>Log in with your password. See the {_DOCS}.</p>",
    )


def password_form(min_length: int, error: str = "") -> Response[str]:
    """The form for a new password; with an `error`, its status is 400."""
    alert, description = _error_parts(error)
    return _page(
        "Choose a new password",
        f'<form method="post"><label for="password">New password</label>{alert}'
        f'<input type="password" id="password" name="password" autocomplete="new-password" required {description}>'
        f'<p class="hint" id="hint">At least {min_length} characters and hard to guess: use a few uncommon '
        "words. All devices will be logged out.</p><button>Set the password</button></form>",
        status_code=400 if error else 200,
    )


def password_changed() -> Response[str]:
    return _page("Your password was changed", f"<p>Log in with the new password. See the {_DOCS}.</p>")


def handle_link_error(request: AnyRequest, error: Exception) -> Response[bytes] | Response[str]:
    """The exception handler of mailed links: an HTML page for a browser, else a problem document."""
    headers, problem = describe_error(request, error)
    if not wants_html(request):
        return problem_response(headers, problem)
    if isinstance(error, InvalidLink):
        is_activation = "/verify-email/" in request.scope["path"]
        path = "verify-email/resend/" if is_activation else "password/forgot/"
        title = "This link is not valid"
        content = (
            "<p>It is invalid, has expired, or was superseded by a newer email.</p>"
            f"{'<p>If you already have an account, log in.</p>' * is_activation}<p>To request a new link, send your "
            f"email address to <code>POST /api/v1/authentication/{path}</code>, for example in the {_DOCS}.</p>"
        )
    elif isinstance(error, UsernameTaken):
        title = "This username is taken"
        content = (
            "<p>Another user activated it before you. Register again with another username: "
            f"<code>POST /api/v1/authentication/register/</code>, for example in the {_DOCS}.</p>"
        )
    else:
        title, content = problem.title, f"<p>{escape(_sentence(problem.detail))}</p>"
    response = _page(title, content, status_code=problem.status)
    response.headers |= {name: value for name, value in headers.items() if name != "content-type"}
    return response


def _page(title: str, content: str, *, status_code: int = 200) -> Response[str]:
    response = html_response(page(title, content), _POLICY, status_code=status_code)
    response.headers["x-robots-tag"] = "noindex"
    return response


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
