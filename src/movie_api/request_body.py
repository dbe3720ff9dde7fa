"""Strict parsing of request bodies: JSON, HTML forms and files; unknown fields are errors."""

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
"""Nested arrays and objects in JSON."""
MAX_REPORTED_FIELDS = 10
"""Unknown fields that an error lists."""
MAX_REPORTED_NAME = 40
"""Characters of an unknown field's name that an error repeats."""

MAX_EXACT = 2**53
"""The greatest number up to which a float represents every integer exactly."""
THREAD_THRESHOLD = 64 * 1024
"""Bytes of a body above which it is parsed in a thread, because parsing would block other requests."""

JSON = "application/json"
CSV = "text/csv"
ZIP = "application/zip"
FORM = "application/x-www-form-urlencoded"

# The closing quote is optional and the quantifier possessive, so that an unterminated string takes linear time too.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_DEPTH_CHANGE = {"[": 1, "{": 1, "]": -1, "}": -1}
_BRACKETS = re.compile(r"[\[\]{}]")

T = TypeVar("T", bound=msgspec.Struct)
Value = TypeVar("Value")


async def read_body(request: AnyRequest) -> bytes:
    """The raw body, within the size limit of the route."""
    try:
        return await request.body()
    except InternalServerException:  # Litestar's error for a client that disconnected
        raise ClientException from None


async def read_json(request: AnyRequest, struct: type[T]) -> T:
    """Parse a JSON object with the fields of `struct`; raises `InvalidBody`, whose `others` are the errors of all other
    fields."""
    _require_type(request, JSON)
    return _convert(_require_object(parse_json(await read_body(request))), struct)


async def read_rows(request: AnyRequest, struct: type[T], *, least: int, most: int) -> list[T]:
    """Parse a JSON array of `least` to `most` objects with the fields of `struct`, which must forbid unknown fields.
    Raises `TooManyRows`, and `InvalidBody` for the first invalid row, counted from 1."""
    _require_type(request, JSON)
    body = await read_body(request)
    if len(body) <= THREAD_THRESHOLD:
        return _parse_rows(body, struct, least, most)
    return await asyncio.to_thread(_parse_rows, body, struct, least, most)


def _parse_rows(body: bytes, struct: type[T], least: int, most: int) -> list[T]:
    rows = parse_json(body)
    if not isinstance(rows, list) or len(rows) < least:
        raise InvalidBody("the body must be a JSON array" + (f" of {least} to {most} objects" if least else ""))
    if len(rows) > most:
        raise TooManyRows(f"at most {most} rows are allowed, the body has {len(rows)}")
    with contextlib.suppress(msgspec.ValidationError):  # the invalid row is found below
        return msgspec.convert(rows, list[struct])  # type: ignore[valid-type]
    converted = []
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InvalidBody(f"row {number} must be an object", field=str(number))
        try:
            converted.append(_convert(row, struct))
        except InvalidBody as error:
            raise InvalidBody(f"row {number}: {error.detail}", field=f"{number}.{error.field}") from None
    return converted


def media_type_of(request: AnyRequest) -> str:
    """The media type from `Content-Type`, in lower case and without parameters; empty if the header is missing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_file(request: AnyRequest, media_types: Collection[str]) -> bytes:
    """The raw body of a file, whose `Content-Type` must be one of these, with any parameters except for JSON."""
    media_type = media_type_of(request)
    if len(request.headers.getall("content-type", [])) != 1 or media_type not in media_types:
        raise HTTPException(status_code=415)
    if media_type == JSON:
        _require_type(request, JSON)
    _require_no_coding(request)
    return await read_body(request)


async def read_optional_json(request: AnyRequest, struct: type[T]) -> T:
    """Like `read_json`, but the body may be omitted; no field of `struct` may be required."""
    body = await read_body(request)
    if body or "content-type" in request.headers:
        _require_type(request, JSON)
    return _convert(_require_object(parse_json(body)) if body else {}, struct)


async def read_form(request: AnyRequest, struct: type[T]) -> T:
    """Parse a form that a browser sends, with the fields of `struct`; raises `InvalidBody` like `read_json`."""
    _require_type(request, FORM)
    body = await read_body(request)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict", max_num_fields=100
        )
    except ValueError:
        raise InvalidBody("the form must be percent-encoded UTF-8") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise InvalidBody("a field of the form is repeated")
    return _convert(form, struct)


def is_form(request: AnyRequest) -> bool:
    """Whether the body is a form that a browser sends, according to `Content-Type`."""
    return media_type_of(request) == FORM


def value_or_none(value: Value | msgspec.UnsetType) -> Value | None:
    """The value of an optional field; None if it was omitted."""
    return None if isinstance(value, msgspec.UnsetType) else value


def _require_type(request: AnyRequest, media_type: str) -> None:
    headers = request.headers.getall("content-type", [])
    pattern = re.escape(media_type) + r'\s*(?:;\s*charset=("?)utf-8\1\s*)?;?\s*'
    if len(headers) != 1 or not re.fullmatch(pattern, headers[0].strip(), re.IGNORECASE):
        raise HTTPException(status_code=415)
    _require_no_coding(request)


def _require_no_coding(request: AnyRequest) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(status_code=415)


def parse_json(body: bytes) -> Any:
    """Decode JSON in UTF-8 without repeated names or deep nesting. Raises `InvalidBody`."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise InvalidBody("the body must be UTF-8") from None
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub("", text)):
        depth += _DEPTH_CHANGE[bracket]
        if depth > MAX_DEPTH:
            raise InvalidBody(f"arrays and objects in the body may be nested at most {MAX_DEPTH} deep")
    try:
        value = json.loads(text, object_pairs_hook=_unique_fields, parse_float=_number, parse_constant=_reject_constant)
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise InvalidBody("the body has an unpaired surrogate") from None
    except ValueError:
        raise InvalidBody("the body must be JSON") from None
    return value


def _require_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidBody("the body must be a JSON object")
    return value


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise InvalidBody("a field is repeated")
    return fields


def _number(text: str) -> int | float:
    """Parse a JSON number with a fraction. 2.0 becomes an integer, as in JSON Schema and thus the OpenAPI document."""
    value = float(text)
    return int(value) if abs(value) <= MAX_EXACT and value.is_integer() else value


def _reject_constant(_: str) -> NoReturn:
    raise InvalidBody("NaN and Infinity are not valid JSON")


def _convert(body: dict[str, Any], struct: type[T]) -> T:
    """Raises one error for all invalid, missing and unknown fields together."""
    errors: list[Invalid] = []
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in body:
            try:
                msgspec.convert(body[name], field.type)
            except msgspec.ValidationError as error:
                errors.append(InvalidBody(f"{name}: {error}", field=name))
    missing = [name for name, field in fields.items() if field.required and name not in body]
    errors += (InvalidBody(f"{name} is required", field=name) for name in missing)
    unknown = [name[:MAX_REPORTED_NAME] for name in body if name not in fields]
    errors += (InvalidBody(f"{name} is not a field of this body", field=name) for name in unknown[:MAX_REPORTED_FIELDS])
    if errors:
        first, *others = errors
        first.others = tuple(others)
        raise first
    return msgspec.convert(body, struct)
