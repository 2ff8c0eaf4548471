# SPDX-License-Identifier: Apache-2.0
"""After a move: both hosts settle, their words are compared, and the way out that they name is
taken.

The rules are those of docs/migrate.md, "How a migration ends". None of them asks how long something
took.
"""
import json
import os
import signal

MIGRATED, FAILED, UNSUPPORTED, LOST, UNKNOWN, BROKEN, ENDED, REPORT = 0, 1, 4, 6, 9, 10, 11, 12
OUTCOMES = {MIGRATED: {"migrated"}, FAILED: {"failed", "cancelled"}, LOST: {"lost"},
            UNKNOWN: {"unknown"}, BROKEN: {"broken"}, ENDED: {"ended"}}
VM_STOPPED, VM_MIGRATED = 7, 8
RECOVERIES = 20


class Violation(Exception):
    """What must not be."""


class Judge:
    """One move, and migrate's exit status."""

    def __init__(self, life, move, code):
        self.life, self.move, self.code = life, move, code
        self.source, self.target = life.vm, life.target
        self.source_host, self.target_host = life.host(), life.host(True)
        self.said = life.attached or life.mover.said()
        life.attached = ""

    def note(self, text):
        self.life.note(text)

    def must(self, what, good):
        self.life.must(f"{what} [migrate ended with {self.code}; {self.facts()}]", good)

    def facts(self):
        return (f"source {self.describe(self.source, self.source_host)}, target "
                f"{self.describe(self.target, self.target_host)}, events "
                f"{sorted(self.life.events)}")

    def describe(self, process, host):
        status = process.poll()
        if status is not None:
            return f"ended with {status}"
        return (host.status(self.life.name) or {}).get("state", "silent")

    # What explains an end

    def may_end(self, side):
        """The plan ended that side's process, or its guest."""
        return bool({f"{side} killed", f"{side} ended", "shutdown"} & self.life.events)

    def status(self, process, host):
        """The VM's status, None once its process has ended."""
        found = []

        def look():
            found[:] = [host.status(self.life.name)]
            return found[0] is not None or process.poll() is not None

        self.life.until("the VM answers, or ends", look)
        return found[0] if process.poll() is None else None

    # Settling

    def settle_source(self):
        """The source's status when its migration has ended, or None and its exit status."""
        if self.code in (MIGRATED, REPORT):
            status = self.source.wait(self.life.trial.patience)
            self.must("the source's process ends", status is not None)
            return None
        end = []

        def settled():
            if self.source.poll() is not None:
                return True
            end[:] = [self.source_host.status(self.life.name)]
            return end[0] is not None and "migration" not in end[0] and \
                end[0]["state"] in ("running", "paused")

        self.life.until("the source settles", settled)
        return end[0] if self.source.poll() is None else None

    def settle_target(self):
        """Likewise. A target that nobody has come to waits for ever, so it is stopped."""
        found = []

        def settled():
            if self.target.poll() is not None:
                return True
            found[:] = [self.target_host.status(self.life.name)]
            return found[0] is not None and found[0]["state"] in ("running", "paused")

        def settles(seconds):
            try:
                self.life.until("the target settles", settled, seconds)
                return True
            except Violation:
                return False

        met = self.code == UNKNOWN and self.source.poll() is None
        if met or self.code in (MIGRATED, REPORT, BROKEN):
            self.must("the target settles", settles(self.life.trial.patience))
        elif not self.life.network.flows or not settles(2 * self.move["timeout"]):
            self.target_host.command("stop", self.life.name)
            self.must("the target settles", settles(self.life.trial.patience))
        return found[0] if self.target.poll() is None else None

    # The verdict

    def judge(self):
        source, target = self.settle_source(), self.settle_target()
        self.note(f"settled: {self.code}; {self.facts()}")
        self.life.outcomes.append(self.code)
        self.agree(source)
        self.life.must(f"never two that run [{self.facts()}]",
                       not (source and target and source["state"] == "running" and
                            target["state"] == "running"))
        if source and source["state"] == "paused":
            self.must("a guest that is said to be paused rests", self.life.rests(self.source))
        {MIGRATED: self.migrated, REPORT: self.migrated, FAILED: self.failed, LOST: self.lost,
         UNSUPPORTED: self.failed, UNKNOWN: self.unknown, BROKEN: self.broken,
         ENDED: self.ended}.get(self.code, self.no_word)(source, target)

    def agree(self, source):
        """The exit status, the VM's result and its reason say the same."""
        if not source or self.code not in OUTCOMES or self.code == UNSUPPORTED:
            return
        code, said = self.source_host.command("migrate", self.life.name, "--attach", "--json")
        try:
            result = json.loads(said[said.index("{"):said.rindex("}") + 1])
        except ValueError:
            # The process of the VM has refused to begin, or has no room to say more.
            self.must(f"--attach tells the outcome: {said}",
                      self.code == FAILED and self.said.strip() != "")
            return
        if result.get("outcome") not in OUTCOMES[self.code] and self.code == FAILED and \
                self.refused():
            return
        self.must(f"--attach agrees: {code} {result.get('outcome')}",
                  code == self.code and result.get("outcome") in OUTCOMES[self.code])
        if not self.move["faults"]:
            # Without privileges a host may not give userfaultfd.
            known = {"convergence"} if os.geteuid() == 0 else {"convergence", "postcopy"}
            self.must(f"what nothing disturbs arrives: {said}",
                      result["outcome"] == "migrated" or result.get("reason") in known)
        if result["outcome"] != "migrated":
            self.must(f"there is a reason: {said}", result.get("reason") != "none")
            self.must(f"there is an error in words: {said}", result.get("error"))

    def refused(self):
        """The migration has not begun, so what the VM tells is of an earlier one."""
        return "under way" in self.said or "--report" in self.said

    def no_word(self, source, target):
        """Neither migrate nor --attach could tell."""
        if self.source.poll() is None:
            self.must(f"an outcome that is documented: {self.said}", False)
        self.source_is_gone(target)

    def arrived(self, target):
        """The target has the guest, and is who has it from now on."""
        self.life.vm, self.life.here = self.target, self.life.here ^ 1
        self.life.target = None
        if target is None:
            self.must("the guest is at the target", self.may_end("target"))
            self.must("and its end has a status that says so",
                      self.target.poll() in (0, VM_STOPPED, -signal.SIGKILL))
            self.life.nothing_left(self.target_host, self.target)
            self.life.vm = None
            return
        self.works(self.target, self.target_host)

    def works(self, process, host):
        """The guest there runs, or runs again."""
        life = self.life
        status = self.status(process, host)
        if status and status["state"] == "paused":
            allowed = "pause" in life.events or "paused" in self.said
            self.must(f"it is paused for a reason: {status}", allowed)
            code, said = host.command("resume", life.name)
            self.must(f"resume is obeyed: {said}", code == 0 or process.poll() is not None)
            status = self.status(process, host)
        if status is None or process.poll() is not None:
            self.gone_later(process, host)
            return
        self.must(f"the guest runs: {status}", status["state"] == "running" or
                  self.may_end("source") or self.may_end("target"))
        if not life.disk:
            life.beats(process)
        if process.poll() is not None:
            self.gone_later(process, host)

    def gone_later(self, process, host):
        """It was told to end, and has done so since."""
        self.must("the guest ends for a reason", self.may_end("source") or self.may_end("target"))
        self.must("its end has a status that says so",
                  process.poll() in (0, VM_STOPPED, -signal.SIGKILL))
        self.life.nothing_left(host, process)
        self.life.vm = None

    def target_is_empty(self):
        status = self.target.poll()
        self.must("the target has nothing", status is not None)
        known = {1, VM_STOPPED}
        if "target killed" in self.life.events:
            known.add(-signal.SIGKILL)
        if "limits" in self.life.events:
            known.add(UNSUPPORTED)
        self.must(f"its status says so: {self.target.said()[-300:]}", status in known)
        self.must("and it says why",
                  status in (VM_STOPPED, -signal.SIGKILL) or "sevmirror: " in self.target.said())
        self.life.nothing_left(self.target_host, self.target)
        self.life.target = None

    def migrated(self, _, target):
        status = self.source.poll()
        known = {VM_MIGRATED}
        if "source killed" in self.life.events:
            known.add(-signal.SIGKILL)
        if self.may_end("source"):
            known |= {VM_STOPPED, 0}
        self.must("the source's process ends with 8", status in known)
        self.life.nothing_left(self.source_host, self.source)
        self.arrived(target)

    def failed(self, source, target):
        self.must("the target does not run it", target is None)
        if source is None:
            self.must(f"the guest is at the source: {self.said}", self.may_end("source"))
            self.source_is_gone(target)
            return
        self.target_is_empty()
        self.works(self.source, self.source_host)

    def ended(self, source, target):
        self.must("the guest has ended for a reason", self.may_end("source"))
        self.source.wait(self.life.trial.patience)
        self.source_is_gone(target)

    def source_is_gone(self, target):
        """By the plan, or as the guest has gone. What has arrived lives, if it is whole."""
        status = self.source.poll()
        self.must("the source's end has a reason",
                  self.may_end("source") or status == VM_MIGRATED)
        self.must("its status says so", status in (0, VM_STOPPED, VM_MIGRATED, -signal.SIGKILL))
        self.life.nothing_left(self.source_host, self.source)
        self.life.vm = None
        if target is None:
            if self.target.poll() in (0, -signal.SIGKILL) and self.may_end("target"):
                self.life.nothing_left(self.target_host, self.target)
                return
            self.target_is_empty()
            return
        fills = "migration" in target
        if fills:
            # Its pages were at the source: the operator gives it up. Unless all have come.
            self.must(f"the target says what it waits for: {target}", target["detail"])
            self.force(self.target_host, self.target)
            return
        self.arrived(target)

    def force(self, host, process):
        """The guest there is given up."""
        code, said = host.command("stop", self.life.name, "--force")
        self.must(f"stop --force is obeyed: {said}", code == 0 or process.poll() is not None)
        status = process.wait(self.life.trial.patience)
        self.must(f"it ends with 7: {status}", status == VM_STOPPED or
                  self.may_end("source") or self.may_end("target"))
        self.life.nothing_left(host, process)

    def lost(self, source, target):
        self.must(f"the guest is lost for a reason: {self.said}", self.may_end("target"))
        self.must(f"and that is said: {self.said}", "lost" in self.said)
        self.must("the target does not run it", target is None)
        if source:
            self.force(self.source_host, self.source)
        self.life.nothing_left(self.target_host, self.target)
        self.life.vm = None

    def unknown(self, source, target):
        if source is None:
            self.must(f"it is said what to do: {self.said}", "Check the target" in self.said)
            self.source_is_gone(target)
            return
        self.must("the guest is paused at the source", source["state"] == "paused")
        self.must(f"the ways out are named: {self.said}",
                  "`stop --force` here" in self.said and "`resume` here" in self.said)
        if "migrate-recover" in source["permitted"]:
            self.recovery_is_named(source)
            self.recover(target)
        elif target:
            self.force(self.source_host, self.source)
            self.arrived(target)
        else:
            self.take_back()

    def recovery_is_named(self, source):
        for words in self.said, source["advice"]:
            self.must(f"recovery is named: {words}", "`migrate --recover`" in words)

    def take_back(self):
        """The target has no guest."""
        # One that was killed may have had it, and nothing can tell.
        if "target killed" not in self.life.events and not self.may_end("target"):
            self.target_is_empty()
        code, said = self.source_host.command("resume", self.life.name)
        self.must(f"resume is obeyed: {said}", code == 0)
        self.works(self.source, self.source_host)

    def broken(self, source, target):
        if source is None:
            self.source_is_gone(target)
            return
        self.must("the guest is paused at the source", source["state"] == "paused")
        self.recovery_is_named(source)
        self.recover(target)

    def recover(self, target):
        """On a network that is well again; perhaps on one that fails once more before."""
        life = self.life
        code, said = None, ""
        faults = [self.move["recovery"]] if self.move["recovery"] and target else []
        for attempt in range(RECOVERIES):
            if self.source.poll() is not None or self.target.poll() is not None:
                break
            if attempt and code == BROKEN and self.is_whole():
                break
            code, said = self.ask_again(faults if attempt == 0 else [])
            self.said = said
            self.note(f"recovery: {code}: {said[-600:].strip()}")
            if code not in (UNKNOWN, BROKEN) and code is not None and code >= 0:
                break
        self.said, self.code = said, code
        if self.source.poll() is not None and code not in (MIGRATED, REPORT):
            self.code = code
            self.source_is_gone(self.settle_target())
        elif code == BROKEN and self.is_whole():
            self.settle_source()
            self.force(self.source_host, self.source)
            self.arrived(self.settle_target())
        elif self.target.poll() is not None and code in (UNKNOWN, BROKEN, None):
            self.no_answer()
        elif code in (MIGRATED, REPORT):
            self.settle_source()
            self.migrated(None, self.settle_target())
        elif code == FAILED:
            self.failed(self.settle_source(), self.settle_target())
        elif code == LOST:
            self.lost(self.settle_source(), self.settle_target())
        else:
            self.must(f"a recovery succeeds on a network that is well: {said}", False)

    def is_whole(self):
        """The target has all pages; the source has not heard of it."""
        status = self.status(self.target, self.target_host)
        return status is not None and "migration" not in status and \
            "no migration, it has all pages" in self.said

    def no_answer(self):
        """The target has ended. If it may have run the guest, the plan must have ended it."""
        source = self.settle_source()
        if source and "resume" in source["permitted"]:
            self.take_back()
            return
        self.must("the guest ended at the target for a reason", self.may_end("target"))
        if source:
            self.force(self.source_host, self.source)
        self.life.nothing_left(self.target_host, self.target)
        self.life.vm = None

    def ask_again(self, faults):
        life = self.life
        network = life.trial.network(life, life.real_address, life.triggers(faults),
                                     self.move["insecure"])
        life.network = network
        life.mover = self.source_host.start("migrate", life.name, "--recover", "--to",
                                            network.address)
        code = life.mover.wait(life.trial.patience)
        said = life.mover.said()
        life.calm()
        if code is not None and code < 0 and self.source.poll() is None:
            code, said = life.attach(), life.attached
            life.attached = ""
        network.end()
        self.must("a recovery ends", code is not None)
        return code, said
