"""The errors a user can meet, and the exit code each one ends the command with.

DynmmError
├── UserError    exit 2: the input or the request is wrong; the message names the field, the value, the way out
└── CheckFailed  exit 3: the command ran, and what it checked does not hold

Any other exception is a bug of ours and ends with exit code 1.
"""


class DynmmError(Exception):
    """Base of the errors that end a command with one clear line instead of a traceback."""

    exit_code = 1


class UserError(DynmmError):
    """The input or the request is wrong; nothing was changed."""

    exit_code = 2


class CheckFailed(DynmmError):
    """A check that the user asked for does not hold."""

    exit_code = 3
