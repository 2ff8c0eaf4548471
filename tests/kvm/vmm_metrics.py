#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What VMs say in numbers, on their control socket and by `sevmirror exporter`, before, while and
after one moves.

usage: vmm_metrics.py SEVMIRROR PAYLOAD-DIRTIER
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SEVMIRROR, DIRTIER = (os.path.realpath(p) for p in sys.argv[1:3])
MIB = 1 << 20
WAIT = 120

count = 0
failed = False


def check(what, good):
    global count, failed
    count += 1
    failed |= not good
    print(("ok" if good else "not ok"), count, "-", what, flush=True)


class Host:
    """One side: a runtime directory, and a sevmirror process in it."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder, 0o700)
        self.env = dict(os.environ, SEVMIRROR_RUNTIME_DIR=folder)
        self.process = self.exporter = None
        self.said = os.path.join(folder, "stderr")

    def start(self, *args):
        with open(self.said, "wb") as err:
            self.process = subprocess.Popen([SEVMIRROR, *args], env=self.env,
                                            stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=err)

    def export(self, listen):
        said = os.path.join(self.folder, "exporter")
        with open(said, "wb") as err:
            self.exporter = subprocess.Popen([SEVMIRROR, "exporter", "--listen", listen],
                                             env=self.env,
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=err)
        self.address = self.wait_for(r"metrics at http://([0-9.:]+)/metrics", said)

    def wait_for(self, pattern, said=None):
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            with open(said or self.said, encoding="utf-8") as f:
                found = re.search(pattern, f.read())
            if found:
                return found.group(1)
            time.sleep(0.05)
        raise SystemExit(f"{pattern}: {open(said or self.said, encoding='utf-8').read()}")

    def get(self, method="GET", path="/metrics"):
        connection = http.client.HTTPConnection(self.address, timeout=WAIT)
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def numbers(self, vm="guest"):
        """{'name{labels}': value} of one VM"""
        return {k: v for k, v in ((of_vm(k, vm), v) for k, v in parse(self.get()[1]).items()) if k}

    def command(self, name):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(WAIT)
            s.connect(os.path.join(self.folder, "guest.sock"))
            f = s.makefile("rw")
            f.readline()
            f.write(json.dumps({"execute": name}) + "\n")
            f.flush()
            while True:
                answer = json.loads(f.readline())
                if "event" not in answer:
                    return answer["return"]

    def sevmirror(self, *args):
        return subprocess.run([SEVMIRROR, *args], env=self.env, capture_output=True, timeout=WAIT,
                              check=False)

    def end(self):
        for process in self.process, self.exporter:
            if process and process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def of_vm(name, vm):
    """A sample's name without the label of its VM; None if it is another's."""
    found = re.fullmatch(r'([a-z0-9_]+)\{vm="([^"]*)"(?:,(.*))?\}', name)
    if not found or found.group(2) != vm:
        return None
    return found.group(1) + (f"{{{found.group(3)}}}" if found.group(3) else "")


SAMPLE = re.compile(r'^([a-z0-9_]+(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (-?[0-9.e+-]+)$')


def parse(text):
    numbers, family, kinds = {}, None, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name == family and name not in kinds, line
            kinds[name] = kind
        else:
            sample = SAMPLE.match(line)
            assert sample and sample.group(1).split("{")[0] == family, line
            assert sample.group(1) not in numbers, line
            numbers[sample.group(1)] = float(sample.group(2))
    for name, kind in kinds.items():
        assert name.startswith("sevmirror_"), name
        assert name.endswith("_total") == (kind == "counter"), name
    return numbers


def flatten(metrics):
    """query-metrics in the form of numbers()"""
    numbers = {}
    for family in metrics["metrics"]:
        for sample in family["samples"]:
            labels = ",".join(f'{k}="{v}"' for k, v in sample["labels"].items())
            numbers[family["name"] + (f"{{{labels}}}" if labels else "")] = sample["value"]
    return numbers


def total(numbers, family):
    return sum(v for k, v in numbers.items() if k.startswith(family + "{"))


def run(folder):
    source, target = Host(os.path.join(folder, "1")), Host(os.path.join(folder, "2"))
    try:
        steps(source, target)
    finally:
        source.end()
        target.end()


def steps(source, target):
    # It writes some pages and sleeps between, so that there are exits.
    args = [a for n in (11, 2000, 4 * MIB, 1, 0, 2, 1) for a in ("--arg", str(n))]
    source.start("run", "--name", "guest", "--sev", "off", "--payload", DIRTIER, "--memory", "64M",
                 "--cpus", "2",
                 *args)
    target.start("receive", "--sev", "off", "--name", "guest", "--listen", "127.0.0.1:0",
                 "--insecure")
    source.export("0")
    target.export("127.0.0.1:0")
    listening = target.wait_for(r"waiting for the source on ([0-9.:]+)")

    waiting = target.numbers()
    while not waiting:
        waiting = target.numbers()
    check("a host that waits says so", waiting['sevmirror_vm_state{state="incoming"}'] == 1)
    check("and has no memory to speak of", "sevmirror_vm_memory_bytes" not in waiting)

    end = time.monotonic() + WAIT
    first = source.numbers()
    while first['sevmirror_vm_state{state="running"}'] != 1 and time.monotonic() < end:
        first = source.numbers()
    check("a VM that runs says so", first['sevmirror_vm_state{state="running"}'] == 1)
    check("in one state at a time", total(first, "sevmirror_vm_state") == 1)
    check("its memory", first["sevmirror_vm_memory_bytes"] == 64 * MIB)
    check("all of it can be read by the host, without SEV",
          first["sevmirror_vm_shared_memory_bytes"] == 64 * MIB
          and first["sevmirror_vm_encrypted"] == 0)
    check("its CPUs", first["sevmirror_vm_vcpus"] == 2)
    check("no migration yet", first['sevmirror_migration_phase{phase="none"}'] == 1 and
          total(first, "sevmirror_migrations_total") == 0)

    def doorbells(numbers):
        return sum(v for k, v in numbers.items() if 'reason="doorbell"' in k)
    later = source.numbers()
    while doorbells(later) <= doorbells(first) and time.monotonic() < end:
        later = source.numbers()
    check("exits are counted as they happen", doorbells(later) > doorbells(first))
    check("no counter falls", all(later[k] >= v for k, v in first.items() if "_total" in k))
    check("the control socket has the same families",
          set(flatten(source.command("query-metrics"))) == set(later) - {"sevmirror_vm_up"})
    check("memory is an exact number",
          f'sevmirror_vm_memory_bytes{{vm="guest"}} {64 * MIB}\n' in source.get()[1])
    check("the VM is up", later["sevmirror_vm_up"] == 1)
    check("and its version", source.command("query-metrics")["version"] == 1)

    check("HEAD gives no body", source.get("HEAD") == (200, ""))
    check("other paths are not found", source.get(path="/")[0] == 404)
    check("other methods are refused", source.get("POST")[0] == 405)
    if shutil.which("promtool"):
        text = source.get()[1].encode()
        check("promtool finds nothing", subprocess.run(["promtool", "check", "metrics"], input=text,
                                                       capture_output=True,
                                                       check=False).returncode == 0)
    else:
        check("promtool finds nothing # SKIP promtool (Debian's package prometheus) is not "
              "installed", True)

    # A VM that does not answer is down, and delays nothing.
    source.process.send_signal(signal.SIGSTOP)
    check("a VM that does not answer is down", source.numbers() == {"sevmirror_vm_up": 0})
    source.process.send_signal(signal.SIGCONT)
    check("and up again when it does", source.numbers()["sevmirror_vm_up"] == 1)

    source.sevmirror("pause", "guest")
    paused = source.numbers()
    check("a paused VM says so", paused['sevmirror_vm_state{state="paused"}'] == 1)
    check("its vCPUs were interrupted for it",
          sum(v for k, v in paused.items() if 'reason="interrupted"' in k) > 0)
    source.sevmirror("resume", "guest")

    moved = source.sevmirror("migrate", "guest", "--to", listening, "--insecure", "--json",
                             "--max-downtime", "2000")
    check("it moves", moved.returncode == 0)
    result = json.loads(moved.stdout)
    arrived, end = target.numbers(), time.monotonic() + WAIT
    while total(arrived, "sevmirror_migrations_total") < 1 and time.monotonic() < end:
        arrived = target.numbers()  # the guest runs before the last word is said
    check("the target counts the migration",
          arrived['sevmirror_migrations_total{outcome="migrated"}'] == 1)
    check("it runs there", arrived['sevmirror_vm_state{state="running"}'] == 1)
    check("it has its memory", arrived["sevmirror_vm_memory_bytes"] == 64 * MIB)
    check("all pages came",
          arrived["sevmirror_migration_sent_pages_total"] >= 64 * MIB // 4096 - 1024)
    check("in as many bytes as the source says, or nearly",
          0.5 < arrived["sevmirror_migration_sent_bytes_total"] / result["bytes"] < 2)
    check("how long it took", arrived["sevmirror_migration_last_duration_seconds"] > 0)
    check("that no post-copy was needed", arrived["sevmirror_migration_postcopy_faults_total"] == 0)
    source.process.wait(timeout=WAIT)
    target.sevmirror("stop", "guest")
    check("the guest finds its memory as it wrote it", target.process.wait(timeout=WAIT) == 0)

    check("nothing is left of a VM that has ended", not target.numbers())
    for host in source, target:
        host.exporter.send_signal(signal.SIGTERM)
    check("the exporters end on SIGTERM",
          [h.exporter.wait(timeout=WAIT) for h in (source, target)] == [0, 0])
    refused = subprocess.run([SEVMIRROR, "exporter", "--listen", "127.0.0.1:no-port"],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT,
                             check=False)
    check("an invalid address is refused", refused.returncode == 1
          and b"--listen" in refused.stderr)


def main():
    if not os.access("/dev/kvm", os.W_OK):
        print("1..0 # SKIP no usable /dev/kvm")
        return
    folder = tempfile.mkdtemp()
    try:
        run(folder)
    finally:
        shutil.rmtree(folder)
    print(f"1..{count}")
    sys.exit(failed)


main()
