"""Our model in lm-evaluation-harness: its ``hf`` under greedy, :func:`score` and ``generate`` under the other decoders."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from chats import CHATML
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    SLEDLogitsProcessor,
    contrastive_search,
    decoder,
    score,
)
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.cli.main import main

pytest.importorskip("lm_eval", reason="needs the extra lm-eval")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from counterpoint.eval.questions.lm_eval_model import DecoderLM

PAIRS = [
    ("The captain of the", " ship"),
    ("She looked out of the", " window and"),
    ("The captain of the", " old cheese"),
    ("", "It was a dark night"),
    ("The captain of the ", "ship"),  # a space that belongs to the continuation
    ("The whale and the sea. " * 60, " The captain"),  # more than the context
    ("The captain of the", " whale, and the"),  # what the amateur writes
]
TEXTS = ["It was a dark and stormy night.", "The captain of the ship looked out of the window. " * 60]
QUESTIONS = [
    {"question": "The captain of the", "choices": ["ship", "cheese", "old house"], "answer": 0},
    {"question": "She looked out of the", "choices": ["purple", "window"], "answer": 1},
]


def requests(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Requests as tasks make them."""
    return [Instance(request_type=kind, doc={}, arguments=each, idx=index) for index, each in enumerate(arguments)]


def load(cls: Any = DecoderLM, **arguments: Any) -> Any:
    """A model of the harness."""
    return cls(pretrained=str(arguments.pop("pretrained", AMATEUR)), device="cpu", dtype="float32", batch_size=2, **arguments)


def likelihoods(lm: Any, pairs: Sequence[tuple[str, str]] = PAIRS) -> list[Any]:
    """Log-likelihoods and greedy flags, without a progress bar."""
    found: list[Any] = lm.loglikelihood(requests("loglikelihood", pairs), disable_tqdm=True)
    return found


def texts(lm: Any, **arguments: Any) -> list[str]:
    """Continuations of two prompts."""
    task = {"until": ["."], "max_gen_toks": 12, **arguments}
    generated = requests("generate_until", [("The captain of the", task), ("She", task)])
    found: list[str] = lm.generate_until(generated, disable_tqdm=True)
    return found


@pytest.fixture(scope="module")
def plain() -> Any:
    """The harness's own model."""
    return load(HFLM)


@pytest.fixture(scope="module")
def greedy() -> Any:
    """Ours without a contrast."""
    return load()


def check_greedy(lm: Any, plain: Any) -> None:
    """Likelihoods and flags are those of the harness's own model."""
    found, expected = likelihoods(lm), likelihoods(plain)
    assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=1e-4)
    assert [flag for _, flag in found] == [flag for _, flag in expected]
    assert any(flag for _, flag in found)


def test_greedy_likelihoods_are_those_of_the_harness(greedy: Any, plain: Any) -> None:
    check_greedy(greedy, plain)


@pytest.mark.parametrize("defect", ["order", "flag", "context"])
def test_the_comparison_with_the_harness_catches_a_defect(
    greedy: Any, plain: Any, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    tokens = DecoderLM._loglikelihood_tokens

    def broken(self: Any, given: list[Any], **arguments: Any) -> list[Any]:
        if defect == "context":
            given = [(text, context[-3:], continuation) for text, context, continuation in given]
        answers = tokens(self, given, **arguments)
        return (
            sorted(answers)
            if defect == "order"
            else [(total, False) if defect == "flag" else (total, flag) for total, flag in answers]
        )

    monkeypatch.setattr(DecoderLM, "_loglikelihood_tokens", broken)
    with pytest.raises(AssertionError):
        check_greedy(greedy, plain)


def test_rolling_likelihoods_are_those_of_the_harness(greedy: Any, plain: Any) -> None:
    found, expected = (
        lm.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,) for text in TEXTS])) for lm in (greedy, plain)
    )
    assert found == pytest.approx(expected, abs=1e-2, rel=1e-5)


def test_greedy_texts_are_those_of_the_harness(greedy: Any, plain: Any) -> None:
    assert texts(greedy) == texts(plain)
    assert texts(greedy, do_sample=True, temperature=5.0) == texts(plain)  # the decoder's name says what is done


