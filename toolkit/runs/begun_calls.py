"""Count the calls that each process of a load test has begun, so that those of a killed process are not forgotten.

A call is recorded when it has ended. A process that is killed thus leaves no record of its calls in flight, nor of
those since its last write, but the target may have answered and billed them. So each process counts a call before its
first byte leaves, in a file that is mapped into its memory: the kernel keeps the file whatever ends the process. Calls
that were begun and are in no record have an unknown fate. The file has two numbers of 8 bytes: verifies and sends.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import MutableSequence
from pathlib import Path
from typing import TypeAlias

from toolkit.api.errors import InputError
from toolkit.api.wire import Endpoint
from toolkit.runs import run_folder

BegunCalls: TypeAlias = MutableSequence[int] | memoryview
"""The number of verifies and of sends that were begun. ``begun[is_send] += 1`` counts one."""

_ORDER = Endpoint.VERIFY, Endpoint.SEND
_SIZE = 16


def open_counts(folder: Path, source: str) -> memoryview:
    """Return the counts of one process, which continue those of an earlier process of the same name.

    Raises InputError if the folder can't be written, for example because the disk is full.
    """
    path = folder / f"{run_folder.BEGUN_STEM}-{source}.bin"
    try:
        with path.open("a+b", buffering=0) as file:
            file.write(bytes(max(0, _SIZE - file.tell())))
            return memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("Q")
    except (OSError, ValueError) as problem:  # ValueError: only a part of the bytes was written
        path.unlink(missing_ok=True)
        raise InputError(f"the calls can't be counted in {path}: {problem}; no call was made") from None


def read_begun(folder: Path) -> dict[Endpoint, int]:
    """Return how many calls the processes of a run have begun, by endpoint; {} if they counted none there.

    Raises InputError if a file is damaged.
    """
    counts = []
    for path in folder.glob(f"{run_folder.BEGUN_STEM}-*.bin"):
        if len(content := path.read_bytes()) != _SIZE:
            raise InputError(f"{path} is damaged: expected {_SIZE} bytes, found {len(content)}; remove it")
        counts.append(struct.unpack("=QQ", content))
    return {it: sum(each[number] for each in counts) for number, it in enumerate(_ORDER) if counts}
