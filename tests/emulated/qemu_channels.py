#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody on the network between two of the patched QEMUs that use multifd.

usage: qemu_channels.py LISTEN TO AT LENGTH [PAGE]

Listens on the Unix socket LISTEN and passes what comes on to the one TO, and back, but for one
change on the source's second connection, which is a channel: of its bytes from AT on LENGTH are
left out, or one bit is changed when LENGTH is 0. With PAGE nothing of it is changed, and a packet
comes in at AT: the page whose address is at the byte PAGE comes again, in clear.
"""
import socket
import struct
import sys
import threading

NOTHING = (1 << 60, 0) # where, how many


def clear(gpa):
    """A packet with one page that is not sealed."""
    return struct.pack(">IIIIIIQIIQQQ256s128Q", 0x11223344, 1, 6, 128, 1, 4096, 0, 0, 0, 0, 0, 0,
                       b"pc.ram", gpa, *[0] * 127) + b"\xcc" * 4096


def changed(piece, done, at, length):
    """A piece of the stream that begins at its byte done."""
    begin = at - done
    if not length and 0 <= begin < len(piece):
        piece[begin] ^= 1
        return piece
    first, last = (max(min(n, len(piece)), 0) for n in (begin, begin + length))
    return piece[:first] + piece[last:]


def pass_on(one, other, at, length):
    done = 0
    try:
        while piece := bytearray(one.recv(1 << 16)):
            other.sendall(changed(piece, done, at, length))
            done += len(piece)
    except OSError:
        pass
    for end in (one, other):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def unsealed(source, target, at, page):
    data = bytearray()
    while len(data) < at and (piece := source.recv(min(at - len(data), 1 << 16))):
        target.sendall(piece)
        data += piece
    if len(data) == at:
        target.sendall(clear(struct.unpack_from("<Q", data, page)[0]))
    pass_on(source, target, *NOTHING)


def main():
    listen, to = sys.argv[1:3]
    numbers = [int(arg) for arg in sys.argv[3:]]
    door = socket.socket(socket.AF_UNIX)
    door.bind(listen)
    door.listen(16)
    connections = 0
    while True:
        source = door.accept()[0]
        target = socket.socket(socket.AF_UNIX)
        target.connect(to)
        threading.Thread(target=pass_on, args=(target, source, *NOTHING), daemon=True).start()
        what, how = pass_on, NOTHING
        if connections == 1:
            what, how = (pass_on, numbers) if len(numbers) == 2 else (unsealed, numbers[::2])
        threading.Thread(target=what, args=(source, target, *how), daemon=True).start()
        connections += 1


main()
