"""A program that waits for a signal and does nothing else, whatever is in the image it is put into.

It holds the network of a pod, and a container that is only to be looked into: an image need not have a `sleep`.
"""

import os
import struct

from lithify.errors import EngineRefused

_BASE = 0x400000
_HEADER, _SEGMENT = 64, 56
_CODE = {
    # mov eax, 34 (pause); syscall; jmp back
    "x86_64": (62, bytes.fromhex("b822000000 0f05 ebf7")),
    # ppoll(NULL, 0, NULL, NULL, 0): arm64 has no pause. mov x0..x4, #0; mov x8, #73; svc #0; b back
    "aarch64": (
        183,
        struct.pack(
            "<8I",
            0xD2800000, 0xD2800001, 0xD2800002, 0xD2800003, 0xD2800004, 0xD2800928, 0xD4000001, 0x17FFFFF9,
        ),
    ),
}  # fmt: skip


def pause_program(machine: str | None = None) -> bytes:
    """Return the program as a static ELF file; EngineRefused for a machine that it was not written for."""
    machine = machine or os.uname().machine
    if machine not in _CODE:
        raise EngineRefused(f"no pods on {machine}", hint="run lithify on x86-64 or arm64")
    number, code = _CODE[machine]
    entry = _BASE + _HEADER + _SEGMENT
    size = _HEADER + _SEGMENT + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = struct.pack("<HHIQQQIHHHHHH", 2, number, 1, entry, _HEADER, 0, 0, _HEADER, _SEGMENT, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return identity + header + segment + code
