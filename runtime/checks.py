"""Arguments that people get wrong, checked where they are given: right types, bounded, readable.

What passes here goes into the store, into messages or into lists, where nobody checks it again, so
each check returns the value as the plain builtin type that it has there.
"""

import inspect
import math
import types
from collections.abc import Callable, Iterable
from typing import Final

from runtime.errors import ArgumentInvalid
from runtime.limits import NAME_CHARACTERS_MAX, USER_CHARACTERS_MAX, VERSION_MAX

# Threads and sockets can't wait longer in one piece; it is a hundred years.
_SECONDS_MAX: Final = 100 * 366 * 86_400.0

MARKED_BY: Final = "__marked_by__"
"""The attribute of what a marker has made that says which marker that was."""


def name(value: object, argument: str) -> str:
    """Return the name of a flow, a step or a space: printable, 1 to `NAME_CHARACTERS_MAX`."""
    exact = text(value, argument, characters_max=NAME_CHARACTERS_MAX)
    if not exact.isprintable():
        raise ArgumentInvalid(argument, f"is {shown(value)}", "Use printable characters only")
    return exact


def user(value: object, argument: str) -> str:
    """Return the name of a user, or of a party that acts as one; empty if only the node knows."""
    return text(value, argument, characters_max=USER_CHARACTERS_MAX, characters_min=0)


def text(value: object, argument: str, *, characters_max: int, characters_min: int = 1) -> str:
    """Return text that is not too short or long, and can be written as UTF-8."""
    if not isinstance(value, str):
        raise _wrong_type(argument, value, 'a text, like "order-17"')
    if not characters_min <= len(value) <= characters_max:
        raise ArgumentInvalid(
            argument, f"has {len(value)} characters", f"Use 1 to {characters_max}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        what = f"is {shown(value)}, which can't be encoded: {error.reason}"
        raise ArgumentInvalid(argument, what, "Use valid Unicode") from None
    # Not the text of a subclass, which may be an enum.
    return str.__str__(value)


def version(value: object, argument: str) -> int:
    """Return the version of a flow."""
    return number(value, argument, least=0, most=VERSION_MAX)


def number(value: object, argument: str, *, least: int, most: int) -> int:
    """Return a whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(argument, value, "a whole number, like 1")
    if not least <= value <= most:
        raise ArgumentInvalid(argument, f"is {shown(value)}", f"Use {least:,} to {most:,}")
    return int(value)


def real(value: object, argument: str, *, least: float, most: float) -> float:
    """Return a number within bounds, which is no NaN."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(argument, value, "a number, like 1.5")
    if math.isnan(value) or not least <= value <= most:
        raise ArgumentInvalid(argument, f"is {shown(value)}", f"Use {least:,} to {most:,}")
    return float(value)


def wait_seconds(value: object, argument: str) -> float | None:
    """Return how long to wait: seconds, none of them if negative; None, or infinity, for ever."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _wrong_type(argument, value, "a number of seconds, like 1.5, or None")
    if math.isnan(value):
        raise ArgumentInvalid(argument, "is NaN", "Use a number of seconds, or None to wait on")
    return None if value == math.inf else max(0.0, min(float(value), _SECONDS_MAX))


def truth(value: object, argument: str) -> bool:
    """Return True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise _wrong_type(argument, value, "True or False")
    return value


def labels(values: object, argument: str, *, characters_max: int) -> tuple[str, ...]:
    """Return different labels, none empty."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise _wrong_type(argument, values, 'a list of texts, like ["Asking", "Paying"]')
    found = tuple(text(value, argument, characters_max=characters_max) for value in values)
    if len(set(found)) < len(found):
        raise ArgumentInvalid(argument, "has a label twice", "To report it again, set it again")
    return found


def function(value: object, marker: str, *, named: object = None) -> str:
    """Return module and qualified name of what is marked with ``marker``: a plain function.

    ``named`` is the name that its author gave it instead, if any.
    """
    already = getattr(value, MARKED_BY, None)
    if isinstance(already, str):
        what = f"marks {_name_of(value)}, which is marked {already} already"
        raise ArgumentInvalid(marker, what, "Take one of the two marks away")
    if isinstance(value, staticmethod | classmethod):
        what = f"marks {_name_of(value)}, a {type(value).__name__}"
        raise ArgumentInvalid(marker, what, f"Write {marker} below @{type(value).__name__}")
    if not isinstance(value, types.FunctionType):
        do = "Mark a function: def name(...) in your module, which may call it"
        raise ArgumentInvalid(marker, f"marks {shown(value)}, not a Python function", do)
    inner = inspect.unwrap(value)
    if (
        inspect.iscoroutinefunction(inner)
        or inspect.isgeneratorfunction(inner)
        or inspect.isasyncgenfunction(inner)
    ):
        what = f"marks {value.__qualname__}, which is async or a generator"
        raise ArgumentInvalid(marker, what, "Mark a plain function that returns its result")
    if named is None and value.__name__ == "<lambda>":
        what = f"marks a lambda of {module_of(value)}, which has no name"
        raise ArgumentInvalid(marker, what, "Write a function, with def: its name is recorded")
    return f"{module_of(value)}.{value.__qualname__}"


def no_method(function: Callable[..., object], marker: str) -> None:
    """Refuse a function that wants an object of its class: a restart would not have it."""
    in_class = "." in function.__qualname__.rpartition("<locals>.")[2]
    if in_class and next(iter(inspect.signature(function).parameters), "") in ("self", "cls"):
        what = f"marks {function.__qualname__}, a method"
        do = "Mark a function of the module, and give it what it needs as arguments"
        raise ArgumentInvalid(marker, what, do)


def _name_of(value: object) -> str:
    return str(getattr(value, "__qualname__", None) or shown(value))


def module_of(value: object) -> str:
    """Return the module of a function; builtin methods have none."""
    module = getattr(value, "__module__", None)
    return module if isinstance(module, str) else "builtins"


def instance(value: object, kinds: type | types.UnionType, argument: str, wanted: str) -> None:
    """Refuse what is no instance; ``wanted`` says of what, for people."""
    if not isinstance(value, kinds):
        raise _wrong_type(argument, value, wanted)


def exception_class(value: object, argument: str, wanted: str) -> None:
    """Refuse what is no class of exceptions."""
    if not (isinstance(value, type) and issubclass(value, BaseException)):
        raise _wrong_type(argument, value, wanted)


def shown(value: object) -> str:
    """Return a short form of any value for an error text."""
    try:
        form = repr(value)
    # It may be an object of any class.
    except Exception:
        form = f"a {type(value).__name__}"
    form = form.encode("utf-8", "backslashreplace").decode()
    return form if len(form) <= _SHOWN_CHARACTERS_MAX else f"{form[:_SHOWN_CHARACTERS_MAX]}..."


def _wrong_type(argument: str, value: object, wanted: str) -> ArgumentInvalid:
    what = f"is {shown(value)}, of type {type(value).__name__}"
    return ArgumentInvalid(argument, what, f"Give it {wanted}")


_SHOWN_CHARACTERS_MAX = 100
