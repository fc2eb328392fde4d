"""Turn every error into one readable line on standard error and an exit code, never a traceback.

Exit codes: 0 done; 1 it failed; 2 the person who called must change something; 130 interrupted.
"""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import IO, Any, Final

import click

from runtime.cli.streams import OutputFailed, give_up_output
from runtime.errors import (
    FlowException,
    MisuseError,
    SennitError,
    StoreUnusable,
    UnserialisableMessage,
    original_class_of,
)

EXIT_FAILED: Final = 1
EXIT_MISUSE: Final = 2
EXIT_INTERRUPTED: Final = 130


class Reported(click.ClickException):
    """An error as its one line."""

    exit_code = EXIT_FAILED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"sennit: {self.message}", file=file, err=file is None)


class SennitGroup(click.Group):
    """The outermost group of commands; the one place where an error becomes a line."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command with the arguments of the process, and exit unless told not to."""
        is_exiting = options.pop("standalone_mode", True)
        run: Callable[[], Any] = partial(super().main, *arguments, **options, standalone_mode=False)
        if not is_exiting:
            return run()
        try:
            ended = run()
        except click.ClickException as error:
            sys.exit(_shown(error))
        except click.Abort as abort:
            sys.exit(EXIT_INTERRUPTED if abort.__cause__ is not None else EXIT_FAILED)
        except BrokenPipeError:
            # Whoever reads us (head, less) has seen enough.
            give_up_output()
            sys.exit(EXIT_FAILED)
        except Exception as error:
            if "SENNIT_TRACEBACK" in os.environ:
                traceback.print_exc()
            if isinstance(error, OutputFailed):
                give_up_output()
            sys.exit(_shown(reported(error)))
        # What `ctx.exit` was called with; a command that returns something has done its work.
        sys.exit(ended if isinstance(ended, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)


class Misuse(Reported):
    """The person who called must change something."""

    exit_code = EXIT_MISUSE


def reported(error: Exception) -> Reported:
    """Return the line and exit code for an error."""
    name = type(error).__name__
    # Also of ZeroMQ, whose errors are no `OSError`.
    if getattr(error, "errno", None) in {errno.EMFILE, errno.ENFILE}:
        do = "Allow more before you start it: ulimit -n 4096"
        return Misuse(f"no more files or connections can be opened ({error}). {do}")
    match error:
        case UnserialisableMessage(__cause__=UnicodeEncodeError(object=str(text))):
            return Misuse(f"{text!r} can't be sent to the node: it is no text in UTF-8")
        case FlowException():
            return Reported(f"the flow ended with {error_text(error)}")
        case MisuseError() | StoreUnusable():
            return Misuse(str(error) or name)
        case SennitError():
            return Reported(str(error) or name)
        case OSError():
            return Reported(str(error))
        case _:
            return Reported(
                f"an error inside sennit itself: {name}: {error} "
                "(set SENNIT_TRACEBACK=1 to see where)"
            )


def error_text(error: FlowException) -> str:
    """Return the class of the error, as it was where it was raised, and its text."""
    name = (original_class_of(error) or type(error).__name__).rpartition(".")[2]
    return f"{name}: {error}" if str(error) else name


def _shown(error: click.ClickException) -> int:
    # Standard error may be full, too: then the exit code says all.
    with contextlib.suppress(OSError):
        error.show()
    return error.exit_code
