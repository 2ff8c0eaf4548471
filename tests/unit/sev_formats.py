#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The file formats of sevctl and sev-tool, read and written byte by byte, from AMD's publication
55766 and with nothing of this project.

usage: sev_formats.py check FOLDER POLICY API_MAJOR API_MINOR BUILD DIGEST
       sev_formats.py split FOLDER

check: every file in FOLDER is what it says, to the last byte: pdh.cert, cert_chain.cert and
ask_ark.cert with all signatures; vm_godh.b64, vm_session.b64, vm_tik.bin, vm_tek.bin (sevctl
session); vm.measurement; vm_secret_header.bin and vm_secret_payload.bin (sevctl secret build,
sev-tool). Prints the secret. split: writes sevctl.export (sevctl export --full) and sev-tool's
pek.cert, oca.cert, cek.cert, ask.cert, ark.cert. Exit status 0, or 1 with what is wrong.
"""
import base64
import hashlib
import hmac
import struct
import subprocess
import sys

# NIST P-384 (FIPS 186-4, D.1.2.4)
P = 2**384 - 2**128 - 2**96 + 2**32 - 1
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973
B = 0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF
G = (0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
     0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F)

CERT = 2084
USAGES = {"OCA": 0x1001, "PEK": 0x1002, "PDH": 0x1003, "CEK": 0x1004}
NONE, ASK, ARK = 0x1000, 0x13, 0x0
ALGOS = {"OCA": 0x2, "PEK": 0x2, "CEK": 0x2, "PDH": 0x3}  # ECDSA, ECDH with SHA-256


def need(condition, what):
    if not condition:
        sys.exit("sev_formats: " + what)


def add(a, b):
    if a is None or b is None:
        return b if a is None else a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(k, point):
    total = None
    while k:
        if k & 1:
            total = add(total, point)
        point = add(point, point)
        k >>= 1
    return total


def little(data):
    return int.from_bytes(data, "little")


class Cert:
    """A PDH, PEK, OCA or CEK (appendix C.1)."""

    def __init__(self, data, kind):
        need(len(data) == CERT, f"{kind}: {len(data)} bytes, not {CERT}")
        version, self.major, self.minor, reserved, usage, algo = struct.unpack_from("<IBBHII", data)
        need(version == 1 and reserved == 0, f"{kind}: version {version}, reserved {reserved}")
        need(usage == USAGES[kind], f"{kind}: usage {usage:#x}")
        need(algo & ~0x100 == ALGOS[kind], f"{kind}: algorithm {algo:#x}")
        need(little(data[16:20]) == 2, f"{kind}: the curve is not P-384")
        x, y = data[20:92], data[92:164]
        need(not any(x[48:]) and not any(y[48:]) and not any(data[164:1044]),
             f"{kind}: the key's padding is not zero")
        self.key = little(x), little(y)
        need((self.key[1] ** 2 - self.key[0] ** 3 + 3 * self.key[0] - B) % P == 0,
             f"{kind}: the key is not on the curve")
        self.kind, self.body = kind, data[:1044]
        self.signatures = []
        for at in (1044, 1564):
            usage, algo = struct.unpack_from("<II", data, at)
            value = data[at + 8:at + 520]
            if usage == NONE:
                need(algo == 0 and not any(value), f"{kind}: an unused signature is not empty")
            else:
                self.signatures.append((usage, algo, value))

    def ecdsa_by(self, signer):
        """One of the signatures is by this certificate's key."""
        for usage, algo, value in self.signatures:
            if usage != USAGES[signer.kind] or algo not in (0x2, 0x102):
                continue
            need(not any(value[48:72]) and not any(value[120:]),
                 f"{self.kind}: the signature's padding is not zero")
            r, s = little(value[:72]), little(value[72:144])
            name = "sha384" if algo == 0x102 else "sha256"
            digest = int.from_bytes(hashlib.new(name, self.body).digest(), "big")
            inverse = pow(s, -1, N)
            point = add(times(digest * inverse % N, G), times(r * inverse % N, signer.key))
            return point is not None and 0 < r < N and 0 < s < N and point[0] % N == r
        return False


