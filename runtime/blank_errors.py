"""Exceptions made without a call of their constructor, and what their classes keep in slots."""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

E = TypeVar("E", bound=BaseException)

DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
"""Of what a class keeps beside the attributes: ``__slots__``, and the errno of an OSError."""

_HEAP_TYPE: Final = 1 << 9
# The slot itself: a class may have a property of this name, which may raise.
_args_of_all: Final[Any] = vars(BaseException)["args"]


def args_of(error: BaseException) -> tuple[Any, ...]:
    """Return the args, whatever the class makes of that name."""
    args: tuple[Any, ...] = _args_of_all.__get__(error)
    return args


def is_of_python(cls: Any) -> bool:
    """Tell whether a class is written in Python, so that any value may stand in its slots."""
    return bool(cls.__flags__ & _HEAP_TYPE)


def made_blank(cls: type[E], args: tuple[object, ...]) -> E:
    """Return an object of ``cls`` with these args, as the builtin that it extends makes one.

    Raises whatever the class and its base do.
    """
    base: Any = cls
    while is_of_python(base):
        base = base.__base__
    error: E
    if issubclass(base, BaseExceptionGroup):
        error = base.__new__(cls, args[0], list(args[1:]))
    else:
        error = base.__new__(cls)
        _args_of_all.__set__(error, args)
    return error


def slots_of(
    error: BaseException, is_meant: Callable[[str, Any], bool]
) -> Iterator[tuple[str, object]]:
    """Yield name and value of each slot that has one and ``is_meant(name, descriptor)``."""
    for cls in type(error).__mro__:
        for name, descriptor in vars(cls).items():
            if not isinstance(descriptor, DESCRIPTORS):
                continue
            value = None
            # It may be empty, and a metaclass is anybody's.
            with contextlib.suppress(Exception):
                value = descriptor.__get__(error) if is_meant(name, descriptor) else None
            if value is not None:
                yield name, value
