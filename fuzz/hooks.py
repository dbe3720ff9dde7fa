"""Schemathesis hooks: authentication, and expected rejections of requests that conform to the OpenAPI document.

Loaded by Schemathesis in its own virtual environment; `fuzz/__main__.py` passes the server's address in variables.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

import schemathesis
from tests.support.programs import make_staff, signed_up

URL = os.environ["FUZZ_URL"]
FOLDER = Path(os.environ["FUZZ_FOLDER"])
PROGRAM = Path(os.environ["FUZZ_PROGRAM"])
SOURCE_FAILS = os.environ["FUZZ_SOURCE_FAILS"] == "yes"

ENDING = {"logOut", "endSession", "endOtherSessions", "changePassword", "resetPassword", "eraseProfile", "changeUser"}
"""Operations that may invalidate the token."""

REFUSED: dict[str, set[str]] = {
    "searchMovies": {"invalid_parameter", "filter_unsupported"},
    "register": {"invalid_email", "invalid_username", "weak_password"},
    "changeProfile": {"invalid_username"},
    "resendActivation": {"invalid_email"},
    "forgotPassword": {"invalid_email"},
    "showActivation": {"invalid_link"},
    "activate": {"invalid_link"},
    "showReset": {"invalid_link"},
    "resetPassword": {"invalid_link"},
    "resetPasswordByForm": {"invalid_link"},
    "changePassword": {"invalid_password", "weak_password"},
    "reauthenticate": {"invalid_password"},
    "analytics": {"invalid_parameter"},
}
"""Error codes of a 400 response, by operation id or tag, that are expected for requests valid against their schema,
because a schema can't express the reason: an unknown link, an easily guessed password."""

schemathesis.serializer.alias(
    ["text/csv", "text/tab-separated-values", "application/csv", "application/vnd.ms-excel"], "text/plain"
)
schemathesis.serializer.alias(["application/zip", "application/x-zip-compressed"], "application/octet-stream")


class Caller:
    """A user that is registered, activated and logged in on demand, when no valid token exists."""

    def __init__(self, *, is_staff: bool) -> None:
        self._is_staff = is_staff
        self._token = ""
        self._lock = threading.Lock()

    def token(self) -> str:
        with self._lock:
            if not self._token:
                self._token = self._log_in()
            return self._token

    def discard(self, token: str) -> None:
        """Discard the token, which may be invalid."""
        with self._lock:
            if token == self._token:
                self._token = ""

    def _log_in(self) -> str:
        address, pair = signed_up(URL, FOLDER)
        if self._is_staff:
            make_staff(address, FOLDER, dict(os.environ), PROGRAM)
        return str(pair["access"])


USER, STAFF = Caller(is_staff=False), Caller(is_staff=True)


def _definition(operation: Any) -> dict[str, Any]:
    raw: dict[str, Any] = operation.definition.raw
    return raw


def _caller(operation: Any) -> Caller:
    return STAFF if {"analytics", "administration"} & set(_definition(operation)["tags"]) else USER


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """Bearer authentication for all operations that require it."""

    def get(self, case: Any, context: Any) -> str | None:
        if _definition(context.operation).get("security") == []:
            return None
        return _caller(context.operation).token()

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if response.status_code == 401 or (
        response.status_code < 400 and _definition(case.operation)["operationId"] in ENDING
    ):
        token = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
        USER.discard(token)
        STAFF.discard(token)


def _code(response: Any) -> str:
    if b"<title>This link is not valid</title>" in response.content:
        return "invalid_link"
    try:
        body = json.loads(response.content)
    except ValueError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


@schemathesis.check
def documented_code(ctx: Any, response: Any, case: Any) -> None:
    """Check that the OpenAPI document lists the error code under its status."""
    code = _code(response)
    documented = _definition(case.operation)["responses"].get(str(response.status_code))
    if code and documented is not None and response.status_code >= 400 and f"`{code}`" not in documented["description"]:
        raise AssertionError(
            f"{response.status_code} has {code}, which the document does not list: {documented['description']}"
        )


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Returns False for an expected rejection, which is not a failure."""
    kind, code, raw = type(failure).__name__, _code(response), _definition(case.operation)
    if kind == "ServerError" and response.status_code == 503:
        return not (SOURCE_FAILS and code == "source_unavailable")
    if kind == "AcceptedNegativeData" and raw["operationId"] == "importRatings":
        return not response.json()["rejected"]  # a row that is not a rating is a rejected row, not a rejected body
    if kind == "RejectedPositiveData" and response.status_code == 400:
        if code == "page_out_of_range":
            return not case.query.get("offset")
        if raw["operationId"] == "importRatings" and case.media_type != "application/json":
            # a schema can't distinguish CSV with the required columns from other text
            return code not in {"invalid_body", "unclosed_quote"}
        return not any(code in REFUSED.get(name, ()) for name in (raw["operationId"], *raw["tags"]))
    return True
