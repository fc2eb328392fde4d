"""Where the password of a node's keystore comes from, read once and then left nowhere else.

The variable ``SENNIT_KEY_PASSWORD`` goes first, and is taken out of the environment when it is
read, so that no child process and no flow finds it there. Else it comes from the one place that
``node.toml`` names: a private file, the output of a command, or a credential of systemd.
"""

import subprocess
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.edge.files import read_private_file, read_public_file
from runtime.errors import ConfigurationError

PASSWORD_VARIABLE: Final = "SENNIT_KEY_PASSWORD"  # noqa: S105  the name of a variable
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"

COMMAND_SECONDS: Final = 60.0

_PASSWORD_BYTES_MAX: Final = 1_024
_SHOWN_CHARACTERS_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordSource:
    """What ``node.toml`` says: one of these, or none."""

    file: Path | None = None
    command: tuple[str, ...] = ()
    """A program and its arguments, run without a shell in ``directory``."""
    credential: str = ""
    directory: Path = Path()


class PasswordReader:
    """Reads passwords in one process."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._taken = b""

    def read(self, source: PasswordSource) -> bytes:
        """Return the password; raises `ConfigurationError`, which says what to do.

        The variable is not there any more the second time, and remembered instead: a program may
        start its node again.
        """
        taken = self._environment.pop(PASSWORD_VARIABLE, "")
        if taken:
            self._taken = taken.encode(errors="surrogateescape")
        if self._taken:
            return self._taken
        if source.file is not None:
            return _checked(
                read_private_file(source.file, bytes_max=_PASSWORD_BYTES_MAX), str(source.file)
            )
        if source.command:
            return _from_command(source)
        if source.credential:
            return self._from_credential(source.credential)
        what = "is not set, and node.toml names no other place of the password"
        do = "Set it, or one of key_password_file, key_password_command, key_password_credential"
        raise ConfigurationError(PASSWORD_VARIABLE, what, do)

    def _from_credential(self, name: str) -> bytes:
        directory = self._environment.get(CREDENTIALS_VARIABLE)
        if not directory:
            what = f"is not set, and node.toml wants the credential {name!r} in it"
            do = f"Have systemd start the node, with LoadCredential={name}:/path in its unit"
            raise ConfigurationError(CREDENTIALS_VARIABLE, what, do)
        path = Path(directory) / name
        # Of systemd's own making: it opens the file to the service by an ACL, which shows in
        # the mode as if it were open to a group.
        return _checked(read_public_file(path, bytes_max=_PASSWORD_BYTES_MAX), str(path))


def _from_command(source: PasswordSource) -> bytes:
    where = f"key_password_command ({source.command[0]})"
    do = "Run it by hand, from the node's directory, as the user that runs the node"
    try:
        done = subprocess.run(  # noqa: S603  the operator's own command
            source.command,
            cwd=source.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        what = f"had not ended after {COMMAND_SECONDS:.0f} seconds"
        raise ConfigurationError(where, what, do) from error
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise ConfigurationError(where, f"can't be run ({reason})", do) from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = f": {lines[-1][:_SHOWN_CHARACTERS_MAX]}" if lines else ""
        raise ConfigurationError(where, f"ended with exit code {done.returncode}{said}", do)
    if len(done.stdout) > _PASSWORD_BYTES_MAX:
        what = f"printed more than {_PASSWORD_BYTES_MAX} bytes"
        raise ConfigurationError(where, what, do)
    return _checked(done.stdout, where)


def _checked(content: bytes, where: str) -> bytes:
    password = content.rstrip(b"\r\n")
    if not password:
        do = "Have it give the password of the keys, as one line"
        raise ConfigurationError(where, "is empty", do)
    return password
