"""Runs side by side: texts are paired by their prompts' words, whatever their order, and differences have intervals."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from bench_cases import sentences, write_lines, write_run
from counterpoint.eval.bench import pairing
from counterpoint.eval.bench.metric_models import MetricModels
from counterpoint.eval.bench.pairing import differences_of, written_differences
from counterpoint.eval.bench.per_text import prompt_names, read_per_text
from counterpoint.eval.bench.records import read_generations, read_results
from counterpoint.eval.bench.results import score_directory
from counterpoint.eval.cli.main import main

COUNT, MOVED = 12, 3


def texts(seed: int) -> list[str]:
    """Texts of different lengths."""
    return [sentences(1, seed + place, length=10 + 3 * place + seed)[0] for place in range(COUNT)]


def scored(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run's results, and what each text adds to them."""
    results = score_directory(folder, ["length", "diversity", "zipf"], MetricModels(folder))
    return results, read_per_text(folder, results)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs; the second's prompts are in another order, and three of its prompts are not the first's."""
    one = write_run(tmp_path / "one", {"greedy": {0: texts(0)}, "beam": {0: texts(1)}})
    two = write_run(tmp_path / "two", {"greedy": {0: texts(2)}, "sample": {0: texts(3), 1: texts(4)}})
    records = read_generations(two)
    prompts = {record["index"]: record["prompt"] for record in records}
    moved = {index: prompts[COUNT - 1 - index] if index >= MOVED else f"only here {index}" for index in prompts}
    kept = ("task", "decoder", "label", "parameters", "model", "revision", "dtype", "seed", "index", "reference", "text", "tokens")
    lines = [{name: record[name] for name in ("key", "finished", *kept)} | {"prompt": moved[record["index"]]} for record in records]
    write_lines(two / "generations.jsonl", lines)
    return one, two


def words_by_prompt(folder: Path, label: str) -> dict[str, float]:
    """The mean number of words over seeds, of each prompt."""
    found: dict[str, list[int]] = {}
    for record in read_generations(folder):
        if record["label"] == label:
            found.setdefault(record["prompt"], []).append(len(record["text"].split()))
    return {prompt: fmean(counts) for prompt, counts in found.items()}


def check_differences(folders: tuple[Path, Path]) -> None:
    """Differences of words are those of the shared prompts, prompt by prompt."""
    runs, per_text = {}, {}
    for folder in folders:
        runs[folder.name], per_text[folder.name] = scored(folder)
    found = {(each["decoder"], each["metric"]): each for each in differences_of(runs, per_text)}
    for label, less in (("greedy", "greedy"), ("sample", "greedy")):  # sample is not in the first run, whose first is greedy
        before, after = words_by_prompt(folders[0], less), words_by_prompt(folders[1], label)
        each = [after[prompt] - before[prompt] for prompt in before.keys() & after.keys()]
        figure = found[f"`{label}`", "length"]
        assert figure["first_decoder"] == f"`{less}`"
        assert figure["prompts"] == len(each) == COUNT - MOVED
        assert figure["difference"] == pytest.approx(fmean(each))
        low, high = figure["difference_interval"]
        assert min(each) <= low < figure["difference"] < high <= max(each)
        assert 0 < figure["p"] <= figure["p_adjusted"] <= 1
    assert ("`greedy`", "diversity") in found
    assert not [name for _, name in found if name == "zipf"]  # no sum over texts


def test_texts_are_paired_by_their_prompts(folders: tuple[Path, Path]) -> None:
    check_differences(folders)


def test_the_check_catches_texts_that_are_paired_by_their_places(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = pairing.cell_of

    def by_place(per_text: Any, name: str, label: str) -> Any:
        return right({**per_text, "prompts": {str(index): index for index in range(COUNT)}}, name, label)

    monkeypatch.setattr(pairing, "cell_of", by_place)
    with pytest.raises(AssertionError):
        check_differences(folders)


def test_equal_prompts_are_told_apart() -> None:
    names = prompt_names([{"index": place, "prompt": prompt} for place, prompt in enumerate(["a", "b", "a", "\ud800"])])
    assert len({*names.values()}) == 4


def test_runs_without_common_prompts(folders: tuple[Path, Path]) -> None:
    results, per_text = scored(folders[0])
    strange = {**per_text, "prompts": {index: -1 - int(index) for index in per_text["prompts"]}}
    runs = {"one": results, "two": results}
    assert differences_of(runs, {"one": per_text, "two": strange}) == []
    assert "nothing is paired" in written_differences(runs, [])


def test_compare_on_the_command_line(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for folder in folders:
        scored(folder)
    assert main(["bench", "compare", *map(str, folders)]) == 0
    output = capsys.readouterr().out
    line = next(line for line in output.splitlines() if line.startswith("| `greedy` of `two` |"))
    assert line.split("|")[2].strip() == "`greedy` of `one`"
    assert "+" in line.split("|")[3]
    assert "Differences of texts of the same prompt, 9 prompts; in brackets the 95% bootstrap interval" in output
    (folders[1] / "per_text.json").unlink()
    assert main(["bench", "compare", *map(str, folders)]) == 1
    assert "no figures of each text; `counterpoint bench score" in capsys.readouterr().err


def test_figures_of_other_texts_are_not_taken(folders: tuple[Path, Path]) -> None:
    scored(folders[0])
    results = read_results(folders[0])
    with pytest.raises(ValueError, match=r"per_text\.json is of other texts than results\.json; `counterpoint bench score"):
        read_per_text(folders[0], {**results, "files": {}})
