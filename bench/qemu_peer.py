# SPDX-License-Identifier: Apache-2.0
"""
Debian's QEMUs as peers: which there are, and how each is started. They come from Debian's packages,
unpacked with their libraries and run by their own dynamic linker, so that none needs to be
installed and the versions can be compared on one machine.
"""

import functools
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RELEASES = ("bookworm", "trixie")  # oldest first
LIBRARIES = "usr/lib/x86_64-linux-gnu"
DATA = ("usr/share/qemu", "usr/share/seabios")


class Peer:
    """One QEMU."""

    def __init__(self, root):
        self.command = [f"{root}/usr/lib64/ld-linux-x86-64.so.2", "--library-path",
                        f"{root}/{LIBRARIES}", f"{root}/usr/bin/qemu-system-x86_64"]
        for directory in DATA:
            self.command += ["-L", f"{root}/{directory}"]
        self.environment = dict(os.environ, QEMU_MODULE_DIR=f"{root}/{LIBRARIES}/qemu")
        said = subprocess.run([*self.command, "--version"], env=self.environment,
                              capture_output=True, text=True, check=True).stdout
        # as in '10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)'
        self.version = said.splitlines()[0].partition("version ")[2]
        self.name = "QEMU " + ".".join(self.version.split(".")[:2])


@functools.cache
def peers():
    """Those that can be had here, oldest first; the missing ones are named on standard error."""
    found = []
    for release in RELEASES:
        fetched = subprocess.run([HERE / "fetch-qemu", release], stdout=subprocess.PIPE, text=True,
                                 check=False)
        try:
            if fetched.returncode == 0:
                found.append(Peer(fetched.stdout.strip()))
                continue
        except (OSError, subprocess.CalledProcessError):
            pass  # it does not start here
        print(f"bench: the QEMU of Debian's {release} is not to be had: it is skipped",
              file=sys.stderr)
    return found


def newest():
    """The newest of them, or None."""
    return peers()[-1] if peers() else None
