# SPDX-License-Identifier: Apache-2.0
"""What a trial does: all of it follows from the seed.

A plan has guests that live at the same time between the same two hosts. Each has a way of working
and some migrations. Each migration has options and at most three faults; a fault has a place or a
time ("when") and a kind.
"""
import random

NETWORK = ["cut", "reset", "cut-one", "half", "blackhole", "stall", "hold", "slow", "jitter",
           "refuse"]
DAMAGE = ["flip", "drop", "repeat", "swap"]
PROCESS = ["kill", "freeze", "interrupt", "terminate", "hangup", "storm", "files", "memory"]
OPERATOR = ["cancel", "pause", "resume", "shutdown", "force", "change", "again", "scanner", "ask"]

# How often the conversation is met at each of its messages. Those of the hand-over weigh more.
PLACES = {
    (">", "HELLO"): 1, ("<", "HELLO"): 1, (">", "COMPAT"): 1, (">", "CONFIG"): 1,
    ("<", "ACCEPT"): 1, (">", "CORE"): 1, ("<", "CORE_DONE"): 1, (">", "ROUND"): 2,
    ("<", "ROUND"): 2, (">", "STATE"): 3, (">", "MANIFEST"): 3, ("<", "READY"): 4,
    (">", "COMMIT"): 5, ("<", "RUNNING"): 5,
}
POSTCOPY_PLACES = {
    (">", "POSTCOPY"): 3, ("<", "POSTCOPY"): 3, (">", "MISSING"): 4, ("<", "PAGE_REQUEST"): 3,
    (">", "LAST_PAGE"): 4, ("<", "LAST_PAGE"): 4,
}


def one_of(chance, weights):
    return chance.choices(list(weights), list(weights.values()))[0]


def log_uniform(chance, low, high):
    return int(low * (high / low) ** chance.random())


