"""What messages have in common, whoever writes or reads them: the version of their fields, their marks and their sizes."""

import orjson

WIRE_VERSION = 1  # the fields and their meaning; a message that names no version has this one
VERSION_FIELD = "schema_version"
VERSION_KEY = b"dynmm.schema_version"  # in the metadata of an Arrow schema
ARROW_MARK = b"\xff\xff\xff\xff"  # begins every Arrow stream and no JSON
ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
MAX_JSON_BYTES = 1 << 20
MAX_ARROW_BYTES = 1 << 24
MAX_EVENT_BYTES = 1 << 18  # of its texts but for ids, with their names; half of a chunk, a quarter of what a topic takes
MAX_FIELDS = 256  # of a message: every event of a slide has them all
MAX_NESTING = 200  # objects and lists of a JSON message in each other; below what orjson writes and Python prints
MAX_RAW_BYTES = 1 << 16  # of a message that is too long, in its letter


def version_reason(version: object) -> str | None:
    """Why a message of this version cannot be read, or None; ``version`` as JSON has it, or the bytes of Arrow metadata."""
    if (type(version) is int and version == WIRE_VERSION) or version == str(WIRE_VERSION).encode():
        return None
    told = version.decode("utf-8", "backslashreplace") if isinstance(version, bytes) else orjson.dumps(version).decode()
    return f"{VERSION_FIELD}: {told:.80} is not known to this release (it knows {WIRE_VERSION}); upgrade the flow, then re-drive"
