"""Store records of a fixed size under consecutive numbers, in pages of memory that are freed whole.

A record costs its bytes and nothing else: no object, no hash table, no work for the garbage collector. The system gets
the memory of a dropped page back at once, which a dict would keep for its next entries.
"""

from __future__ import annotations

from mmap import mmap

PAGE = 4096  # records


class RecordPages:
    """A mapping of whole numbers to records of ``size`` bytes. A record of zeros means that the record is absent."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._absent = bytes(size)
        self._pages: dict[int, mmap] = {}

    def get(self, number: int) -> bytes | None:
        """Return a record, or None if it is absent."""
        page = self._pages.get(number // PAGE)
        if page is None:
            return None
        start = number % PAGE * self._size
        record = page[start : start + self._size]
        return None if record == self._absent else record

    def __setitem__(self, number: int, record: bytes) -> None:
        """Store a record, or consecutive records of one page, the first one under ``number``."""
        page = self._pages.get(number // PAGE)
        if page is None:
            page = self._pages[number // PAGE] = mmap(-1, PAGE * self._size)
        start = number % PAGE * self._size
        page[start : start + len(record)] = record

    def pop(self, number: int) -> None:
        """Remove a record."""
        if number // PAGE in self._pages:
            self[number] = self._absent

    def column(self, page: int, offset: int) -> bytes:
        """Return the byte at an offset of every record of a page; 0 for an absent record."""
        return self._pages[page][offset :: self._size]

    def set_column(self, first: int, offset: int, values: bytes) -> None:
        """Change the byte at an offset of consecutive records of a page, from the record ``first`` on."""
        start = first % PAGE * self._size + offset
        self._pages[first // PAGE][start : start + len(values) * self._size : self._size] = values

    def drop(self, page: int) -> None:
        """Free a page with its records."""
        self._pages.pop(page).close()
