"""What schemathesis can't know by the document: who calls, and where a well-formed request is refused all the same.

It is loaded by schemathesis, in an environment of its own; `fuzz/__main__.py` tells by variables where the server is.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

import schemathesis
from tests.programs import make_staff, signed_up

URL = os.environ["FUZZ_URL"]
FOLDER = Path(os.environ["FUZZ_FOLDER"])
PROGRAM = Path(os.environ["FUZZ_PROGRAM"])
SOURCE_FAILS = os.environ["FUZZ_SOURCE_FAILS"] == "yes"

ENDING = {"logOut", "endSession", "endOtherSessions", "changePassword", "resetPassword", "eraseProfile", "changeUser"}
"""Operations after which a token may be worth nothing."""

REFUSED: dict[str, set[str]] = {
    "searchMovies": {"invalid_parameter", "filter_unsupported"},
    "register": {"invalid_email", "invalid_username", "weak_password"},
    "changeProfile": {"invalid_username"},
    "resendActivation": {"invalid_email"},
    "forgotPassword": {"invalid_email"},
    "showActivation": {"invalid_token"},
    "activate": {"invalid_token"},
    "showReset": {"invalid_token"},
    "resetPassword": {"invalid_token"},
    "resetPasswordByForm": {"invalid_token"},
    "changePassword": {"invalid_password", "weak_password"},
    "reauthenticate": {"invalid_password"},
    "analytics": {"invalid_parameter"},
}
"""Codes of a 400 that an operation, or those of a tag, may give to a request that is as its schema has it, because of
what the request means: a link that isn't ours, a password that is easily guessed."""


class Person:
    """An activated account that is made, and logged in, when a token is asked for and none is good."""

    def __init__(self, *, is_staff: bool) -> None:
        self._is_staff = is_staff
        self._token = ""
        self._lock = threading.Lock()

    def token(self) -> str:
        with self._lock:
            if not self._token:
                self._token = self._made()
            return self._token

    def lose(self, token: str) -> None:
        """It may have ended."""
        with self._lock:
            if token == self._token:
                self._token = ""

    def _made(self) -> str:
        address, pair = signed_up(URL, FOLDER)
        if self._is_staff:
            make_staff(address, FOLDER, dict(os.environ), PROGRAM)
        return str(pair["access"])


USER, STAFF = Person(is_staff=False), Person(is_staff=True)


def _definition(operation: Any) -> dict[str, Any]:
    raw: dict[str, Any] = operation.definition.raw
    return raw


def _caller(operation: Any) -> Person:
    return STAFF if {"analytics", "administration"} & set(_definition(operation)["tags"]) else USER


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """A token for whatever asks for one."""

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
        USER.lose(token)
        STAFF.lose(token)


def _code(response: Any) -> str:
    if b"<title>This link is not valid</title>" in response.content:
        return "invalid_token"
    try:
        body = json.loads(response.content)
    except ValueError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


@schemathesis.check
def documented_code(ctx: Any, response: Any, case: Any) -> None:
    """The document lists the codes of each status."""
    code = _code(response)
    told = _definition(case.operation)["responses"].get(str(response.status_code))
    if code and told is not None and response.status_code >= 400 and f"`{code}`" not in told["description"]:
        raise AssertionError(f"{response.status_code} has {code}, the document says {told['description']}")


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """False where the refusal is no failure."""
    kind, code, raw = type(failure).__name__, _code(response), _definition(case.operation)
    if kind == "ServerError" and response.status_code == 503:
        return not (SOURCE_FAILS and code == "source_unavailable")
    if kind == "RejectedPositiveData" and response.status_code == 400:
        if code == "page_out_of_range":
            return not case.query.get("offset")
        if raw["operationId"] == "importRatings" and case.media_type == "text/csv" and code == "invalid_body":
            return False  # a schema can't tell a file with columns from other text
        return not any(code in REFUSED.get(name, ()) for name in (raw["operationId"], *raw["tags"]))
    return True
