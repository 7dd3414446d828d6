"""What a log's table of items says of them in words."""

import pyarrow.parquet as pq

from dynmm_core.datasets.prepared import PreparedLog

TEXT_COLUMNS = ("title", "categories", "description")


def read_item_texts(log: PreparedLog, item_ids: list[str]) -> list[str]:
    """Return the words of each item: title, categories and description, as far as the table has them; empty without.

    Raises:
        ValueError: the log has no table of items with such a column.
    """
    if log.items_path is None:
        raise ValueError(f"items: {log.name} has no table of items")
    columns = [name for name in TEXT_COLUMNS if name in pq.read_schema(log.items_path).names]
    if not columns:
        raise ValueError(f"items: the table of {log.name} has none of {', '.join(TEXT_COLUMNS)}")
    table = pq.read_table(log.items_path, columns=["item_id", *columns])
    words = [[_words(value) for value in table[name].to_pylist()] for name in columns]
    found = dict(zip(table["item_id"].to_pylist(), map(" ".join, zip(*words, strict=True)), strict=True))
    return [found.get(item_id, "") for item_id in item_ids]


def _words(value: str | list[str] | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else " ".join(value)
