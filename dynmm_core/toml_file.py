"""Files that a user writes in TOML, checked against a model; and a model's first complaint as one line."""

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dynmm_core.errors import UserError

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 100  # characters of a value; it may be a whole table


def read_toml(path: Path, model: type[Model], option: str) -> Model:
    """Return the file as an instance of ``model``; ``option`` is what errors call it, such as ``--protocol``.

    Raises:
        UserError: no file, not TOML, or an entry that the model refuses.
    """
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be read ({error.strerror}); name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{option}: {path} is not valid TOML ({error}); correct it") from error
    except ValidationError as error:
        raise UserError(f"{option}: {path}: {first_complaint(error)}; correct it") from error


def first_complaint(error: ValidationError) -> str:
    """Return field, value and complaint of a model's first one; what a check of ours says tells the value itself."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" or not field:
        return f"{field}: {message}" if field else message
    value = "nothing" if first["type"] == "missing" else repr(first["input"])
    return f"{field} = {value if len(value) <= _SHOWN else value[:_SHOWN] + '...'}: {message}"
