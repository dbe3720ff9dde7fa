"""The pages that mailed links lead to: plain HTML, without scripts and without anything about who they are for."""

from html import escape

import msgspec
from litestar import Response

from movie_api.problems import MEDIA_TYPE, AnyRequest, describe_error
from movie_api.request_body import is_form
from movie_api.web.pages import html, page
from movie_core.errors import InvalidLink, UsernameTaken

_POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_DOCS = '<a href="/docs">API documentation</a>'


def wants_html(request: AnyRequest) -> bool:
    """Whether a browser asks: it names `text/html` in `Accept`, or sends a form. Everyone else is a JSON client."""
    if request.method == "POST" and is_form(request):
        return True
    for named in ",".join(request.headers.getall("accept", [])).split(","):
        media_type, *parameters = (part.strip().lower() for part in named.split(";"))
        if media_type == "text/html":
            return not any(one.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for one in parameters)
    return False


def ask_to_activate(min_length: int, refusal: str = "", *, is_new: bool = False) -> Response[str]:
    """The form that activates an account; with a `refusal`, once more and 400. `is_new` ticks its box."""
    alert, described = _refusal(refusal)
    ticked = " checked" if is_new else ""
    return _page(
        "Activate your account",
        "<p>Enter the password that you chose when you registered. If you forgot it, or did not register yourself, "
        f'enter a new one and tick the box.</p><form method="post"><label for="password">Password</label>{alert}'
        f'<input type="password" id="password" name="password" autocomplete="current-password" required {described}>'
        f'<p class="choice"><input type="checkbox" id="new" name="new"{ticked}> <label for="new">This is a new '
        f'password</label></p><p class="hint" id="hint">A new password needs at least {min_length} characters and must '
        "be hard to guess: use a few uncommon words.</p><button>Activate my account</button></form>",
        status_code=400 if refusal else 200,
    )


def _refusal(refusal: str) -> tuple[str, str]:
    """An alert, and what a password field says of it; for no refusal an empty alert."""
    if not refusal:
        return "", 'aria-describedby="hint"'
    alert = f'<p role="alert" id="refusal">{escape(_sentence(refusal))}</p>'
    return alert, 'aria-describedby="refusal hint" aria-invalid="true"'


def is_active() -> Response[str]:
    return _page("Your account is active", f"<p>You can log in now. The {_DOCS} shows how.</p>")


def was_active() -> Response[str]:
    """The answer to a link that has already been used."""
    return _page(
        "Your account is already active",
        "<p>This link has already been used; nothing was changed.</p>"
        f"<p>Log in with your password. The {_DOCS} shows how.</p>",
    )


def ask_for_password(min_length: int, refusal: str = "") -> Response[str]:
    """The form of a new password; with a `refusal`, once more and 400."""
    alert, described = _refusal(refusal)
    return _page(
        "Choose a new password",
        f'<form method="post"><label for="password">New password</label>{alert}'
        f'<input type="password" id="password" name="password" autocomplete="new-password" required {described}>'
        f'<p class="hint" id="hint">At least {min_length} characters and hard to guess; a few uncommon words do '
        "well. All devices are logged out.</p><button>Set the password</button></form>",
        status_code=400 if refusal else 200,
    )


def is_reset() -> Response[str]:
    return _page("Your password is changed", f"<p>Log in with the new one. The {_DOCS} shows how.</p>")


def answer_either(request: AnyRequest, error: Exception) -> Response[bytes] | Response[str]:
    """The exception handler of mailed links: a page for a browser, else a problem document."""
    headers, problem = describe_error(request, error)
    if not wants_html(request):
        body = msgspec.json.encode(problem)
        return Response(body, status_code=problem.status, headers=headers, media_type=MEDIA_TYPE)
    if isinstance(error, InvalidLink):
        is_activation = "/verify-email/" in request.scope["path"]
        way = "verify-email/resend/" if is_activation else "password/forgot/"
        title = "This link is not valid"
        told = (
            "<p>It is wrong or has expired, or a newer mail has replaced it.</p>"
            f"{'<p>If you already have an account, log in.</p>' * is_activation}<p>To get a new link by mail, send "
            f"your address to <code>POST /api/v1/authentication/{way}</code>; the {_DOCS} lets you do so.</p>"
        )
    elif isinstance(error, UsernameTaken):
        title = "This username is taken"
        told = (
            "<p>Somebody else activated it before you. Register again with another username: "
            f"<code>POST /api/v1/authentication/register/</code>; the {_DOCS} lets you do so.</p>"
        )
    else:
        title, told = problem.title, f"<p>{escape(_sentence(problem.detail))}</p>"
    shown = _page(title, told, status_code=problem.status)
    shown.headers |= {name: value for name, value in headers.items() if name != "content-type"}
    return shown


def _page(title: str, content: str, *, status_code: int = 200) -> Response[str]:
    shown = html(page(title, content), _POLICY, status_code=status_code)
    shown.headers["x-robots-tag"] = "noindex"
    return shown


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
