# SPDX-License-Identifier: Apache-2.0
"""The table for people and the same numbers as JSON."""

import json
import statistics

import machine


class Report:
    """Sections of rows, notes, and ratios that are printed before all else."""

    def __init__(self, head):
        self.content = {**head, "ratios": [], "sections": [], "runs": []}

    def watched(self, once):
        """What once() returns, a dictionary; who disturbed it is in it as well and is counted."""
        with machine.Watch() as watch:
            result = once()
        shares = {"steal": watch.steal, "others": watch.others, "disturbed": watch.disturbed}
        self.content["runs"].append(shares)
        return {**result, **shares}

    def ratio(self, what, value, aim=""):
        self.content["ratios"].append({"what": what, "value": value, "aim": aim})

    def paired(self, what, values, aim=""):
        """A ratio that was measured several times, each time by two runs that followed one
        another."""
        self.content["ratios"].append({"what": what, "value": statistics.median(values),
                                       "range": [min(values), max(values)], "pairs": len(values),
                                       "aim": aim})

    def _quiet(self):
        """One line: how quiet the machine was."""
        runs = self.content["runs"]
        if not runs:
            return []
        disturbed = sum(run["disturbed"] for run in runs)
        worst = [max(run[share] for run in runs) for share in ("steal", "others")]
        text = (f"{'DISTURBED: ' if disturbed else ''}{disturbed} of {len(runs)} runs lost more "
                f"than {machine.STEAL_LIMIT:.0%} of the CPUs' time to the hypervisor (steal) or "
                f"more than {machine.OTHERS_LIMIT:.0%} to other processes; the most was "
                f"{worst[0]:.1%} and {worst[1]:.1%}")
        return [f"  quiet    {text}"]

    def section(self, title, method):
        self.content["sections"].append({"title": title, "method": method, "rows": [], "notes": []})

    def row(self, what, value, unit, remark=""):
        self.content["sections"][-1]["rows"].append({"what": what, "value": value, "unit": unit,
                                                     "remark": remark})

    def note(self, text):
        self.content["sections"][-1]["notes"].append(text)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.content, file, indent=2)
            file.write("\n")

    def text(self):
        """All of it, ratios first."""
        lines = ["sevmirror: measurements", f"  machine  {self.content['machine']['text']}",
                 f"  method   {self.content['method']}", *self._quiet(), ""]
        for ratio in self.content["ratios"]:
            aim = f"   ({ratio['aim']})" if ratio["aim"] else ""
            if "range" in ratio:
                aim = (f"   {ratio['range'][0]:.2f} to {ratio['range'][1]:.2f} in "
                       f"{ratio['pairs']} pairs{aim}")
            lines.append(f"  {ratio['value']:8.2f} x  {ratio['what']}{aim}")
        for section in self.content["sections"]:
            lines += ["", section["title"], f"  # {section['method']}"]
            for row in section["rows"]:
                lines.append(f"  {row['what']:<48} {row['value']:10.3f} {row['unit']:<12} "
                             f"{row['remark']}".rstrip())
            lines += [f"  # {note}" for note in section["notes"]]
        return "\n".join(lines)