@pytest.mark.parametrize(
    ("arguments", "renormalise"),
    [
        ({"decoder": "dola"}, True),
        ({"decoder": "dola", "renormalise": False}, False),
        ({"decoder": "dola", "alpha": 0.1}, True),
        ({"decoder": "contrastive_decoding", "amateur": str(AMATEUR)}, True),
        ({"decoder": "sled", "evolution_steps": 2}, True),
    ],
    ids=str,
)
def test_likelihoods_are_scores(
    expert: PreTrainedModel,
    amateur: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: dict[str, Any],
    renormalise: bool,
) -> None:
    decoder: Any = {
        "dola": DoLaLogitsProcessor(expert, alpha=arguments.get("alpha", 0.0)),
        "contrastive_decoding": ContrastiveDecodingLogitsProcessor(amateur, alpha=0.0),
        "sled": SLEDLogitsProcessor(expert, evolution_steps=2, evolution_lower_bound=-100.0),
    }[arguments["decoder"]]
    pairs = [PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[6]]
    expected = [
        score(expert, tokenizer, [prompt], [[continuation]], decoder, renormalise=renormalise)[0][0]
        for prompt, continuation in pairs
    ]
    found = likelihoods(load(pretrained=EXPERT, **arguments), pairs)
    assert [total for total, _ in found] == pytest.approx([each.total for each in expected], abs=1e-4, rel=1e-5)
    for (_, flag), each, (prompt, _) in zip(found, expected, pairs, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        new: Any = expert.generate(  # type: ignore[operator]
            ids, do_sample=False, max_new_tokens=len(each.tokens), logits_processor=[decoder], pad_token_id=0
        )
        assert flag == (tuple(new[0, ids.shape[1] :].tolist()) == each.tokens)


@pytest.mark.parametrize(
    ("arguments", "generate"),
    [
        (
            {"decoder": "contrastive_search", "penalty_alpha": 0.5},
            {"custom_generate": contrastive_search, "penalty_alpha": 0.5, "top_k": 5},
        ),
        ({"decoder": "nucleus", "top_p": 0.6}, {"do_sample": True, "top_p": 0.6, "top_k": 0}),
        ({"decoder": "dola", "repetition_penalty": 1.2}, {}),
    ],
    ids=lambda each: str(each.get("decoder", "")),
)
def test_texts_are_those_of_generate(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, arguments: dict[str, Any], generate: dict[str, Any]
) -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    lm = load(**arguments)
    if arguments["decoder"] == "dola":
        generate = {"logits_processor": [DoLaLogitsProcessor(amateur), RepetitionPenaltyLogitsProcessor(1.2)]}
    torch.manual_seed(3)
    found = texts(lm, do_sample=False, temperature=0.0)[0]
    ids = tokenizer("The captain of the", return_tensors="pt").input_ids
    if arguments["decoder"] == "nucleus":
        assert found  # two rows drew from one stream of random numbers
        assert texts(lm) != texts(lm)
        return
    output: Any = amateur.generate(ids, max_new_tokens=12, pad_token_id=0, **generate)  # type: ignore[operator]
    assert found == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).split(".")[0]


@pytest.mark.parametrize("decoder", ["contrastive_search", "nucleus", "beam"])
def test_decoders_without_a_distribution_refuse_likelihoods_and_generate(decoder: str) -> None:
    lm = load(decoder=decoder)
    with pytest.raises(ValueError, match=f"decoder {decoder}: the probability of a text is undefined"):
        likelihoods(lm)
    assert all(texts(lm))


def test_banned_tokens_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    found = likelihoods(load(decoder="dola", alpha=0.9), PAIRS[:3])
    assert min(total for total, _ in found) == -math.inf
    assert "of 3 continuations have a token that dola:layers=high,alpha=0.9,final_norm=false bans" in caplog.text
    caplog.clear()
    finite = likelihoods(load(decoder="dola", alpha=0.9, banned=-1000.0), PAIRS[:3])
    assert all((total < -900) == (before == -math.inf) for (total, _), (before, _) in zip(finite, found, strict=True))
    assert min(total for total, _ in finite) > -math.inf
    assert "bans" not in caplog.text


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="did you mean dola"):
        load(decoder="dolla")
    with pytest.raises(ValueError, match="decoder dola has no 'penalty_alpha'"):
        load(decoder="dola", penalty_alpha=0.6)


