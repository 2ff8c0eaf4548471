# SPDX-License-Identifier: Apache-2.0
"""A network between the two hosts of a trial that misbehaves by plan: a proxy in front of a target.

A trigger names a place in the conversation: the bytes that a connection has carried in one
direction, or (only without TLS) a message of the control connection. The flow that comes to the
place waits there until the trigger's fault has been applied.
"""
import random
import re
import socket
import struct
import threading
import time

HEADER = struct.Struct("<IHHI")  # struct wire_header
CONTROL = 0  # the connection that is made first
PIECE = 65536


def message_types(wire_h):
    """Names and numbers of the messages, from the enum in wire.h."""
    with open(wire_h, encoding="utf-8") as f:
        body = f.read().split("enum wire_type {", 1)[1].split("};", 1)[0]
    types, number = {}, 0
    for name, value in re.findall(r"^\tWIRE_(\w+)(?: = (\d+))?,?", body, re.M):
        number = int(value) if value else number + 1
        types[number] = name
    return types


class Trigger:
    """A fault at a place. Fires once."""

    def __init__(self, when, fire):
        self.when = when
        self.fire = fire
        self.left = when.get("nth", 1)
        self.lock = threading.Lock()

    def at_byte(self, flow, first, count):
        """The offset in the next `count` bytes at which it fires, or None."""
        w = self.when
        if (w["kind"] == "bytes" and self.left and w["connection"] == flow.number and
                w["way"] == flow.way and first <= w["at"] < first + count):
            return w["at"] - first
        return None

    def is_message(self, flow, name):
        w = self.when
        if w["kind"] != "message" or w["way"] != flow.way or w["type"] != name:
            return False
        with self.lock:
            self.left -= self.left > 0
            return self.left == 0 and not w.get("fired")

    def run(self, flow):
        with self.lock:
            if self.when.get("fired"):
                return
            self.when["fired"] = True
            self.left = 0
        self.fire(flow)


class Flow(threading.Thread):
    """One direction of a connection."""

    def __init__(self, network, number, way, source, sink):
        super().__init__(daemon=True)
        self.network, self.number, self.way = network, number, way
        self.source, self.sink = source, sink
        self.count = 0
        self.damage = None  # to the next bytes
        self.header = b""
        self.body = 0  # bytes of a message's body that are to come

    def run(self):
        try:
            while data := self.source.recv(PIECE):
                for piece in self.pieces(data):
                    self.forward(piece)
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.network.close_pair(self)

    def pieces(self, data):
        """The data in parts; between two of them the triggers fire whose place that is."""
        parse = self.number == CONTROL and self.network.parses
        while data:
            hits = [(at, t) for t in self.network.triggers
                    if (at := t.at_byte(self, self.count, len(data))) is not None]
            if hits:
                at, trigger = min(hits, key=lambda hit: hit[0])
                if at:
                    yield from self.messages(data[:at]) if parse else [data[:at]]
                trigger.run(self)
                data = data[at:]
                if not data:
                    return
                continue_at = min((a for t in self.network.triggers
                                   if (a := t.at_byte(self, self.count, len(data)))),
                                  default=len(data))
                part, data = data[:continue_at], data[continue_at:]
            else:
                part, data = data, b""
            yield from self.messages(part) if parse else [part]

    def messages(self, data):
        while data:
            if self.body:
                part, data = data[:self.body], data[self.body:]
                self.body -= len(part)
                yield part
                continue
            need = HEADER.size - len(self.header)
            self.header, data = self.header + data[:need], data[need:]
            if len(self.header) < HEADER.size:
                return
            header, self.header = self.header, b""
            _, kind, _, self.body = HEADER.unpack(header)
            name = self.network.types.get(kind, "?")
            self.network.note(f"message {self.way}{name}")
            for trigger in self.network.triggers:
                if trigger.is_message(self, name):
                    trigger.run(self)
            yield header

    def forward(self, piece):
        self.count += len(piece)
        piece = self.spoil(piece)
        while piece:
            self.network.passes.wait()
            if self.network.closed:
                raise OSError("closed")
            some = piece[:self.network.grain]
            if self.network.rate:
                time.sleep(len(some) / self.network.rate)
            if self.network.jitter:
                time.sleep(self.network.chance.random() * self.network.jitter)
            self.sink.sendall(some)
            piece = piece[len(some):]

    def spoil(self, piece):
        how, self.damage = self.damage, None
        chance = self.network.chance
        at = chance.randrange(len(piece))
        end = min(at + 64, len(piece))
        if how == "flip":
            return piece[:at] + bytes([piece[at] ^ 1 << chance.randrange(8)]) + piece[at + 1:]
        if how == "drop":
            return piece[:at] + piece[end:]
        if how == "repeat":
            return piece[:end] + piece[at:]
        if how == "swap":
            half = (at + end) // 2
            return piece[:at] + piece[half:end] + piece[at:half] + piece[end:]
        return piece


class Network:
    """Forwards connections to target ("HOST:PORT"), with these triggers. See address."""

    def __init__(self, target, triggers, types, parses, seed, note=lambda text: None):
        host, port = target.rsplit(":", 1)
        self.target = host, int(port)
        self.triggers, self.types, self.parses = triggers, types, parses
        self.chance = random.Random(seed)
        self.note = note
        self.passes = threading.Event()
        self.passes.set()
        self.closed = self.refuses = False
        self.rate = self.jitter = 0
        self.grain = PIECE
        self.lock = threading.Lock()
        self.flows = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                number = len(self.flows) // 2
            if self.closed or self.refuses:
                client.close()
                continue
            try:
                server = socket.create_connection(self.target, timeout=60)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for s in client, server:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = [Flow(self, number, ">", client, server),
                    Flow(self, number, "<", server, client)]
            with self.lock:
                self.flows += pair
            for flow in pair:
                flow.start()

    def close_pair(self, flow, reset=False):
        for s in flow.source, flow.sink:
            try:
                if reset:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, reset=False):
        """Closes every connection, and takes no more."""
        self.closed = True
        self.passes.set()
        with self.lock:
            flows = list(self.flows)
        for flow in flows:
            self.close_pair(flow, reset)

    def end(self):
        self.cut()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.acceptor.join()
        for flow in self.flows:
            flow.join(10)
            flow.source.close()
            flow.sink.close()

    def apply(self, fault, flow):
        """flow: where the trigger was, None for one that went by time."""
        kind = fault["kind"]
        if kind in ("cut", "reset"):
            self.cut(kind == "reset")
        elif kind == "cut-one" and flow:
            self.close_pair(flow)
        elif kind == "half" and flow:
            flow.sink.shutdown(socket.SHUT_WR)
        elif kind == "blackhole":
            self.passes.clear()
        elif kind == "stall":
            self.passes.clear()
            threading.Timer(fault["ms"] / 1000, self.passes.set).start()
        elif kind == "hold" and flow:
            time.sleep(fault["ms"] / 1000)
        elif kind == "slow":
            self.grain, self.rate = 4096, fault["rate"]
        elif kind == "jitter":
            self.grain, self.jitter = 16384, fault["ms"] / 1000
        elif kind == "refuse":
            self.refuses = True
        elif kind in ("flip", "drop", "repeat", "swap") and flow:
            flow.damage = kind


KINDS = {"cut", "reset", "cut-one", "half", "blackhole", "stall", "hold", "slow", "jitter",
         "refuse", "flip", "drop", "repeat", "swap"}
