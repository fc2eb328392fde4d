"""An app whose steps fail with the errors of libraries, and write down what its flows see of it."""

from pathlib import Path

from runtime import StepFailed, flow, sleep, step
from tests.runtime.engine.kinds_of_values import exact
from tests.runtime.engine.library_errors import LIBRARY_ERRORS

TURN_SECONDS = 0.05


def _fail(kind: str) -> None:
    LIBRARY_ERRORS[kind].fail()


fail = step(name="fail")(_fail)
fail_in_thread = step(name="fail_in_thread", thread=True)(_fail)


@step(loose=True)
def is_there(path: str) -> bool:
    return Path(path).exists()


def caught_by(kind: str, cls: type[Exception], *, in_thread: bool) -> str:
    """Return what an ``except`` of ``cls`` sees of an error of that kind."""
    expected = LIBRARY_ERRORS[kind]
    try:
        (fail_in_thread if in_thread else fail)(kind)
    except cls as error:
        is_it = isinstance(error, expected.cls) or (
            isinstance(error, StepFailed) and error.is_a(expected.cls)
        )
        told = [exact(getattr(error, name)) for name in expected.told]
        return f"{kind} by {cls.__name__}: {is_it} {type(error).__name__} {exact(error)} {told}"
    except Exception as error:
        return f"{kind} by {cls.__name__}: not caught: {exact(error)}"
    return f"{kind} by {cls.__name__}: nothing was raised"


@flow
def use_libraries(in_thread: bool, seen: str, gate: str) -> list[str]:
    """Meet all errors, append them to the file ``seen``, wait until there is a file ``gate``."""
    lines: list[str] = []
    for kind, expected in LIBRARY_ERRORS.items():
        own = StepFailed if expected.is_stood_in_for else expected.cls
        lines += [caught_by(kind, cls, in_thread=in_thread) for cls in (own, *expected.bases)]
    with Path(seen).open("a") as file:
        file.write(f"{lines!r}\n")
    while not is_there(gate):
        sleep(TURN_SECONDS)
    return lines
