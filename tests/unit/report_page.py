#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: report_page.py TEST_MIGRATE_REPORT

Runs the script of the pages that test_migrate_report writes, with Duktape, and reads what it draws:
well-formed, complete, and without anything from outside the page. Speaks TAP.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

count = failed = 0


def check(what, good, saw=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'ok' if good else 'not ok'} {count} - {what}")
    if not good:
        print("# " + str(saw)[:2000].replace("\n", "\n# "))


def evaluate(page, expression, data):
    """Evaluate a JavaScript expression of the text d, the page's data or others, with the page's
    script."""
    script = re.search(r"<script>(.*)</script>", page, re.S).group(1)
    with tempfile.NamedTemporaryFile("w", suffix=".js") as f:
        f.write(script.replace('"use strict";', "", 1)
                + f"\nvar d = {json.dumps(data)};\nprint({expression});\n")
        f.flush()
        ran = subprocess.run(["duk", f.name], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stdout + ran.stderr)
    return ran.stdout


def text_of(drawn):
    """Parse what was drawn; returns the tree and its text, rows as 'what|value'."""
    tree = xml.fromstring("<main>" + drawn + "</main>")
    rows = ["|".join("".join(c.itertext()) for c in row) for row in tree.iter("tr")]
    return tree, "\n".join(rows + ["".join(tree.itertext())])


def look(name, page, wanted, unwanted=()):
    data = json.loads(re.search(r'id="migration">(.*?)</script>', page, re.S).group(1))
    drawn = evaluate(page, "render(d)", data)
    try:
        tree, text = text_of(drawn)
    except xml.ParseError as e:
        check(f"{name}: what is drawn is well-formed", False, f"{e}\n{drawn}")
        return None
    bad = [w for w in ("NaN", "undefined", "Infinity", "[object", "http:", "https:", "src=",
                       "href=")
           if w in drawn.replace('xmlns="http://www.w3.org/2000/svg"', "")]
    check(f"{name}: is drawn whole, and stays inside the page", not bad, bad)
    missing = [w for w in wanted if w not in text]
    check(f"{name}: has what it should", not missing, f"missing: {missing}\n{text}")
    there = [w for w in unwanted if w in text]
    check(f"{name}: has nothing else", not there, there)
    return tree


def histograms(page):
    """What is no histogram is not drawn; what is one, however odd, is drawn within the picture."""
    wrong = [[], {}, [1, 2], [{"from-ms": 1, "to-ms": 2, "faults": 0}],
             [{"from-ms": 2, "to-ms": 1, "faults": 3}],
             [{"from-ms": 1, "to-ms": 1, "faults": 3}], [{"from-ms": 1, "to-ms": 2, "faults": -3}],
             [{"from-ms": 1, "to-ms": 4, "faults": 3}, {"from-ms": 2, "to-ms": 8, "faults": 3}],
             [{"from-ms": i + 1, "to-ms": i + 2, "faults": 1} for i in range(65)]]
    drawn = [evaluate(page, "faultsChart(d)", {"fault-times": w}).strip() for w in wrong]
    check("what is no histogram is not drawn", not any(drawn), drawn)
    odd = {"fault-times": [{"from-ms": 0, "to-ms": 0.001536, "faults": 1 << 40}],
           "fault-max-ms": 1e9}
    drawn = evaluate(page, "faultsChart(d)", odd)
    edges = [float(v) for v in re.findall(r' x\d?="([-\d.]+)"', drawn)]
    check("an odd histogram stays in the picture", "1099511627776" in drawn and max(edges) <= 960
          and min(edges) >= 0, drawn)


def main():
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([sys.argv[1]], env=dict(os.environ, REPORT_PAGES=d),
                       stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=True)
        pages = {f[:-5]: open(os.path.join(d, f), encoding="ascii").read()
                 for f in sorted(os.listdir(d))}
    tree = look("migrated", pages["migrated"],
                ["The guest runs on the target.",
                 "downtime|99.5 ms (estimated 80.0 ms, limit of the estimate 300 ms)",
                 "788 B/s", "Throughput and dirty rate", "guest stopped", "data streams|4",
                 "3 (stopped)|60.0 ms", "together 1.60 s"], ["/secret/path"])
    if tree is not None:
        check("migrated: a picture with both curves",
              {"rate", "dirty", "left"} <= {p.get("class") for p in tree.iter()
                                            if p.tag.endswith("path")})
    look("failed", pages["failed"], ["The guest still runs here.", "no route. Try again.",
                                     "before pages were sent"])
    look("cancelled", pages["cancelled"], ["The migration was cancelled"])
    look("unknown", pages["unknown"], ["Outcome unknown.",
                                       "Check the target."], ["Summary"])
    tree = look("hostile", pages["hostile"],
                ["Migration of <b>&\"'", "<script>x</script>?[2J", "\"><img>&'", "<!--<script>"])
    if tree is not None:
        check("hostile: no element of its own",
              not {"script", "img"} & {e.tag for e in tree.iter()})
    tree = look("postcopy", pages["postcopy"],
                ["4321", "half of them at most (p50)|250 \u00b5s", "95 % at most (p95)|500 \u00b5s",
                 "99 % at most (p99)|1.00 ms",
                 "the longest|7.75 ms", "262 \u00b5s to 393 \u00b5s: 97", "6.29 ms to 8.39 ms: 2",
                 "95 % (p95): 500 \u00b5s",
                 "60 % of those that were watched", "post-copy 90.0 ms", "broken off 700 ms",
                 "100.0 ms (limit 250 ms, without post-copy an estimated 900.0 ms)"], ["Request"])
    look("odd", pages["odd"], ["Timeline", "other"])
    tree = look("rounds", pages["rounds"], ["60 more", "round|time"])
    if tree is not None:
        check("rounds: the table is short", len(list(tree.iter("tr"))) < 60)
    histograms(pages["migrated"])
    hashes = re.findall(r"script-src '(sha256-[^']+)'", pages["migrated"])
    check("the page allows its own script only", len(hashes) == 1
          and "unsafe-inline'; script" in pages["migrated"])
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
