#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody on the network between two of the patched QEMUs.

usage: qemu_stream.py LISTEN TO TRICK [NUMBER]

Listens on the Unix socket LISTEN, connects to the one TO, and passes on what both say, but for one
change of the source's stream, which it reads as QEMU's loader does. TRICKS has what it can do;
NUMBER is the batch of sealed pages, counted from 0, that is changed. What it did goes to standard
output. Ends when both ends have.
"""
import os
import socket
import struct
import sys
import threading

PAGE = 4096
START, PART, END, FULL, CONFIGURATION, COMMAND, FOOTER = 1, 2, 3, 4, 7, 8, 0x7e
ZERO, MEM_SIZE, NORMAL, EOS, CONTINUE, SEALED = 0x2, 0x4, 0x8, 0x10, 0x20, 0x400
HELPER = "sevmirror-helper"


def be(fmt, *values):
    return struct.pack(">" + fmt, *values)


class Batch:
    """A batch of sealed pages: its records and their bodies."""

    def __init__(self, head, records, bodies):
        self.head, self.records, self.bodies = bytearray(head), records, bodies

    def wire(self, count=None):
        n = len(self.records) if count is None else count
        self.head[24:28] = struct.pack("<I", n)
        return (be("QI", SEALED, n) + bytes(self.head) + b"".join(map(bytes, self.records)) +
                b"".join(map(bytes, self.bodies)))


class Relay:
    def __init__(self, source, target, trick, number):
        self.source, self.target, self.number = source, target, number
        self.trick = trick
        self.names = {}
        self.batches = 0
        self.held = None # what waits to be sent at another place
        self.block = b"" # name of the last block that QEMU named

    def take(self, n):
        data = bytearray()
        while len(data) < n:
            more = self.source.recv(n - len(data))
            if not more:
                raise EOFError
            data += more
        return bytes(data)

    def number_of(self, fmt, out):
        data = self.take(struct.calcsize(">" + fmt))
        out += data
        return struct.unpack(">" + fmt, data)[0]

    def give(self, data):
        if self.held is not None:
            self.held += data
        else:
            self.target.sendall(data)

    def did(self, what):
        print(f"{self.trick}: {what}", flush=True)

    def is_trick(self, *tricks):
        return self.trick in tricks

    def stream(self):
        self.give(self.take(8))
        while True:
            out = bytearray()
            kind = self.number_of("B", out)
            if kind == CONFIGURATION:
                out += self.take(self.number_of("I", out))
                self.give(out)
            elif kind == COMMAND:
                self.number_of("H", out)
                out += self.take(self.number_of("H", out))
                self.give(out)
            elif kind in (START, PART, END):
                self.section(kind, out)
            else:
                self.give(out)
                return # devices: nothing there is changed

    def section(self, kind, out):
        number = self.number_of("I", out)
        if kind == START:
            name = self.take(self.number_of("B", out))
            out += name + self.take(8)
            self.names[number] = name.decode()
        name = self.names[number]
        ram = name == "ram"
        if ram and kind == END and self.is_trick("manifest-early"):
            self.held = bytearray() # the last pages come behind the manifest
        if name == HELPER and kind == END:
            self.final(number, out)
            return
        self.give(out)
        if ram:
            self.ram(kind)
        else:
            self.hello()
        self.give(self.take(5)) # the footer

    def hello(self):
        out = bytearray(self.take(4))
        version = self.number_of("I", out)
        if self.is_trick("version"):
            out[4:] = be("I", version + 1)
            self.did("another version")
        out += self.take(4) # multifd's channels
        self.give(out)
        out = bytearray()
        core = bytearray(self.take(self.number_of("I", out)))
        if self.is_trick("core"):
            core[len(core) // 2] ^= 1
            self.did("a bit of the helper's core")
        if self.is_trick("core-length"):
            out[:] = be("I", 1 << 30)
            self.did("a core of 1 GiB")
        self.give(out + core)

    def final(self, number, out):
        out += self.take(4)
        state = bytearray(self.take(4))
        map_bytes, manifest = bytearray(), bytearray()
        the_map = bytearray(self.take(self.number_of("I", map_bytes)))
        the_manifest = bytearray(self.take(self.number_of("I", manifest)))
        if self.is_trick("map"):
            the_map[len(the_map) // 2] ^= 1
            self.did("a bit of the map")
        if self.is_trick("map-length"):
            map_bytes[:] = be("I", 1 << 31)
            self.did("a map of 2 GiB")
        if self.is_trick("map-state"):
            state[:] = be("I", 77)
            self.did("a state of the map that there is not")
        if self.is_trick("manifest"):
            the_manifest[len(the_manifest) // 2] ^= 1
            self.did("a bit of the manifest")
        data = out + state + map_bytes + the_map + manifest + the_manifest + self.take(5)
        if self.is_trick("no-manifest"):
            self.did("the section with map and manifest is left out")
            return
        if self.held is not None:
            late, self.held = self.held, None
            self.did("map and manifest before the last pages")
            self.give(data)
            self.give(late)
        else:
            self.give(data)
        if self.is_trick("manifest-twice"):
            self.did("the section with map and manifest twice")
            self.give(data)
        if self.is_trick("unsealed-late"):
            ram = next(n for n, name in self.names.items() if name == "ram")
            self.give(be("BI", PART, ram) + self.unsealed() + be("Q", EOS) +
                      be("BI", FOOTER, ram))

    def unsealed(self):
        self.did("a page of the guest in clear")
        return be("QB", (2 << 20) | NORMAL, 6) + b"pc.ram" + b"\xcc" * PAGE

    def ram(self, kind):
        while True:
            out = bytearray()
            word = self.number_of("Q", out)
            flags = word & (PAGE - 1)
            if flags & SEALED:
                self.sealed()
                continue
            if flags & (ZERO | NORMAL) and not flags & CONTINUE:
                self.block = self.take(self.number_of("B", out))
                out += self.block
            if flags & MEM_SIZE:
                left = word & ~(PAGE - 1)
                while left:
                    out += self.take(self.number_of("B", out))
                    left -= self.number_of("Q", out)
            elif flags & ZERO:
                out += self.take(1)
            elif flags & NORMAL:
                out += self.take(PAGE)
            elif flags & EOS and kind == END and self.is_trick("unsealed"):
                self.give(self.unsealed())
            self.give(out)
            if flags & EOS:
                return

    def sealed(self):
        count = struct.unpack(">I", self.take(4))[0]
        head = self.take(32)
        records = [bytearray(self.take(32)) for _ in range(count)]
        bodies = [bytearray(self.take(PAGE)) if record[12] == 1 else b"" for record in records]
        batch = Batch(head, records, bodies)
        mine = self.batches == self.number
        self.batches += 1
        if mine and self.trick in TRICKS:
            self.did(f"batch {self.number}, {count} pages: {TRICKS[self.trick].__doc__}")
            TRICKS[self.trick](self, batch)
        else:
            self.give(batch.wire())


def drop(relay, batch):
    """left out"""


def drop_page(relay, batch):
    """its last page is left out"""
    batch.records.pop()
    batch.bodies.pop()
    relay.give(batch.wire())


def replay(relay, batch):
    """sent twice"""
    relay.give(batch.wire() * 2)


def move(relay, batch):
    """two pages change their places"""
    a, b = batch.records[0], batch.records[1]
    a[:8], b[:8] = bytes(b[:8]), bytes(a[:8])
    relay.give(batch.wire())


def swap(relay, batch):
    """two pages change their contents"""
    batch.bodies[0], batch.bodies[1] = batch.bodies[1], batch.bodies[0]
    relay.give(batch.wire())


def epoch(relay, batch):
    """a page says that it is newer than it is"""
    batch.records[0][8:12] = struct.pack("<I", 1000)
    relay.give(batch.wire())


def outside(relay, batch):
    """a page is to go to where there is no memory"""
    batch.records[0][:8] = struct.pack("<Q", 1 << 45)
    relay.give(batch.wire())


def salt(relay, batch):
    """another salt"""
    batch.head[0] ^= 1
    relay.give(batch.wire())


def many(relay, batch):
    """it says that it has 4294967295 pages"""
    relay.give(batch.wire(0xffffffff))


def cut(relay, batch):
    """the connection ends in the middle"""
    data = batch.wire()
    relay.give(data[:len(data) // 2])
    raise EOFError


def silence(relay, batch):
    """from here on nothing is passed on"""
    print("silence", flush=True)
    threading.Event().wait()


TRICKS = {"drop": drop, "drop-page": drop_page, "replay": replay, "move": move, "swap": swap,
          "epoch": epoch, "outside": outside, "salt": salt, "many": many, "cut": cut,
          "silence": silence}


def copy(relay, one, other):
    """The rest of one direction, as it is."""
    try:
        while data := one.recv(1 << 16):
            if relay.is_trick("offer") and len(data) > 64:
                data = bytearray(data)
                data[50] ^= 1 # of the digest of its helper
                relay.trick = ""
                print("offer: a bit of the target's offer", flush=True)
            other.sendall(data)
    except OSError:
        pass
    try:
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main():
    listen, to, trick = sys.argv[1:4]
    number = int(sys.argv[4]) if len(sys.argv) > 4 else 0
    door = socket.socket(socket.AF_UNIX)
    door.bind(listen)
    door.listen(1)
    source = door.accept()[0]
    os.unlink(listen)
    target = socket.socket(socket.AF_UNIX)
    target.connect(to)
    relay = Relay(source, target, trick, number)
    back = threading.Thread(target=copy, args=(relay, target, source), daemon=True)
    back.start()
    try:
        relay.stream()
        copy(relay, source, target)
    except (EOFError, OSError):
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
    back.join()


main()
