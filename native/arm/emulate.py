"""Runs a static program for Linux on Arm in an emulated processor: ``emulate.py PROGRAM [ARG …]``.

The few system calls that the core's tests make are answered here: there are no threads, no files.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import unicorn
from unicorn import arm64_const as arm

PAGE = 0x1000
STACK, STACK_BYTES = 0x7F0000000, 8 << 20
HEAP, HEAP_BYTES = 0x400000000, 8 << 30
FEATURES = (1 << 0) | (1 << 1) | (1 << 20)  # floats, NEON, dot products
ENOSYS, ENOMEM = 38, 12
# munmap, madvise, mprotect, set_tid_address, ioctl, signals, futex, yield, gettid: nothing to do
HARMLESS = (215, 233, 226, 96, 29, 135, 134, 98, 99, 132, 124, 178)


class Process:
    """A program loaded, its arguments on the stack; run() returns its exit status."""

    def __init__(self, program: Path, arguments: list[str]) -> None:
        self._cpu = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self._cpu.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
        self._next = HEAP
        self._status = 1
        entry, headers = self._load(program.read_bytes())
        self._cpu.mem_map(HEAP, HEAP_BYTES)
        self._cpu.mem_map(STACK, STACK_BYTES)
        self._prepare_stack([str(program), *arguments], entry, headers)
        self._cpu.hook_add(unicorn.UC_HOOK_INTR, self._on_interrupt)
        self._entry = entry

    def run(self) -> int:
        """Run to the end; return the exit status."""
        value = self._cpu.reg_read(arm.UC_ARM64_REG_CPACR_EL1)
        self._cpu.reg_write(arm.UC_ARM64_REG_CPACR_EL1, value | (3 << 20))  # floats
        self._cpu.emu_start(self._entry, 0)
        return self._status

    def _load(self, image: bytes) -> tuple[int, tuple[int, int, int]]:
        entry, offset = struct.unpack_from("<QQ", image, 24)
        size, count = struct.unpack_from("<HH", image, 54)
        segments = []
        for i in range(count):
            kind, _, at, address, _, in_file, in_memory, _ = struct.unpack_from(
                "<IIQQQQQQ", image, offset + i * size
            )
            if kind == 1:
                segments.append((address, image[at : at + in_file], in_memory))
        first = min(a for a, _, _ in segments) // PAGE * PAGE
        last = -(-max(a + n for a, _, n in segments) // PAGE) * PAGE
        self._cpu.mem_map(first, last - first)
        for address, data, _ in segments:
            self._cpu.mem_write(address, data)
        return entry, (first + offset, size, count)

    def _prepare_stack(self, words: list[str], entry: int, headers: tuple[int, int, int]) -> None:
        top = STACK + STACK_BYTES - 4096
        places = []
        for word in words:
            data = word.encode() + b"\0"
            top -= len(data)
            self._cpu.mem_write(top, data)
            places.append(top)
        top = (top - 16) // 16 * 16
        self._cpu.mem_write(top, b"0123456789abcdef")
        auxiliary = {
            3: headers[0], 4: headers[1], 5: headers[2],  # where the program's own headers are
            6: PAGE, 9: entry, 16: FEATURES, 23: 0, 25: top, 0: 0,
        }  # fmt: skip
        block = [len(words), *places, 0, 0, *(x for pair in auxiliary.items() for x in pair)]
        sp = (top - 8 * len(block)) // 16 * 16
        self._cpu.mem_write(sp, struct.pack(f"<{len(block)}Q", *block))
        self._cpu.reg_write(arm.UC_ARM64_REG_SP, sp)

    def _on_interrupt(self, cpu: unicorn.Uc, number: int, _: object) -> None:
        if number != 2:
            raise RuntimeError(f"exception {number} at {cpu.reg_read(arm.UC_ARM64_REG_PC):#x}")
        call = cpu.reg_read(arm.UC_ARM64_REG_X8)
        a, b, c = (cpu.reg_read(arm.UC_ARM64_REG_X0 + i) for i in range(3))
        cpu.reg_write(arm.UC_ARM64_REG_X0, self._call(call, a, b, c) & (2**64 - 1))

    def _call(self, call: int, a: int, b: int, c: int) -> int:
        cpu = self._cpu
        if call == 64:  # write
            sys.stdout.buffer.write(bytes(cpu.mem_read(b, c)))
            sys.stdout.flush()
            return c
        if call == 66:  # writev
            done = 0
            for i in range(c):
                at, size = struct.unpack("<QQ", bytes(cpu.mem_read(b + 16 * i, 16)))
                done += self._call(64, a, at, size) if size else 0
            return done
        if call == 222:  # mmap, of nothing but memory
            size = -(-b // PAGE) * PAGE
            if self._next + size > HEAP + HEAP_BYTES:
                return -ENOMEM
            at, self._next = self._next, self._next + size
            return at
        if call in (93, 94):  # exit
            self._status = a
            cpu.emu_stop()
            return 0
        if call == 113:  # clock_gettime
            cpu.mem_write(b, struct.pack("<QQ", 0, 0))
            return 0
        if call == 214:  # brk: none, so that mmap is asked
            return HEAP - PAGE
        if call == 123:  # sched_getaffinity: one processor
            cpu.mem_write(c, struct.pack("<Q", 1))
            return 8
        if call in HARMLESS:
            return 0
        return -ENOSYS


if __name__ == "__main__":
    sys.exit(Process(Path(sys.argv[1]), sys.argv[2:]).run())
