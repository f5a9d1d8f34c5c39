"""``counterpoint bench --engine openai`` against ``vllm serve`` with the processor: stopped by Ctrl-C, killed, and continued.

python benchmarks/engines/bench.py FOLDER: in vLLM's environment, after offline.py FOLDER equality, which writes the adapter.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from served import Server

from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.bench.records import read_generations, read_results
from counterpoint.eval.report.table import markdown

CONTRAST = "contrastive_decoding:amateur={}"
RANKED = ("best_of:ranker=likelihood,candidates=4", "ranked_search:ranker=overlap,beams=2,candidates=4,tokens_per_round=8")
DECODERS = ("greedy", "nucleus", "min_p", *RANKED, CONTRAST.format("small"))
PROMPTS, TOKENS = 8, 32
SIZE = ["--limit", str(PROMPTS), "--prompt-tokens", "32", "--max-new-tokens", str(TOKENS), "--device", "cpu", "--quiet"]
STOPS = ((signal.SIGINT, 10), (signal.SIGKILL, 24))
"""Signals, and how many texts are there when each comes."""
REFUSED = ("dola", "contrastive_search", "typical", "released_contrastive_decoding")
METRICS = ["--metrics", "diversity", "length", "coherence", "speed", "--scorer", str(EXPERT)]


def command(*words: str) -> list[str]:
    """A benchmark's command line."""
    return [str(Path(sys.executable).parent / "counterpoint"), "bench", *SIZE, *words]


def lines(folder: Path) -> list[str]:
    """The texts on the disk, as they are written."""
    return [
        line
        for path in sorted(folder.glob("generations*.jsonl"))
        for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    ]


def interruptible() -> None:
    """Take Ctrl-C as from a terminal, even where a shell runs this in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stopped(words: list[str], folder: Path, with_signal: signal.Signals, texts: int) -> int:
    """The exit code of a command that is sent a signal once so many texts are there."""
    process = subprocess.Popen(words, preexec_fn=interruptible)
    while process.poll() is None:
        if len(lines(folder)) >= texts:
            process.send_signal(with_signal)
            break
        time.sleep(0.05)
    return process.wait()


def whole(told: list[str]) -> list[str]:
    """Lines without the one that a kill cut."""
    return [line for line in told if line.endswith("\n")]


def equal_here(folder: Path) -> tuple[int, int]:
    """How many of the texts that draw no random numbers are those of ``generate``, and of how many."""
    here = folder / "here"
    decoders = ["--decoders", "greedy", CONTRAST.format(AMATEUR), "--dtype", "float32", "--metrics", "diversity"]
    subprocess.run(command("--model", str(EXPERT), "--output-dir", str(here), *decoders), check=True, stdout=subprocess.DEVNULL)
    texts = [
        {
            (each["decoder"], each["index"]): each["text"]
            for each in read_generations(one)
            if each["decoder"] in ("greedy", "contrastive_decoding")
        }
        for one in (folder / "served", here)
    ]
    return sum(texts[0][key] == text for key, text in texts[1].items()), len(texts[1])


def refusals(server: list[str], folder: Path) -> list[str]:
    """What the command says of each decoder that the server does not have."""
    found = []
    for name in REFUSED:
        one = folder / f"refused-{name}"
        told = subprocess.run(
            command(*server, "--output-dir", str(one), "--decoders", name), capture_output=True, text=True, check=False
        )
        last = (told.stderr.strip().splitlines() or [""])[-1]
        found.append(
            f"{told.returncode} {last}" if told.returncode and name in last and not lines(one) else f"NOT REFUSED: {name}: {last}"
        )
    return found


def main(folder: Path) -> int:
    """The runs one after another, and what they left."""
    shutil.rmtree(folder / "bench", ignore_errors=True)
    served = folder / "bench" / "served"
    served.mkdir(parents=True)
    right = True
    with Server(folder, few_blocks=False) as running:
        where = ["--engine", "openai", "--base-url", running.url, "--model", "expert", "--tokenizer", str(EXPERT)]
        server = [*where, "--concurrency", "4"]
        words = command(*server, "--decoders", *DECODERS, "--output-dir", str(served), *METRICS)
        for with_signal, texts in STOPS:
            code, kept = stopped(words, served, with_signal, texts), whole(lines(served))
            print(f"{with_signal.name}: exit code {code} with {len(kept)} of {PROMPTS * len(DECODERS)} texts kept", flush=True)
            right &= code != 0 and texts <= len(kept) < PROMPTS * len(DECODERS)
        code = subprocess.run(words, check=False, stdout=subprocess.DEVNULL).returncode
        right &= code == 0 and set(kept) <= set(lines(served)) and len(lines(served)) == PROMPTS * len(DECODERS)
        refused = refusals(server, folder / "bench")
    results: dict[str, Any] = read_results(served)
    print(f"continued: exit code {code}, {len(lines(served))} texts, those that were kept unchanged\n")
    print(markdown(results, details=False))
    same, count = equal_here(folder / "bench")
    print(f"texts of greedy and contrastive_decoding equal to this process's: {same} of {count}")
    print("\n".join(refused))
    right &= (served / "report.html").exists() and [row["texts"] for row in results["rows"]] == [PROMPTS] * len(DECODERS)
    right &= same == count and not any(each.startswith("NOT") for each in refused)
    print(json.dumps({"right": bool(right)}))
    return int(not right)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
