"""Turn every error into one readable line on standard error and an exit code, never a traceback.

Exit codes: 0 done; 1 it failed; 2 the person who called must change something; 130 interrupted.
"""

import os
import sys
import traceback
from typing import IO, Any, Final

import click

from runtime.errors import (
    FlowException,
    MisuseError,
    SennitError,
    StoreUnusable,
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Whoever reads us (head, less) has seen enough; nor may Python complain at its exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_FAILED)
        except Exception as error:
            if "SENNIT_TRACEBACK" in os.environ:
                traceback.print_exc()
            raise reported(error) from error


class Misuse(Reported):
    """The person who called must change something."""

    exit_code = EXIT_MISUSE


def reported(error: Exception) -> Reported:
    """Return the line and exit code for an error."""
    name = type(error).__name__
    match error:
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
