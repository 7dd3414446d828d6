"""`dataset.toml`: what a prepared log holds, which of it a user may edit, and how it came about."""

import tomllib
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dynmm_core.errors import UserError
from dynmm_core.toml_file import first_complaint

DATASET_FILE = "dataset.toml"
FACTS_KEY = b"dynmm.facts"
Granularity = Literal["ms", "second", "minute", "hour", "day"]
_HEADER = """\
# A prepared log. `name` and `extra_columns` may be edited: columns not listed there are left out downstream.
# The other values describe interactions.parquet beside this file and must agree with it.
"""


def first_online_row(rows: int) -> int:
    """The row at which the first 70 % of `rows` rows end, in whole numbers so that no rounding moves it."""
    return rows * 7 // 10


class Preparation(BaseModel):
    """How the log came about: what was read, what was dropped, with which options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_read: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    without_rating: int = Field(ge=0)
    below_min_rating: int = Field(ge=0)
    missing_ratings: int = Field(ge=0)
    out_of_order: int = Field(ge=0)
    min_rating: float | None = None
    time_unit: Literal["ms", "s", "us"] | None = None


class DatasetFile(BaseModel):
    """The content of `dataset.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    rows: int = Field(gt=0)
    users: int = Field(gt=0)
    items: int = Field(gt=0)
    first_event_time_ms: int
    last_event_time_ms: int
    granularity: Granularity
    fingerprint: str
    has_event_ids: bool
    extra_columns: tuple[str, ...] = ()
    preparation: Preparation | None = None

    def facts(self) -> dict[str, object]:
        """What must stay as it was written: the Parquet file carries the same, and opening compares them."""
        return self.model_dump(exclude={"name", "extra_columns", "preparation"}, mode="json")

    def to_toml(self) -> str:
        """The file's text; absent options are left out, for TOML has no null."""
        return _HEADER + tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def read_dataset_file(path: Path) -> DatasetFile:
    """The description in a prepared folder; UserError when there is none or it cannot be understood."""
    file = path / DATASET_FILE
    if not file.is_file():
        raise UserError(f"{path}: is no prepared log (no {DATASET_FILE}); make one with dynmm data prepare DIR --out DATA")
    try:
        return DatasetFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: is not valid TOML ({error}); correct it or run dynmm data prepare again") from error
    except ValidationError as error:
        raise UserError(f"{file}: {first_complaint(error)}; correct it or run dynmm data prepare again") from error
