"""The OpenAPI document of the code."""

from typing import Any

from movie_api.app import API_HANDLERS
from movie_api.openapi import document

DOCUMENT: dict[str, Any] = document(API_HANDLERS, "http://127.0.0.1:8000", version="1", public_search=False)
PATHS: dict[str, dict[str, Any]] = DOCUMENT["paths"]
SCHEMAS: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
