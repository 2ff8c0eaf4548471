#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A peer that is not sevmirror, or another sevmirror, at one end of a migration's connection.

usage: unauthenticated_peer.py version                 the protocol's version, in wire.h
       unauthenticated_peer.py connect ADDRESS KIND    says KIND to the listener, prints its
                                                       answer
       unauthenticated_peer.py listen KIND             prints its address, takes one connection and
                                                       answers KIND

KIND: random, http, ssh, tls (no key), close; silent (until standard input ends; connect: eight of
      them);
      trickle (connect: forty that send a byte every 0.2 s each, and connect again when they are
      sent away, until standard input ends);
      version, version-long (a HELLO of the next version of the protocol, as long as ours or
      longer), helper (of another build of the helper)
"""
import os
import re
import select
import socket
import ssl
import struct
import sys

WIRE_H = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../lib/migrate/wire.h")
MAGIC, HELLO, ABORT = 0x524D5653, 1, 19
HEADER = struct.Struct("<IHHI")
WIRE_HELLO = struct.Struct("<HHI16sIBBH32sQ32s")  # lib/migrate/wire.h
PLAIN = {
    "random": b"\xff" + os.urandom(4095),
    "http": b"GET / HTTP/1.1\r\nHost: there\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "close": b"",
}


def version():
    with open(WIRE_H, encoding="ascii") as header:
        return int(re.search(r"WIRE_VERSION_MAJOR (\d+)", header.read()).group(1))


def receive(s, length):
    data = b""
    while len(data) < length:
        part = s.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def message(s):
    magic, kind, _, length = HEADER.unpack(receive(s, HEADER.size))
    assert magic == MAGIC
    return kind, receive(s, length)


def hello(kind, theirs=None):
    """Ours, with one difference. An answer repeats what the other side said."""
    fields = list(WIRE_HELLO.unpack(theirs)) if theirs else [version(), 0, 0, b"s" * 16, 2, 0, 0, 0,
                                                             b"", 1 << 24, b""]
    if kind.startswith("version"):
        fields[0] = version() + 1
    else:
        fields[8] = b"another build"
    body = WIRE_HELLO.pack(*fields) + (b"\x01" * 64 if kind == "version-long" else b"")
    return HEADER.pack(MAGIC, HELLO, 0, len(body)) + body


def speak(s, kind):
    s.sendall(PLAIN[kind])
    s.shutdown(socket.SHUT_WR)
    while s.recv(4096):
        pass


def trickle(there):
    """What they send could become a handshake: a TLS record of 16 KiB, or the rest of a hello."""
    crowd = {}
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        for i in range(40):
            try:
                if i not in crowd:
                    # A target that is done accepts nobody: do not wait for it.
                    crowd[i] = socket.create_connection(there, timeout=0.1)
                    crowd[i].sendall(b"\x16\x03\x01\x40\x00")
                crowd[i].sendall(b"x")
            except OSError:
                if i in crowd:
                    crowd.pop(i).close()
        if len(crowd) == 40:
            print("here", flush=True)


def connect(address, kind):
    host, port = address.rsplit(":", 1)
    there = (host, int(port))
    if kind == "trickle":
        trickle(there)
        return
    if kind == "silent":
        crowd = [socket.create_connection(there) for _ in range(8)]
        print("here", flush=True)
        sys.stdin.read()
        return
    with socket.create_connection(there) as s:
        if kind in PLAIN:
            speak(s, kind)
        elif kind == "tls":
            context = ssl.create_default_context()
            context.wrap_socket(s, server_hostname="there")
        else:
            s.sendall(hello(kind))
            answer, reason = message(s)
            while answer != ABORT:
                answer, reason = message(s)
            print(reason.decode())


def listen(kind):
    with socket.create_server(("127.0.0.1", 0)) as door:
        print("127.0.0.1:%d" % door.getsockname()[1], flush=True)
        s, _ = door.accept()
        with s:
            if kind in PLAIN:
                speak(s, kind)
            elif kind == "silent":
                sys.stdin.read()
            else:
                s.sendall(hello(kind, message(s)[1]))
                while message(s)[0] != ABORT:
                    pass


try:
    if sys.argv[1] == "version":
        print(version())
    elif sys.argv[1] == "connect":
        connect(*sys.argv[2:])
    else:
        listen(*sys.argv[2:])
except (EOFError, OSError) as e:
    print("ended:", e)
