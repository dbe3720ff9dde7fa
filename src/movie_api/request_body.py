"""Bodies, read strictly: JSON, forms and files, each with just the fields that a route takes."""

import asyncio
import contextlib
import json
import re
from collections.abc import Collection
from typing import Any, NoReturn, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.exceptions import ClientException, HTTPException, InternalServerException

from movie_api.problems import AnyRequest
from movie_core.errors import Invalid, InvalidBody, TooManyRows

MAX_DEPTH = 32
"""Arrays and objects inside each other."""
MAX_TOLD = 10
"""Unknown fields that a refusal names."""
MAX_NAME = 40
"""Characters of an unknown field's name that a refusal repeats."""

MAX_EXACT = 2**53
"""Up to there every whole number has a float of its own."""
LARGE = 64 * 1024
"""Bytes of a body from which reading it would keep other requests waiting."""

JSON = "application/json"
CSV = "text/csv"
FORM = "application/x-www-form-urlencoded"

# The last quote is optional and nothing is tried twice, so that a string without an end costs no more.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
_BRACKETS = re.compile(r"[\[\]{}]")

T = TypeVar("T", bound=msgspec.Struct)
Value = TypeVar("Value")


async def read_body(request: AnyRequest) -> bytes:
    """The body as it came, within the limit of the route."""
    try:
        return await request.body()
    except InternalServerException:  # litestar's word for a client that went away in the middle
        raise ClientException from None


async def read_json(request: AnyRequest, wanted: type[T]) -> T:
    """A JSON object with the fields of `wanted`; raises `InvalidBody`, whose `others` name all fields at fault."""
    _require_type(request, JSON)
    return _converted(_object_of(_parsed(await read_body(request))), wanted)


async def read_rows(request: AnyRequest, wanted: type[T], *, least: int, most: int) -> list[T]:
    """A JSON array of objects with the fields of `wanted`, which must forbid others; raises `TooManyRows`, and
    `InvalidBody` for the first row that is none, counted from 1."""
    _require_type(request, JSON)
    body = await read_body(request)
    if len(body) <= LARGE:
        return _rows(body, wanted, least, most)
    return await asyncio.to_thread(_rows, body, wanted, least, most)


def _rows(body: bytes, wanted: type[T], least: int, most: int) -> list[T]:
    given = _parsed(body)
    if not isinstance(given, list) or len(given) < least:
        raise InvalidBody("the body must be a JSON array" + (f" of {least} to {most} objects" if least else ""))
    if len(given) > most:
        raise TooManyRows(f"at most {most} rows may be given at once, these are {len(given)}")
    with contextlib.suppress(msgspec.ValidationError):  # looked into below, row by row
        return msgspec.convert(given, list[wanted])  # type: ignore[valid-type]
    rows = []
    for number, row in enumerate(given, 1):
        if not isinstance(row, dict):
            raise InvalidBody(f"row {number} must be an object", field=str(number))
        try:
            rows.append(_converted(row, wanted))
        except InvalidBody as wrong:
            raise InvalidBody(f"row {number}: {wrong.detail}", field=f"{number}.{wrong.field}") from None
    return rows


def media_type_of(request: AnyRequest) -> str:
    """Of the body, as the request says; empty where it doesn't."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_file(request: AnyRequest, media_type: str) -> bytes:
    """The body as it came, where it says that it is of that type, in UTF-8."""
    _require_type(request, media_type)
    return await read_body(request)


async def read_json_or_nothing(request: AnyRequest, wanted: type[T]) -> T:
    """As `read_json`, of a body that may be left out; no field of `wanted` is required."""
    body = await read_body(request)
    if body or "content-type" in request.headers:
        _require_type(request, JSON)
    return _converted(_object_of(_parsed(body)) if body else {}, wanted)


async def read_no_json(request: AnyRequest) -> None:
    """For a route that wants nothing: no body, or an object without fields."""
    await read_json_or_nothing(request, msgspec.Struct)


async def read_form(request: AnyRequest, fields: Collection[str], *, optional: Collection[str] = ()) -> dict[str, str]:
    """A form as browsers encode it, with just these fields, of which some may be left out; raises `InvalidBody`."""
    _require_type(request, FORM)
    body = await read_body(request)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=100
        )
    except ValueError:
        raise InvalidBody("the form must be percent-encoded UTF-8") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InvalidBody("a field of the form is given twice")
    _refuse_others(given, fields, [name for name in fields if name not in optional])
    return given


def is_form(request: AnyRequest) -> bool:
    """Whether the body says that it is a browser's form."""
    return media_type_of(request) == FORM


def given_or_none(value: Value | msgspec.UnsetType) -> Value | None:
    """The value of a field that may be left out."""
    return None if isinstance(value, msgspec.UnsetType) else value


def _require_type(request: AnyRequest, media_type: str) -> None:
    given = request.headers.getall("content-type", [])
    pattern = re.escape(media_type) + r'\s*(?:;\s*charset=("?)utf-8\1\s*)?;?\s*'
    if len(given) != 1 or not re.fullmatch(pattern, given[0].strip(), re.IGNORECASE):
        raise HTTPException(status_code=415)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(status_code=415)


def _parsed(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidBody("the body must be UTF-8") from None
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        depth += _STEPS[bracket]
        if depth > MAX_DEPTH:
            raise InvalidBody(f"the body may have arrays and objects up to {MAX_DEPTH} inside each other")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_refuse_constant)
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidBody("the body has half a surrogate pair") from None
    except ValueError:
        raise InvalidBody("the body must be JSON") from None
    return value


def _object_of(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidBody("the body must be a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidBody("a field is given twice")
    return found


def _number(text: str) -> int | float:
    """2.0 is a whole number to JSON Schema, and so to the API's own document."""
    value = float(text)
    return int(value) if abs(value) <= MAX_EXACT and value.is_integer() else value


def _refuse_constant(_: str) -> NoReturn:
    raise InvalidBody("NaN and Infinity are no JSON")


def _converted(given: dict[str, Any], wanted: type[T]) -> T:
    fields = {one.name: one for one in msgspec.structs.fields(wanted)}
    wrong: list[Invalid] = []
    for name, field in fields.items():
        if name in given:
            try:
                msgspec.convert(given[name], field.type)
            except msgspec.ValidationError as error:
                wrong.append(InvalidBody(f"{name}: {error}", field=name))
    _refuse_others(given, fields, [name for name, field in fields.items() if field.required], wrong)
    return msgspec.convert(given, wanted)


def _refuse_others(
    given: Collection[str], known: Collection[str], required: Collection[str], wrong: Collection[Invalid] = ()
) -> None:
    """Raises one error for all that is wrong, what is missing or unknown added to it."""
    unknown = [name[:MAX_NAME] for name in given if name not in known]
    found = [
        *wrong,
        *(InvalidBody(f"{name} is missing", field=name) for name in required if name not in given),
        *(InvalidBody(f"{name} is no field of this body", field=name) for name in unknown[:MAX_TOLD]),
    ]
    if found:
        first, *rest = found
        first.others = tuple(rest)
        raise first
