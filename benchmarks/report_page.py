"""How fluent the report of ten decoders and a thousand prompts is, in Chromium without a window: size, first paint, filter, orders.

    PYTHONPATH=tests/support python benchmarks/report_page.py [FOLDER]

The texts are random words of about 600 characters, as 128 tokens have; metrics are those that need no model.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from bench_cases import WORDS, sentences, write_run  # of tests/support
from browsers import chromium
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.records import read_generations
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.report.files import write_files

DECODERS, PROMPTS, LENGTH = 10, 1000, 150
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
PARSED = "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
TIMED = """
const [act, done] = [arguments[0], arguments[1]];
const begun = performance.now();
new Function(act)();
requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
"""
SET = "const each = document.getElementById('{0}'); each.value = '{1}'; each.dispatchEvent(new Event('{2}'));"
ACTS = {
    "filter": SET.format("search", "whale ship", "input"),
    "filter off": SET.format("search", "", "input"),
    "most different first": SET.format("order", "different", "change"),
    "worst first": SET.format("order", "worst-diversity", "change"),
    "hide a decoder": "document.querySelector('#shown input').click();",
    "next prompt": "document.getElementById('next').click();",
    "sort the table": "document.querySelector('.sort').click();",
}


def main() -> None:
    """Write the page, unless the folder has one, and time it."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    page = folder / "report.html"
    if not page.exists():
        texts = {f"sample:seed={place}": {0: sentences(PROMPTS, place, WORDS, LENGTH)} for place in range(DECODERS)}
        write_run(folder, texts, sentences(PROMPTS, DECODERS, WORDS, LENGTH))
        write_files(folder, score_directory(folder, ["diversity", "length"], MetricModels(folder)))
    records = read_generations(folder)
    own = sum(len(record["text"].encode()) for record in records)
    own += sum(len(record["prompt"].encode()) + len(record["reference"].encode()) for record in records[:PROMPTS])
    print(f"{len(records)} texts, {own / 1e6:.2f} MB with prompts and references; the page {page.stat().st_size / 1e6:.2f} MB")
    with chromium(Path(tempfile.mkdtemp())) as browser:
        for _ in range(3):
            browser.get("about:blank")
            browser.get(page.as_uri())
            paint, parsed = browser.execute_script(PAINT), browser.execute_script(PARSED)
            print(
                f"first paint {paint:.0f} ms, script done {parsed:.0f} ms, "
                + ", ".join(f"{name} {browser.execute_async_script(TIMED, act):.0f} ms" for name, act in ACTS.items())
            )
    print(platform.processor() or platform.machine(), platform.python_version())


if __name__ == "__main__":
    main()
