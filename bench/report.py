# SPDX-License-Identifier: Apache-2.0
"""The table for people and the same numbers as JSON."""

import json


class Report:
    """Sections of rows, notes, and ratios that are printed before all else."""

    def __init__(self, head):
        self.content = {**head, "ratios": [], "sections": []}

    def ratio(self, what, value, aim=""):
        self.content["ratios"].append({"what": what, "value": value, "aim": aim})

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
                 f"  method   {self.content['method']}", ""]
        for ratio in self.content["ratios"]:
            aim = f"   ({ratio['aim']})" if ratio["aim"] else ""
            lines.append(f"  {ratio['value']:8.2f} x  {ratio['what']}{aim}")
        for section in self.content["sections"]:
            lines += ["", section["title"], f"  # {section['method']}"]
            for row in section["rows"]:
                lines.append(f"  {row['what']:<48} {row['value']:10.3f} {row['unit']:<12} "
                             f"{row['remark']}".rstrip())
            lines += [f"  # {note}" for note in section["notes"]]
        return "\n".join(lines)
