"""What a benchmark's run is made of: the model, the prompts, the decoders' tasks and their batches."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from counterpoint.eval import loading
from counterpoint.eval.bench.passages import encode_passages, read_pairs
from counterpoint.eval.bench.plan import Batch, batches, task_of
from counterpoint.eval.bench.records import read_config
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines.served import AnyModel, Served, connect, format_of
from counterpoint.eval.journal import read_records, releases
from counterpoint.eval.revisions import revision

IDLE = timedelta(days=7)
"""How long a process waits for the others, whose decoders may be slower."""


class Run:
    """The run that the options ask for, as one of its processes sees it.

    Args:
        options: Options of the command line, completed by defaults.
        specs: The decoders.
        state: State of this process among all of them.
    """

    def __init__(self, options: argparse.Namespace, specs: Sequence[DecoderSpec], state: PartialState) -> None:
        self.options, self.state = options, state
        self.directory: Path = options.output_dir
        self.device = loading.choose_device(options.device) if state.num_processes == 1 else state.device
        """Where the model is, or rankers if it is served."""
        pairs = read_pairs(options.file)
        self.prompts = pairs.prompts
        self.loaded = self.load()
        self.chats = format_of(self.loaded, options.chat_template, options.system, options.thinking, pairs.prompts)
        self.passages = encode_passages(
            self.loaded, pairs, options.limit, options.prompt_tokens, options.max_new_tokens, self.chats
        )
        self.origin = self.loaded.facts() if isinstance(self.loaded, Served) else self.facts_of(self.loaded)
        self.facts = {
            **self.origin,
            "prompts_sha256": pairs.sha256,
            "prompt_tokens": options.prompt_tokens,
            "max_new_tokens": options.max_new_tokens,
            **self.chats.facts(pairs.prompts),
        }
        """All that every text depends on, besides its decoder, its prompt and its seed."""
        self.source = pairs.source
        served = isinstance(self.loaded, Served)
        self.tasks = [task_of(spec, options.num_seeds, options.model, self.facts, served=served) for spec in specs]
        self.plan = batches(self.tasks, self.passages, 1 if served else options.batch_size)

    def load(self) -> AnyModel:
        """The model, in this process or behind an endpoint, where earlier texts of the directory may know it with other digits."""
        options = self.options
        if options.engine == "openai":
            config = self.directory / "config.json"
            before = read_config(self.directory)["run"].get("fingerprint") if config.exists() else None
            return connect(
                options.base_url,
                options.model,
                tokenizer=options.tokenizer,
                api_key_env=options.api_key_env,
                concurrency=options.concurrency,
                device=str(self.device),
                trust_remote_code=options.trust_remote_code,
                known_as=before,
            )
        device_map = "meta" if options.dry_run else options.device_map  # a dry run needs no weights
        return loading.load(options.model, str(self.device), options.dtype, options.trust_remote_code, device_map)

    def facts_of(self, loaded: loading.Loaded) -> dict[str, Any]:
        """What a model in this process is."""
        return {
            "revision": revision(self.options.model),
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": self.device.type,
        }

    def done(self) -> set[str]:
        """The keys of the texts that are there, of however many processes."""
        return {record["key"] for record in read_records(self.directory, "generations*.jsonl")}

    def file(self, name: str) -> Path:
        """This process's own file of records."""
        rank = f"-{self.state.process_index}" if self.state.num_processes > 1 else ""
        shard = f"-{self.shard_name}" if self.shard_name else ""
        return self.directory / f"{name}{rank}{shard}.jsonl"

    @property
    def shard_name(self) -> str:
        """Which shard of the plan this run writes; "" if all of it."""
        return "" if self.options.shard is None else "{}of{}".format(*self.options.shard)

    def share(self) -> list[Batch]:
        """This process's batches: every so-many-th of the plan, or of its shard."""
        index, count = self.options.shard or (0, 1)
        return self.plan[index::count][self.state.process_index :: self.state.num_processes]

    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds."""
        return {
            "run": self.facts,
            "versions": releases(),
            "command": self.options.command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": self.options.model,
            "prompts": self.source,
            "decoders": [
                {
                    "decoder": task.spec.name,
                    "label": str(task.spec),
                    "parameters": task.spec.plain(),
                    **({"origins": origins} if (origins := task.spec.origins()) else {}),
                    "seeds": task.seeds,
                    "num_prompts": len(self.passages),
                    "task": task.key,
                }
                for task in self.tasks
            ],
            "num_prompts": len(self.passages),
            "num_seeds": self.options.num_seeds,
            "metrics": self.options.metrics,
            "batch_size": self.options.batch_size,
            "environment": {
                "python": platform.python_version(),
                "platform": platform.platform(),
                "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device),
                "threads": torch.get_num_threads(),
                "processes": self.state.num_processes,
            },
        }


def processes(options: argparse.Namespace) -> PartialState:
    """This process among those that ``accelerate launch`` started, or the only one.

    Raises:
        ValueError: For options that several processes cannot share.
    """
    on_cpu = loading.choose_device(options.device).type == "cpu"  # without an accelerator too, where each would be alone
    state = PartialState(cpu=on_cpu, timeout=IDLE)
    if state.num_processes > 1 and options.device not in (None, "cpu"):
        raise ValueError(f"device={options.device}: {state.num_processes} processes take a device each; leave it out")
    if state.num_processes > 1 and options.device_map is not None:
        raise ValueError(f"device_map={options.device_map} spreads a model over all devices: start one process, not several")
    return state
