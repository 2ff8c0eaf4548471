# SPDX-License-Identifier: Apache-2.0
"""The life of a guest in a trial: it starts, moves by its plan, and is looked for after each move.

After a move both hosts settle, whatever happened. What they say (exit status, state, reason) must
agree, and must name the way out; that way is taken, and the guest must run again, with every page.
"""
import os
import signal
import socket
import threading
import time

import network as net
import settled

Violation = settled.Violation
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM,
           "hangup": signal.SIGHUP}


class Life:
    """Of one guest."""

    def __init__(self, number, plan, hosts, trial):
        self.name = f"g{number}"
        self.plan, self.hosts, self.trial = plan, hosts, trial
        self.disk = None
        if plan["kind"] == "disk":
            self.disk = os.path.join(trial.folder, f"{self.name}.img")
            with open(self.disk, "wb") as f:
                f.truncate(1 << 20)
        self.here = 0
        self.vm = None  # the process that has the guest
        self.target = self.mover = self.mirror = None
        self.attached = ""  # what migrate --attach said, where migrate itself was killed
        self.network = self.real_address = None
        self.events = set()  # what the plan did that explains an end of the guest
        self.outcomes = []
        self.log = []
        self.began = time.monotonic()

    def note(self, text):
        self.log.append(f"{time.monotonic() - self.began:9.3f} {text}")

    def until(self, what, test, seconds=None):
        """Again and again; a violation when it never is so."""
        end = time.monotonic() + (seconds or self.trial.patience)
        pause = 0.002
        while not (result := test()):
            if time.monotonic() > end:
                raise Violation(f"never: {what}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return result

    def must(self, what, good):
        if not good:
            raise Violation(what)

    # The guest

    def launch(self):
        self.here = 0
        self.events = set()
        self.vm = self.host().run(self.name, self.plan, self.disk)
        self.note(f"launched, pid {self.vm.pid}")
        self.until("the guest starts",
                   lambda: self.state(self.host()) == "running" or self.vm.poll() is not None)
        self.must("the guest starts", self.vm.poll() is None)

    def host(self, other=False):
        return self.hosts[self.here ^ other]

    def state(self, host):
        status = host.status(self.name)
        return status and status["state"]

    def beats(self, process):
        """Its vCPUs run, by what they write."""
        first = process.beat()
        return first is not None and self.until(
            "the guest runs", lambda: process.poll() is not None or process.beat() not in
            (first, None))

    def rests(self, process):
        """None of its vCPUs runs."""
        first = process.beat()
        if first is None:
            return True
        time.sleep(0.05)
        return process.beat() == first

    def end(self):
        """The guest checks all of its memory, and ends."""
        self.see_end()
        if self.vm is None:
            return
        force = ["--force"] if self.disk else []
        code, said = self.host().command("stop", self.name, *force)
        self.must(f"stop is obeyed: {said}", code == 0 or "shutdown" in self.events)
        status = self.vm.wait(self.trial.patience)
        self.must(f"the guest finds every page as it wrote it: exit status {status}: "
                  f"{self.vm.said()[-300:]}", status == (7 if self.disk else 0))
        self.nothing_left(self.host(), self.vm)
        self.vm = None

    def nothing_left(self, host, process):
        """Of a process that has ended; one that was killed cannot clear up."""
        if process.poll() != -signal.SIGKILL:
            left = host.leftovers(self.name)
            self.must(f"nothing is left: {left}", not left)

    # A move

    def live(self):
        for turn, move in enumerate(self.plan["moves"]):
            self.see_end()
            if self.vm is None:
                self.launch()
            self.note(f"move {turn}")
            # A guest that was asked to end does so in its own time.
            self.events &= {"shutdown"}
            self.move(move)
            if self.trial.stopping():
                break
        self.end()

    def see_end(self):
        """Whether a guest that was asked to end has done so."""
        if self.vm is None or self.vm.poll() is None or "shutdown" not in self.events:
            return
        self.must(f"the guest finds every page as it wrote it: {self.vm.poll()}",
                  self.vm.poll() == 0)
        self.nothing_left(self.host(), self.vm)
        self.vm = None

    def security(self, move):
        return ["--insecure"] if move["insecure"] else ["--psk-file", self.host().programs["psk"]]

    def await_guest(self, move):
        self.target = self.host(True).receive(self.name, self.security(move), move["timeout"],
                                              self.disk, move["adverse"])
        self.until("the target waits",
                   lambda: "waiting for the source" in self.target.said() or
                   self.target.poll() is not None)
        self.must(f"the target waits: {self.target.said()}", self.target.poll() is None)
        return self.target.address()

    def triggers(self, faults):
        return [net.Trigger(dict(f["when"]), lambda flow, f=f: self.apply(f, flow))
                for f in faults if f["when"]["kind"] != "time"]

    def move(self, move):
        self.must("the source has the guest",
                  self.vm.poll() is None or "shutdown" in self.events)
        address = self.await_guest(move)
        self.real_address = address
        source = self.host()
        if move["paused"]:
            self.events.add("pause")
            self.must("pause is obeyed", source.command("pause", self.name)[0] == 0)
        if move["mirror"]:
            self.mirror = source.start("mirror", "attach", self.name,
                                       *["--range", "0x80000+0x20000"] * 400)
        self.network = self.trial.network(self, address, self.triggers(move["faults"]),
                                          move["insecure"])
        words = ["migrate", self.name, "--to", self.network.address, "--timeout",
                 str(move["timeout"])] + move["options"] + self.security(move)
        if move["report"]:
            words += ["--report", self.trial.report_path(move["report"], self.name)]
        self.mover = source.start(*words)
        timers = [threading.Timer(f["when"]["ms"] / 1000, self.apply, (f, None))
                  for f in move["faults"] if f["when"]["kind"] == "time"]
        for timer in timers:
            timer.start()
        try:
            code = self.mover.wait(self.trial.patience)
            self.note(f"migrate: {code}: {self.mover.said()[-600:].strip()}")
            self.must("migrate ends", code is not None)
            for timer in timers:
                timer.cancel()
            self.calm()
            if code < 0 and self.vm.poll() is None:
                code = self.attach()
        finally:
            for timer in timers:
                timer.cancel()
            self.calm()
            self.network.end()
        settled.Judge(self, move, code).judge()
        self.end_mirror()
        if self.vm is not None and self.host() is source:
            self.as_before()

    def calm(self):
        """The faults of processes end."""
        for process in self.vm, self.target, self.mover:
            if process:
                process.thaw()
                process.unlimit()

    def attach(self):
        """migrate was killed; the VM goes its way, and another terminal looks."""
        code, said = self.host().command("migrate", self.name, "--attach",
                                         seconds=self.trial.patience)
        self.note(f"migrate --attach: {code}: {said.strip()}")
        self.must("migrate --attach ends", code is not None)
        self.attached = said
        return code

    def end_mirror(self):
        if self.mirror is None:
            return
        if self.vm is not None:
            self.mirror.signal(signal.SIGINT)
        status = self.mirror.wait(self.trial.patience)
        self.note(f"mirror: {status}")
        self.must("the mirror ends", status is not None)
        self.mirror = None

    def as_before(self):
        """A source that keeps its guest keeps no more of a second migration than of the first."""
        kept = self.vm.kept

        def no_more():
            return self.vm.poll() is not None or kept is None or \
                (not more() and len(self.vm.tasks()) <= kept[1])

        def more():
            files = self.vm.files()
            # The link to the last mirror stays until there is another.
            for name in kept[0] + (["socket"] if self.plan["mirror"] else []):
                if name in files:
                    files.remove(name)
            return files

        try:
            self.until("as before", no_more, 20)
        except Violation:
            raise Violation(f"the source keeps descriptors {more()}, and {len(self.vm.tasks())} "
                            f"threads of {kept[1]} before") from None
        if kept is None:
            self.vm.kept = self.vm.files(), len(self.vm.tasks())

    # Faults

    def apply(self, fault, flow):
        self.note(f"fault {fault}")
        self.trial.count_fault(fault["kind"])
        kind = fault["kind"]
        if kind in net.KINDS:
            self.network.apply(fault, flow)
            return
        if kind in SIGNALS or kind in ("freeze", "storm", "files", "memory"):
            side = fault["side"]
            process = {"source": self.vm, "target": self.target, "mover": self.mover}[side]
            self.to_process(kind, fault, process, side)
            return
        threading.Thread(target=self.operator, args=(fault,), daemon=True).start()
        time.sleep(0.02)

    def to_process(self, kind, fault, process, side):
        if process is None:
            return
        if kind in SIGNALS:
            self.events.add(f"{side} {'killed' if kind == 'kill' else 'ended'}")
            process.signal(SIGNALS[kind])
        elif kind == "freeze":
            process.freeze(fault["ms"] / 1000)
        elif kind == "storm":
            process.storm(fault["ms"] / 1000)
        else:
            self.events.add("limits")
            process.limit(kind, fault["spare"])

    def operator(self, fault):
        kind = fault["kind"]
        host = self.host(fault.get("side") == "target")
        side = fault.get("side", "")
        if kind in ("pause", "resume", "ask"):
            self.events.add("pause" if kind == "pause" else "asked")
            host.command({"ask": "status"}.get(kind, kind), self.name)
        elif kind in ("shutdown", "force"):
            self.events.add("shutdown" if kind == "shutdown" else f"{side} ended")
            host.command("stop", self.name, *(["--force"] if kind == "force" else []))
        elif kind == "cancel":
            self.events.add("cancel")
            host.command("migrate", self.name, "--cancel")
        elif kind == "change":
            host.command("migrate", self.name, "--change", "--bandwidth", "8M")
        elif kind == "again":
            self.again(host)
        elif kind == "scanner":
            self.scan()

    def again(self, host):
        """A second migration of the guest while one is under way is refused."""
        host.command("migrate", self.name, "--to", "127.0.0.1:1", "--insecure")

    def scan(self):
        host, port = self.real_address.rsplit(":", 1)
        for text in [b"", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01"] * 5:
            try:
                with socket.create_connection((host, int(port)), 5) as s:
                    s.sendall(text)
            except OSError:
                pass
