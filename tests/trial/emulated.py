# SPDX-License-Identifier: Apache-2.0
"""Emulated SEV hosts, with the same interface as native.py, and the network between them.

Faults of the network have a place only without TLS: a gate (tests/kvm/wire_gate.c) on the source
stops at a message. Otherwise the link between the hosts loses what is sent.
"""
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "../..")
SEV_HOST = os.environ.get("SEV_HOST", os.path.join(TOP, "emulator/sev-host"))
RUNTIME = "/run/sevmirror"
BEAT = """for f in /proc/$0/fd/*; do case $(readlink $f) in *guest-ram*)
dd if=$f bs=4096 skip=512 count=1 2>/dev/null | sha256sum; exit;; esac; done"""


def sev_host(*words, check=True, **options):
    return subprocess.run([SEV_HOST, *words], check=check, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options).stdout


class Process:
    """A process on a host."""

    def __init__(self, host, argv, stdin=subprocess.DEVNULL):
        self.host = host
        self.words = " ".join(argv[:2])
        self.said_path = tempfile.mktemp(suffix=".said", dir=host.logs)
        self.pid = f"/tmp/pid.{os.path.basename(self.said_path)}"
        self.kept = None
        with open(self.said_path, "wb") as said:
            self.popen = subprocess.Popen(
                [SEV_HOST, "exec", host.name, "--", "sh", "-c",
                 'echo $$ >"$0"; exec "$@"', self.pid, *argv],
                stdin=stdin, stdout=said, stderr=said)

    def said(self):
        with open(self.said_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def address(self):
        port = self.said().split("waiting for the source on ", 1)[1].split()[0].rsplit(":", 1)[1]
        return f"{self.host.name}:{port}"

    @staticmethod
    def status(code):
        """As a process of this machine would have it: a signal is negative."""
        return 128 - code if code is not None and 128 < code < 192 else code

    def poll(self):
        return self.status(self.popen.poll())

    def wait(self, seconds):
        try:
            return self.status(self.popen.wait(seconds))
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number):
        if self.popen.poll() is None:
            self.host.shell(f'kill -{int(number)} "$(cat {self.pid})"')

    def freeze(self, seconds):
        self.signal(signal.SIGSTOP)
        threading.Timer(seconds, self.thaw).start()

    def thaw(self):
        self.signal(signal.SIGCONT)

    def unlimit(self):
        pass

    def files(self):
        return []

    def tasks(self):
        return []

    def stacks(self):
        return []

    def beat(self):
        said = self.host.shell(f'exec sh -c \'{BEAT}\' "$(cat {self.pid})"')
        return said.split()[0] if said.strip() else None


class Host:
    """One of two, by its name."""

    emulated = True

    def __init__(self, name, folder, build, psk):
        self.name, self.folder = name, folder
        self.logs = os.path.join(folder, name)
        os.mkdir(self.logs)
        self.programs = {"psk": "/psk"}
        sev_host("start", name, "--cpus", "2", "--memory", "640M", "--chip-seed", name,
                 "--link", os.path.basename(folder))
        for source, there in [
                (f"{build}/cli/sevmirror", "/usr/bin/sevmirror"),
                (f"{build}/payloads/payload-dirtier", "/dirtier"),
                (f"{build}/payloads/payload-memscan", "/memscan"),
                (f"{build}/tests/kvm/wire-gate", "/bin/wire-gate"),
                (f"{TOP}/emulator/psp/vendor/ask_ark_emulation.cert", "/vendor.cert"),
                (psk, "/psk")]:
            sev_host("copy", source, f"{name}:{there}")

    def shell(self, script):
        return sev_host("exec", self.name, "--", "sh", "-c", script, check=False).decode()

    def run(self, name, guest, _):
        argv = ["sevmirror", "run", "--sev", "on", "--name", name, "--payload", "/dirtier",
                "--memory", f"{guest['memory']}M", "--policy", "NODBG|NOKS|SEV"]
        if guest["mirror"]:
            argv += ["--mirror-payload", "/memscan"]
        for arg in guest["args"]:
            argv += ["--arg", str(arg)]
        return Process(self, argv)

    def receive(self, name, security, timeout, *_):
        return Process(self, ["sevmirror", "receive", "--name", name, "--listen", "0.0.0.0:0",
                              "--vendor-chain", "/vendor.cert", "--timeout", str(timeout),
                              *security])

    def start(self, *words):
        return Process(self, ["sevmirror", *words])

    def command(self, *words, seconds=300):
        process = self.start(*words)
        status = process.wait(seconds)
        said = process.said()
        if status is None:
            process.popen.kill()
            process.wait(10)
        return status, said

    def status(self, name, seconds=300):
        code, said = self.command("status", name, "--json", seconds=seconds)
        try:
            return json.loads(said) if code == 0 else None
        except ValueError:
            return None

    def leftovers(self, name):
        return [f for f in self.shell(f"ls {RUNTIME} 2>/dev/null").split()
                if f.startswith(name + ".")]

    def everything_left(self):
        """Processes, and guests in the secure processor, which forgets them a little later."""
        end = time.monotonic() + 60
        while True:
            left = self.shell("pidof sevmirror").split()
            guests = re.search(r"^guests +(\d+)", self.shell("sevmirror platform status"), re.M)
            if not guests or guests.group(1) != "0":
                left.append("a guest in the secure processor")
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.5)

    def clear(self):
        self.shell("kill -9 $(pidof sevmirror wire-gate)")
        self.shell(f"rm -f {RUNTIME}/* /tmp/pid.*")


