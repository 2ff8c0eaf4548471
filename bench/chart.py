# SPDX-License-Identifier: Apache-2.0
"""The chart for docs/: bars of migration rates, from the report's numbers."""

from xml.sax.saxutils import escape

WIDTH, LABEL, BAR, STEP, TOP = 760, 250, 400, 28, 56
OURS, THEIRS = "#2a6fb0", "#9aa5b1"


def _bar(y, row, longest):
    width = max(1.0, BAR * row["value"] / longest)
    colour = OURS if row["what"].startswith("sevmirror") else THEIRS
    return (f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(row["what"])}</text>'
            f'<rect x="{LABEL}" y="{y}" width="{width:.1f}" height="20" rx="2" fill="{colour}"/>'
            f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}">{row["value"]:.2f} '
            f'{escape(row["unit"])}</text>')


def draw(content, path):
    """Write the SVG. content: Report.content."""
    section = next(section for section in content["sections"]
                   if section["title"].startswith("Migration of"))
    rows = section["rows"]
    longest = max(row["value"] for row in rows)
    height = TOP + STEP * len(rows) + 34
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="24" font-size="16" font-weight="bold">{escape(section["title"])}</text>',
        f'<text x="12" y="42" fill="#555">{escape(content["machine"]["cpu"])}, '
        f'{content["machine"]["cpus"]} CPUs shared by source and target, '
        f'{content["when"]}</text>',
    ]
    lines += [_bar(TOP + STEP * i, row, longest) for i, row in enumerate(rows)]
    legend = ("blue: every page sealed with AES-256-GCM; grey: QEMU, encrypted only where TLS is "
              "named")
    lines += [f'<text x="12" y="{height - 12}" fill="#555">{legend}</text>', "</svg>"]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
