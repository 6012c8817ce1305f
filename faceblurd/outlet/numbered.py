"""Names that stand in many rows of the ledger, folders and recipes, as numbers. Keeps what it has looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

T = TypeVar("T", bytes, str)


class Numbered(Generic[T]):
    """One table of `id` and name."""

    def __init__(self, connection: Callable[[], sqlite3.Connection], *, table: str, column: str) -> None:
        """Read nothing yet: the table may not be there."""
        self._db = connection
        self._insert = f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)"
        self._by_name = f"SELECT id FROM {table} WHERE {column}=?"
        self._by_id = f"SELECT {column} FROM {table} WHERE id=?"
        self._ids: dict[T, int] = {}
        self._names: dict[int, T] = {}

    def forget(self) -> None:
        """Look everything up anew: numbers were given in a transaction that failed."""
        self._ids.clear()
        self._names.clear()

    def find(self, name: T) -> int | None:
        """Give the number of a name; None when it has none."""
        if name not in self._ids:
            row = self._db().execute(self._by_name, (name,)).fetchone()
            if row is None:
                return None
            self._ids[name], self._names[row[0]] = row[0], name
        return self._ids[name]

    def number(self, name: T) -> int:
        """Give the number of a name; a new one gets one."""
        if (known := self.find(name)) is not None:
            return known
        self._db().execute(self._insert, (name,))
        found = self.find(name)
        assert found is not None  # noqa: S101 - it has just been written
        return found

    def name(self, number: int) -> T:
        """Give the name of a number."""
        if number not in self._names:
            self._names[number] = self._db().execute(self._by_id, (number,)).fetchone()[0]
        return self._names[number]
