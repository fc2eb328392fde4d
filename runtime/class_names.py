"""Names of exception classes in the journal, ``module:qualified name``, and how one is found again.

Names come from this node's own journal, never from a peer. A class is what its module has under its
name now. The module is imported if it must be: it was loaded when the exception was raised. What
stands in no module, as a class in a function, is looked for among the loaded classes.
"""

import importlib
import sys
from typing import Final

_NAME_CHARACTERS_MAX: Final = 255
_BUILTIN: Final = "builtins:"


def public_module(module: str) -> str:
    """Return the name by which other nodes know ``module``: ``python -m x`` runs as ``x``."""
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        if spec is not None:
            return str(spec.name)
    return module


def recorded_name(cls: type) -> str:
    """Return what the journal calls ``cls``; bounded."""
    name = f"{public_module(str(cls.__module__))}:{cls.__qualname__}"
    return name[:_NAME_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()


def name_for_people(recorded: str) -> str:
    """Return a recorded name as it stands in logs and texts."""
    return recorded.removeprefix(_BUILTIN).replace(":", ".")


def exception_class(recorded: str, *, may_import: bool) -> type[BaseException] | None:
    """Return the class that `recorded_name` has named, if there still is one. Never raises."""
    module, _, path = recorded.partition(":")
    if not path:
        return None
    found = None if "<" in path else _in_module(module, path, may_import)
    if _is_it(found, recorded):
        return found  # type: ignore[return-value]  # just tested
    return _loaded(recorded)


def _in_module(module: str, path: str, may_import: bool) -> object:
    try:
        if module == public_module("__main__"):
            # Imported under its own name, a script would run once more.
            found: object = sys.modules["__main__"]
        elif may_import and all(map(str.isidentifier, module.split("."))):
            found = importlib.import_module(module)
        else:
            found = sys.modules[module]
        for name in path.split("."):
            found = getattr(found, name)
    # Whatever the code of a module raises, or if it wants to end the process.
    except (Exception, SystemExit):
        return None
    return found


def _is_it(found: object, recorded: str) -> bool:
    return (
        isinstance(found, type)
        and issubclass(found, BaseException)
        and recorded_name(found) == recorded
    )


def _loaded(recorded: str) -> type[BaseException] | None:
    """Return the newest loaded exception class of that name."""
    last: type[BaseException] | None = None
    seen: set[type[BaseException]] = set()
    ahead: list[type[BaseException]] = [BaseException]
    while ahead:
        cls = ahead.pop()
        if cls in seen:
            continue
        seen.add(cls)
        if recorded_name(cls) == recorded:
            last = cls
        ahead.extend(reversed(type.__subclasses__(cls)))
    return last
