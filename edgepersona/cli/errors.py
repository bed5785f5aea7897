"""How a command ends early, beside the errors of the SDK."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgepersona.errors import EdgePersonaError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator


class UsageError(EdgePersonaError):
    """The command was called with options that cannot be used: exit code 2."""


class InterruptedByUserError(EdgePersonaError):
    """Ctrl-C ended a command; the message says what was kept."""


@contextmanager
def usage() -> Iterator[None]:
    """Call what the SDK refuses about an option wrong usage, as argparse does."""
    try:
        yield
    except InputError as error:
        raise UsageError(str(error)) from error