def test_a_cache_belongs_to_one_decoder(tmp_path: Path) -> None:
    from lm_eval.api.model import CachingLM

    path = str(tmp_path / "cache.db")
    first = CachingLM(load(decoder="dola"), path)
    expected = first.loglikelihood(requests("loglikelihood", PAIRS[:2]))
    assert CachingLM(load(decoder="dola"), path).loglikelihood(requests("loglikelihood", PAIRS[:2])) == expected
    for other in ({"decoder": "greedy"}, {"decoder": "dola", "alpha": 0.2}, {"decoder": "dola", "pretrained": EXPERT}):
        with pytest.raises(ValueError, match=r"use_cache: the file has the answers of .* name another one"):
            CachingLM(load(**other), path)


class LocalTasks(TaskManager):
    """Tasks of the folder that is given; the harness' own thousands take seconds to find."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"include_defaults": False}))


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a likelihood task and a generation task on local data."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr("lm_eval.tasks.TaskManager", LocalTasks)
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS), encoding="utf-8")
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
    }
    own: dict[str, dict[str, Any]] = {
        "choices": {
            "output_type": "multiple_choice",
            "doc_to_choice": "{{choices}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        },
        "texts": {
            "output_type": "generate_until",
            "doc_to_target": "{{choices[answer]}}",
            "generation_kwargs": {"until": ["."], "max_gen_toks": 8, "do_sample": False},
            "metric_list": [{"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}],
        },
    }
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, config in own.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"task": f"local_{name}", **common, **config}), encoding="utf-8")
    return folder


def test_the_command_runs_local_tasks(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--include_path", str(tasks), "--device", "cpu", "--output_path", str(tmp_path / "out"), "--log_samples"]
    model = f"pretrained={AMATEUR},decoder=dola,layers=low"
    assert main(["lm-eval", "--model", "counterpoint", "--model_args", model, "--tasks", "local_choices,local_texts", *given]) == 0
    assert "local_choices" in capsys.readouterr().out
    (path,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["config"]["model_args"]["decoder"] == "dola"
    assert results["config"]["decoder"] == "dola:layers=low,alpha=0.1,final_norm=false"
    assert results["config"]["decoder_of_likelihoods"] == "dola:layers=low,alpha=0.0,final_norm=false"
    assert results["config"]["renormalised"] is True
    (path,) = (tmp_path / "out").rglob("samples_local_choices_*.jsonl")
    samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lm = load(decoder="dola", layers="low")
    pairs = [(each["question"], f" {choice}") for each in QUESTIONS for choice in each["choices"]]  # type: ignore[attr-defined]
    logged = [float(answer[0]) for sample in samples for (answer,) in sample["resps"]]
    assert logged == pytest.approx([total for total, _ in likelihoods(lm, pairs)], abs=1e-4)


def test_the_command_refuses_in_one_line(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["lm-eval", "run", "--include_path", str(tasks), "--device", "cpu", "--tasks", "local_choices"]
    assert main([*given, "--model_args", f"pretrained={AMATEUR},decoder=contrastive_search"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("counterpoint: error: decoder contrastive_search: the probability of a text is undefined")


@pytest.fixture
def no_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are not looked for, which takes a minute."""
    monkeypatch.setattr("lm_eval.tasks.TaskManager", lambda **options: pytest.fail("tasks are looked for"))