class Planner:
    def __init__(self, seed, emulated):
        self.chance = random.Random(f"sevmirror trial {seed}")
        self.emulated = emulated

    def maybe(self, share):
        return self.chance.random() < share

    def guest(self):
        c = self.chance
        disk = not self.emulated and self.maybe(0.1)
        memory = c.choice([16, 16, 24, 32]) if not self.emulated else 16
        rate = c.choice([200, 2000, 2000, 20000]) if not self.emulated else c.choice([50, 300])
        guest = {
            "kind": "disk" if disk else "dirtier",
            "memory": memory,
            "cpus": c.choice([1, 1, 2, 4]) if not disk and not self.emulated else 1,
            # payloads/dirtier.h: seed, rate, working set, pattern, words, verify, fill, writes,
            # shared
            "args": [c.randrange(1, 1 << 30), rate, c.choice([0, 1 << 20, 4 << 20]),
                     c.randrange(3), 0, c.choice([0, 2]), int(self.maybe(0.7)), 0, 1],
            "mirror": not disk and self.maybe(0.25),
            "adverse": self.adverse(),
        }
        return guest

    def adverse(self):
        """What is preloaded into a VM's process (adverse.c)."""
        what = {}
        if self.emulated:
            return what
        if self.maybe(0.25):
            what["clock"] = self.chance.randrange(1, 1 << 30)
        if self.maybe(0.2):
            what["short"] = self.chance.randrange(1, 1 << 30)
        return what

    def when(self, mode, insecure):
        c = self.chance
        if self.emulated and not insecure:
            return {"kind": "time", "ms": log_uniform(c, 200, 15000)}
        if insecure and self.maybe(1 if self.emulated else 0.7):
            places = dict(PLACES)
            if mode != "never":
                places.update(POSTCOPY_PLACES)
            way, message = one_of(c, places)
            nth = c.choice([1, 1, 2]) if message == "ROUND" else 1
            return {"kind": "message", "way": way, "type": message, "nth": nth}
        if self.maybe(0.25):
            return {"kind": "time", "ms": log_uniform(c, 1, 2000)}
        connection = c.choice([0, 1, 1, 2])
        return {"kind": "bytes", "connection": connection, "way": c.choice(">>><"),
                "at": log_uniform(c, 1, (1 << 25) if connection else (1 << 16))}

    def fault(self, mode, insecure, timeout):
        c = self.chance
        when = self.when(mode, insecure)
        kinds = {k: 2 for k in NETWORK}
        kinds.update({k: 3 for k in ("kill", "freeze", "cut", "blackhole")})
        kinds.update({k: 1 for k in ("interrupt", "terminate", "hangup")})
        kinds.update({k: 1 for k in OPERATOR})
        if not self.emulated:
            kinds.update({"storm": 2, "files": 2, "memory": 2})
        # Without TLS nothing protects the control connection, and nothing says that it does.
        if not self.emulated and \
                (not insecure or (when["kind"] == "bytes" and when["connection"])):
            kinds.update({k: 2 for k in DAMAGE})
        if self.emulated:
            for kind in ("slow", "jitter", "refuse", "scanner"):
                kinds.pop(kind)
        fault = {"kind": one_of(c, kinds)}
        if fault["kind"] in ("stall", "freeze", "hold", "storm"):
            fault["ms"] = log_uniform(c, 5, 1000 * (timeout + 2))
        if fault["kind"] == "slow":
            fault["rate"] = log_uniform(c, 1 << 18, 1 << 24)
        if fault["kind"] == "jitter":
            fault["ms"] = log_uniform(c, 1, 20)
        if fault["kind"] in PROCESS:
            fault["side"] = c.choice(["source", "target", "source", "target", "mover"])
        if fault["kind"] in ("storm", "files", "memory") and fault["side"] == "mover":
            fault["side"] = "source"
        if fault["kind"] in ("pause", "shutdown", "force", "ask"):
            fault["side"] = c.choice(["source", "target"])
        if fault["kind"] == "resume":
            # Of the source it would be the operator's word that the target has no guest.
            fault["side"] = "target"
        if fault["kind"] in ("files", "memory"):
            fault["spare"] = c.choice([0, 1, 2, 4, 8, 16])
        fault["when"] = when
        return fault

    def move(self, guest):
        c = self.chance
        mode = c.choice(["never", "never", "always", "always", "auto"])
        insecure = self.maybe(0.55)
        faults = c.choices([0, 1, 2, 3], [2, 6, 3, 1] if not self.emulated else [2, 8, 0, 0])[0]
        timeout = c.choice([1, 2, 3]) if not self.emulated else 15
        options = ["--postcopy", mode]
        if mode == "always" and self.maybe(0.4):
            options += ["--postcopy-after", str(c.randrange(1, 4))]
        if mode != "never" and self.maybe(0.5):
            options += ["--bandwidth", f"{c.choice([8, 32, 64, 256])}M"]
        options += ["--streams", str(c.choice([1, 2, 2, 3, 5]))]
        options += ["--max-downtime", str(c.choice([300, 3000]))] if not self.emulated else \
            ["--max-downtime", "20000"]
        if self.maybe(0.1):
            options += ["--throttle"]
        if self.maybe(0.1):
            options += ["--priority", "normal"]
        report = not self.emulated and self.maybe(0.1)
        return {
            "options": options, "postcopy": mode, "insecure": insecure,
            # Without a fault it has to arrive, however busy the machine is.
            "timeout": timeout if faults else 120,
            "report": c.choice(["written", "full"]) if report else None,
            "mirror": guest["mirror"] and self.maybe(0.6),
            "paused": self.maybe(0.05),
            "faults": [self.fault(mode, insecure, timeout) for _ in range(faults)],
            # Somebody cuts the recovery, too.
            "recovery": self.fault(mode, True, timeout) if self.maybe(0.25) else None,
            "adverse": self.adverse(),
        }

    def life(self):
        guest = self.guest()
        guest["moves"] = [self.move(guest) for _ in range(self.chance.randrange(3, 7))]
        return guest


def make(seed, emulated=False):
    planner = Planner(seed, emulated)
    guests = 1 if emulated else planner.chance.choice([1, 1, 1, 2, 3])
    return {"seed": seed, "guests": [planner.life() for _ in range(guests)]}


def in_words(plan):
    """The plan as lines of text."""
    lines = [f"seed {plan['seed']}: {len(plan['guests'])} guests"]
    for number, guest in enumerate(plan["guests"]):
        lines.append(f"guest {number}: {guest['kind']}, {guest['memory']} MiB, "
                     f"{guest['cpus']} CPUs, arguments {guest['args']}, "
                     f"preloaded {guest['adverse'] or 'nothing'}")
        for turn, move in enumerate(guest["moves"]):
            words = " ".join(move["options"])
            security = "insecure" if move["insecure"] else "psk"
            extra = [w for w in ("mirror", "paused", "report") if move[w]]
            lines.append(f"  {turn}: {words} --timeout {move['timeout']} {security}"
                         f"{' with ' + ', '.join(extra) if extra else ''}")
            for fault in move["faults"] + ([move["recovery"]] if move["recovery"] else []):
                what = {k: v for k, v in fault.items() if k not in ("kind", "when")}
                where = " ".join(str(v) for k, v in fault["when"].items() if k != "kind")
                recovery = ", in the recovery" if fault is move["recovery"] else ""
                lines.append(f"     {fault['kind']} {what or ''} at "
                             f"{fault['when']['kind']} {where}{recovery}")
    return "\n".join(lines)
