"""The values of the core are immutable, so that requests, caches and tasks can share them."""

import dataclasses
import enum
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import movie_core

MUTABLE = {"_HeldLease"}
"""Private to the object that changes it."""
VALUE_AREAS = ("", ".search", ".accounts", ".discovery", ".operations")


def _values() -> Iterator[type]:
    for area in VALUE_AREAS:
        package = importlib.import_module(f"movie_core{area}")
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if found.ispkg:
                continue
            module = importlib.import_module(found.name)
            for value in vars(module).values():
                if isinstance(value, type) and value.__module__ == found.name and _has_fields(value):
                    yield value


def _has_fields(value: type) -> bool:
    """Whether a class declares fields and leaves its constructor to `dataclass`. Named tuples cannot be changed."""
    is_value = not (getattr(value, "_is_protocol", False) or issubclass(value, enum.Enum | Exception | tuple))
    is_made = "__init__" in vars(value) and "__dataclass_fields__" not in vars(value)
    return is_value and not is_made and bool(vars(value).get("__annotations__"))


VALUES = [value for value in _values() if value.__name__ not in MUTABLE]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_a_value_cannot_be_changed(value: type) -> None:
    assert dataclasses.is_dataclass(value)
    instance = object.__new__(value)
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, field.name, None)


def test_all_areas_have_values() -> None:
    assert len(VALUES) > 50
    assert dataclasses.is_dataclass(movie_core.Movie)
    assert movie_core.Movie in VALUES