@pytest.mark.usefixtures("no_tasks")
def test_a_wrong_decoder_is_refused_before_tasks_are_looked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for given, message in (
        ("decoder=dolla", "did you mean dola?"),
        ("decoder=dola,penalty_alpha=0.6", "decoder dola has no 'penalty_alpha'"),
        ("decoder=[dola:layers=hgh]", "layers=hgh are not layers"),
    ):
        assert main(["lm-eval", "--model_args", f"pretrained={AMATEUR},{given}", "--tasks", "x"]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
        (tmp_path / "o.yaml").write_text(f"model: counterpoint\nmodel_args: '{given.strip('[]')}'\ntasks: x", encoding="utf-8")
        if "[" not in given:
            assert main(["lm-eval", "--config", str(tmp_path / "o.yaml")]) == 2
            assert message in capsys.readouterr().err.splitlines()[-1]
    for words in (["--model_args", "decoder=dola"], ["--model", "hf", "--model_args", "decoder=dolla"]):
        with pytest.raises(pytest.fail.Exception, match="tasks are looked for"):
            main(["lm-eval", *words, "--tasks", "x"])


CONFIGS = {
    "- hf": "the file is not a mapping of options",
    "limit: [1]": "limit is list '[1]': float or int is needed",
    "limit: all": "limit is str 'all': float or int is needed",
    "model_args: [pretrained]": "model_args is list",
    "gen_kwargs: 3": "gen_kwargs is int '3': dict or str is needed",
    "tasks: {a: 1}": "tasks is dict",
    "tasks: [1]": "names are needed",
    "seed: {a: 1}": "seed is dict",
    "log_samples: maybe": "log_samples is str 'maybe': bool is needed",
    "task: x": "unknown option 'task' (did you mean tasks?)",
    'model: "a \\ud83d"': "line 1: holds half of a character",
    "tasks: " + "[" * 100_000: "nested too deeply",
    "a: &a [x]\ntasks: *a": "an alias (*NAME) in it",
    "tasks: [": "expected the node content",
    "Caf\udce9": "line 1: not UTF-8 text",
}


@pytest.mark.usefixtures("no_tasks")
@pytest.mark.parametrize("content", CONFIGS)
def test_option_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    (tmp_path / "o.yaml").write_bytes(content.encode(errors="surrogateescape"))
    assert main(["lm-eval", "--config", str(tmp_path / "o.yaml")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"counterpoint: error: --config {tmp_path / 'o.yaml'}")
    assert CONFIGS[content] in error


@pytest.mark.usefixtures("no_tasks")
def test_an_option_file_that_the_harness_can_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "model: counterpoint\nmodel_args: {pretrained: x, decoder: dola}\ntasks: [x]\nlimit: 3\nbatch_size: auto\nseed: 1\n"
    (tmp_path / "o.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="tasks are looked for"):
        main(["lm-eval", "--config", str(tmp_path / "o.yaml")])
    assert main(["lm-eval", "--config", str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml: No such file" in capsys.readouterr().err


def test_the_harness_own_commands_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in ((["--help"], "validate"), (["run", "--help"], "--num_fewshot")):
        with pytest.raises(SystemExit) as stop:
            main(["lm-eval", *arguments])
        assert stop.value.code == 0
        assert word in capsys.readouterr().out


def test_chats_of_the_harness_are_known_as_chats() -> None:
    lm = load(decoder="context_aware:message=system")
    lm.tokenizer.chat_template = CHATML
    chat = [{"role": "system", "content": "The captain was a woman."}, {"role": "user", "content": "Who was it?"}]
    text = lm.apply_chat_template(chat)
    (found,) = lm.generate_until(requests("generate_until", [(text, {"until": ["zzz"], "max_gen_toks": 8})]), disable_tqdm=True)
    inputs = lm.tokenizer(text, add_special_tokens=False, return_tensors="pt")
    arguments = decoder("context_aware:message=system", lm.model, lm.tokenizer, prompts=[chat])
    ids = lm.model.generate(**inputs, **arguments, max_new_tokens=8)
    assert found == lm.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ((total, _),) = lm.loglikelihood(requests("loglikelihood", [(text, "The captain.")]), disable_tqdm=True)
    (processor,) = decoder("context_aware:message=system", lm.model, lm.tokenizer, prompts=[chat])["logits_processor"]
    prompt = inputs["input_ids"][0].tolist()
    whole = lm.tokenizer(text + "The captain.", add_special_tokens=False)["input_ids"]
    ((expected,),) = score(lm.model, None, [prompt], [[whole[len(prompt) :]]], processor)
    assert total == pytest.approx(expected.total, abs=1e-3)