class Network:
    """The way to the target, from the source; see address."""

    def __init__(self, source, address, triggers, insecure, note):
        self.note = note
        self.flows = [self]
        self.link = os.path.basename(source.folder)
        self.address = address
        self.gate = None
        self.word = "pass"  # what the gate does after the fault
        self.done = False
        self.cut_link = False
        places = [t for t in triggers if t.when["kind"] == "message"]
        if places and insecure:
            self.stop_at(source, places[0])

    def stop_at(self, source, trigger):
        when = trigger.when
        point = when["type"] if when["way"] == "" else f"{when['way']}{when['type']}:{when['nth']}"
        self.gate = Process(source, ["wire-gate", self.address, point], subprocess.PIPE)
        while "listening" not in self.gate.said():
            if self.gate.poll() is not None:
                raise OSError("the gate has ended: " + self.gate.said())
            time.sleep(0.1)
        self.address = self.gate.said().split("listening ", 1)[1].split()[0]
        threading.Thread(target=self.watch, args=(trigger,), daemon=True).start()

    def watch(self, trigger):
        while not self.done and "reached" not in self.gate.said():
            time.sleep(0.1)
        if not self.done:
            self.word = "pass"
            trigger.run(self)
            self.say(self.word)

    def say(self, word):
        try:
            self.gate.popen.stdin.write(word.encode() + b"\n")
            self.gate.popen.stdin.flush()
        except OSError:
            pass

    def lose(self, lose):
        self.cut_link = lose
        sev_host("link", self.link, "--cut" if lose else "--restore")

    def apply(self, fault, flow):
        kind = fault["kind"]
        if kind in ("cut", "reset", "cut-one", "half") and flow:
            self.word = "cut"
        elif kind == "flip" and flow:
            self.word = "spoil"
        elif kind == "hold" and flow:
            time.sleep(fault["ms"] / 1000)
        elif kind in ("stall", "hold"):
            self.lose(True)
            threading.Timer(fault["ms"] / 1000, self.lose, (False,)).start()
        else:
            self.lose(True)

    def end(self):
        self.done = True
        if self.gate:
            self.say("cut")
            self.gate.signal(signal.SIGKILL)
            try:
                self.gate.popen.stdin.close()
            except OSError:
                pass  # it has gone already, and what was written to it
            self.gate.wait(60)
        if self.cut_link:
            self.lose(False)


class Pair:
    """Two hosts with different chips and a link between them, for many trials."""

    def __init__(self, build):
        self.folder = tempfile.mkdtemp(prefix="trial-")
        os.environ["XDG_STATE_HOME"] = os.path.join(self.folder, "state")
        psk = os.path.join(self.folder, "psk")
        with open(os.open(psk, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as f:
            f.write(os.urandom(32).hex())
        self.hosts = []
        for word in ("one", "two"):
            name = f"{os.path.basename(self.folder)}-{word}"
            self.hosts.append(Host(name, self.folder, build, psk))

    def stop(self):
        for host in self.hosts:
            sev_host("stop", host.name, check=False)
