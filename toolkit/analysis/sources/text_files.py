"""Read text files as batches of lines, whatever their compression and encoding, in flat memory."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa

from toolkit.api.errors import InputError

STDIN = "-"
CHUNK_BYTES = 8 << 20  # a batch of about 25,000 lines: large enough for fast queries, and small in memory
MAX_LINE_CHARS = 1 << 20
DAMAGES = (OSError, EOFError, lzma.LZMAError, zlib.error)
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
_BOMS = {  # that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_BROTLI = ".br"  # has no magic bytes
_HEAD_BYTES = 4096
_REPLACED = "\ufffd"

Progress: TypeAlias = Callable[[str, int, int | None], object]
"""Called with a file's path, its bytes that were read so far, and all its bytes, None if that isn't known."""


@dataclass(frozen=True, slots=True)
class LineBatch:
    """Lines of a file: the number of the first one, and the texts without line ends."""

    first: int
    lines: list[str]


def check_encoding(encoding: str | None) -> None:
    """Raise InputError for the name of an encoding that doesn't exist."""
    try:
        if encoding is not None:
            "".encode(encoding)
    except (LookupError, UnicodeError):
        raise InputError(
            f"unknown --encoding {encoding!r}: expected a name of Python's, e.g. gb18030 or utf-16-le"
        ) from None


def read_batches(path: str, encoding: str | None, on_progress: Progress = lambda *_: None) -> Iterator[LineBatch]:
    """Yield the lines of a file, or of standard input if ``path`` is "-".

    A byte order mark decides the encoding. Without one it is ``encoding``, or else UTF-8 in which other bytes become
    U+FFFD. A line longer than MAX_LINE_CHARS is cut to that length plus one. Raise InputError for a file that is
    damaged or not in ``encoding``.
    """
    raw: Any = sys.stdin.buffer if path == STDIN else Path(path).open("rb")  # noqa: SIM115
    try:
        size = None if is_stream(path) else Path(path).stat().st_size
        number, rest = 1, ""
        read = _decompressed(raw, path)
        for text in _decoded(iter(read, b""), path, encoding):
            text = (rest + text).replace("\r\n", "\n")
            is_cut = text.endswith("\r")  # perhaps the first half of a line end
            *lines, rest = text.removesuffix("\r").replace("\r", "\n").split("\n")
            rest = rest[: MAX_LINE_CHARS + 1] + ("\r" if is_cut else "")
            yield LineBatch(number, lines)
            number += len(lines)
            on_progress(path, 0 if size is None else raw.tell(), size)
        if rest := rest.removesuffix("\r"):
            yield LineBatch(number, [rest])
        if size is not None and raw.tell() < size:
            raise EOFError(f"it was cut from {size:,} to {raw.tell():,} bytes while it was read; read it again")
    except DAMAGES as problem:
        raise InputError(f"{path} can't be read, or is damaged: {problem}") from problem
    finally:
        if path != STDIN:
            raw.close()


def is_stream(path: str | Path) -> bool:
    """Return whether a file can be read only once: standard input, or a pipe such as the shell's ``<(zcat x.gz)``."""
    return str(path) == STDIN or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def is_text(path: Path) -> bool:
    """Return whether a file may be text: compressed, with a byte order mark, or without NUL bytes at its start."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith((*_MAGIC, *_BOMS)) or path.suffix.lower() == _BROTLI or b"\0" not in head


def undecoded(lines: list[str]) -> int:
    """Count the lines with bytes that are not in the file's encoding."""
    return sum(_REPLACED in line for line in lines)


def _decompressed(raw: Any, path: str) -> Callable[[], bytes]:
    """Return the function that reads the next plain bytes of a file, b"" at its end.

    The first bytes, and for Brotli the suffix, determine the compression. Arrow closes the file when the function is
    dropped.
    """
    head = raw.peek(6)[:6]
    codec = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    stream: Any = raw
    match codec:
        case "bz2":
            return partial(next, _members(raw, bz2.BZ2Decompressor), b"")
        case "xz":
            return partial(next, _members(raw, lzma.LZMADecompressor), b"")
        case "gzip":
            stream = gzip.GzipFile(fileobj=raw)
        case "zstd" | "lz4":
            stream = pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec)
        case _ if path.lower().endswith(_BROTLI):
            stream = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "brotli")
    return partial(stream.read, CHUNK_BYTES)


def _members(raw: BinaryIO, decompressor: Callable[[], Any]) -> Iterator[bytes]:
    """Yield the plain bytes of a file of one or more members.

    The readers of the standard library end without an error at a member whose first bytes are damaged.
    """
    member, data = decompressor(), b""
    while True:
        if member.eof:
            data = member.unused_data.lstrip(b"\0") or raw.read(CHUNK_BYTES).lstrip(b"\0")
            if not data:
                return
            member = decompressor()
        elif member.needs_input:
            data = raw.read(CHUNK_BYTES)
            if not data:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
        if plain := member.decompress(data, CHUNK_BYTES):
            yield plain
        data = b""


def _decoded(chunks: Iterator[bytes], path: str, encoding: str | None) -> Iterator[str]:
    chunk = next(chunks, b"")
    bom = next((bom for bom in _BOMS if chunk.startswith(bom)), b"")
    name = _BOMS.get(bom) or encoding or "utf-8"
    decoder = codecs.getincrementaldecoder(name)("strict" if encoding and not bom else "replace")
    try:
        yield decoder.decode(chunk[len(bom) :])
        for chunk in chunks:
            yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)
    except UnicodeError as problem:  # not a UnicodeDecodeError if the mark of UTF-16 or UTF-32 is missing
        reason = problem.reason if isinstance(problem, UnicodeDecodeError) else problem
        raise InputError(f"{path} is not {name}: {reason}: give its --encoding, e.g. gb18030 or utf-16-le") from None