class Vendor:
    """An ASK or ARK (appendix B)."""

    def __init__(self, data, kind):
        version, = struct.unpack_from("<I", data)
        self.key_id, self.by = data[4:20], data[20:36]
        usage, = struct.unpack_from("<I", data, 36)
        ebits, mbits = struct.unpack_from("<II", data, 56)
        need(version == 1 and usage == (ASK if kind == "ASK" else ARK),
             f"{kind}: version {version}, usage {usage:#x}")
        need(ebits == mbits and mbits in (2048, 4096), f"{kind}: {mbits} bits")
        size = mbits // 8
        self.bytes = 64 + 3 * size
        need(len(data) >= self.bytes and not any(data[40:56]),
             f"{kind}: too short, or reserved bytes are not zero")
        self.body = data[:64 + 2 * size]
        self.e, self.n = little(data[64:64 + size]), little(data[64 + size:64 + 2 * size])
        self.signature = data[64 + 2 * size:self.bytes]

    def pss(self, message, signature):
        """RSASSA-PSS (RFC 8017, 9.1.2) with the key of this certificate; SHA-384 for 4096 bits."""
        size = self.n.bit_length() // 8
        hashed = hashlib.sha384 if size == 512 else hashlib.sha256
        length = hashed().digest_size
        em = pow(little(signature[:size]), self.e, self.n).to_bytes(size, "big")
        masked, h = em[:size - length - 1], em[size - length - 1:-1]
        mask = b"".join(hashed(h + struct.pack(">I", i)).digest()
                        for i in range(len(masked) // length + 1))
        db = bytearray(a ^ b for a, b in zip(masked, mask))
        db[0] &= 0x7F
        salt = bytes(db[len(db) - length:])
        again = hashed(bytes(8) + hashed(message).digest() + salt).digest()
        return em[-1] == 0xBC and not any(db[:-length - 1]) and db[-length - 1] == 1 and again == h


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def aes_ctr(key, iv, data):
    command = ["openssl", "enc", "-aes-128-ctr", "-K", key.hex(), "-iv", iv.hex()]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def read(folder, name, size=None):
    with open(f"{folder}/{name}", "rb") as f:
        data = f.read()
    if name.endswith((".b64", ".measurement")):
        data = base64.b64decode(data.strip(), validate=True)
    need(size is None or len(data) == size, f"{name}: {len(data)} bytes, not {size}")
    return data


def chain_of(folder):
    chain = read(folder, "cert_chain.cert", 3 * CERT)
    vendor = read(folder, "ask_ark.cert")
    return [chain[i * CERT:(i + 1) * CERT] for i in range(3)], vendor


def check_platform(folder):
    (pek, oca, cek), vendor = chain_of(folder)
    pdh, pek, oca, cek = Cert(read(folder, "pdh.cert"), "PDH"), Cert(pek, "PEK"), Cert(oca,
            "OCA"), Cert(cek, "CEK")
    ask = Vendor(vendor, "ASK")
    ark = Vendor(vendor[ask.bytes:], "ARK")
    need(len(vendor) == ask.bytes + ark.bytes, "ask_ark.cert: bytes are left over")
    need(ask.by == ark.key_id and ark.by == ark.key_id, "ask_ark.cert: the key ids are no chain")
    need(ark.pss(ark.body, ark.signature) and ark.pss(ask.body, ask.signature),
         "ask_ark.cert: a signature is bad")
    by_ask = [value for usage, algo, value in cek.signatures if usage == ASK
              and algo in (0x1, 0x101)]
    need(by_ask and ask.pss(cek.body, by_ask[0]), "the CEK is not the ASK's")
    for cert, signer in ((pek, cek), (pek, oca), (oca, oca), (pdh, pek)):
        need(cert.ecdsa_by(signer), f"the {cert.kind} is not the {signer.kind}'s")


def check_launch(folder, policy, version, digest):
    tik, tek = read(folder, "vm_tik.bin", 16), read(folder, "vm_tek.bin", 16)
    godh = Cert(read(folder, "vm_godh.b64"), "PDH")
    session = read(folder, "vm_session.b64", 128)
    need(len(set((session[:16], session[48:64], tik, tek))) == 4,
         "vm_session.b64: nonce, IV and keys are not four things")
    need(any(godh.key), "vm_godh.b64: no key")
    need(session[96:] == mac(tik, struct.pack("<I", policy)),
         "vm_session.b64: the policy's MAC is not by vm_tik.bin")
    need(tik not in session and tek not in session, "vm_session.b64: has a key in clear")
    measurement = read(folder, "vm.measurement", 48)
    said = mac(tik, bytes([4, *version]), struct.pack("<I", policy), digest, measurement[32:])
    need(measurement[:32] == said, "vm.measurement: not of this digest, version and policy")
    header, payload = read(folder, "vm_secret_header.bin", 52), read(folder,
            "vm_secret_payload.bin")
    need(payload and len(payload) % 16 == 0 and header[:4] == bytes(4),
         "the secret's packet: length or flags")
    sizes = struct.pack("<II", len(payload), len(payload))
    expected = mac(tik, b"\x01", header[:20], sizes, payload, measurement[:32])
    need(header[20:] == expected, "the secret's packet: its MAC is not of payload and measurement")
    return aes_ctr(tek, header[4:20], payload).rstrip(b"\0")


def split(folder):
    (pek, oca, cek), vendor = chain_of(folder)
    ask = Vendor(vendor, "ASK").bytes
    files = {"pek.cert": pek, "oca.cert": oca, "cek.cert": cek, "ask.cert": vendor[:ask],
             "ark.cert": vendor[ask:],
             "sevctl.export": read(folder, "pdh.cert") + pek + oca + cek + vendor}
    for name, data in files.items():
        with open(f"{folder}/{name}", "wb") as f:
            f.write(data)


def main():
    words = sys.argv[1:]
    if len(words) == 2 and words[0] == "split":
        split(words[1])
    elif len(words) == 7 and words[0] == "check":
        version = [int(w) for w in words[3:6]]
        check_platform(words[1])
        print(check_launch(words[1], int(words[2], 0), version, bytes.fromhex(words[6])).decode())
    else:
        sys.exit(__doc__)


main()
