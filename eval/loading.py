"""A model, its tokenizer and its device, loaded quietly and with errors that say the way out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, cast

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    logging,
)

from counterpoint.decoders.forwards.chats import Chat
from counterpoint.eval.embedded import EXPERT
from counterpoint.rankers.weight_files import refusals

Kept = TypeVar("Kept")
NEEDED = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    "sequence_bias",
)
"""Generation settings without which a checkpoint does not write as it was made to: its special tokens, and which are allowed."""

LONGEST = 300  # some of transformers' messages list every model it knows


@dataclass(frozen=True)
class Loaded:
    """A causal language model that is ready to generate."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """Amateurs, rankers and a processor that were loaded for it, as long as it lives."""
    trust_remote_code: bool = False
    chats: dict[str, Chat] = field(default_factory=dict, compare=False, repr=False)
    """Chats that are ranked, by the words that rankers read."""

    @classmethod
    def given(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Loaded:
        """A model that Python has already, under the name that it was loaded by, or that of its class."""
        return cls(str(getattr(model.config, "name_or_path", "") or type(model).__name__), model, tokenizer)

    def keep(self, name: str, make: Callable[[], Kept]) -> Kept:
        """What was made under this name before, or is made now."""
        if name not in self.kept:
            self.kept[name] = make()
        kept: Kept = self.kept[name]
        return kept


def load(name: str, device: str | None, dtype: str, trust_remote_code: bool, device_map: str | None = None) -> Loaded:
    """Load a causal language model, or one that reads images too, for generation.

    Its generation settings are dropped but for what it needs (:func:`drop_generation_settings`), so that a decoder's name means the
    same for every model.

    Args:
        name: A local folder or a repository on the Hugging Face hub.
        device: As for :func:`choose_device`.
        dtype: "auto" (the checkpoint's), or the name of one.
        trust_remote_code: Whether code that comes with the model may run.
        device_map: Where its parts go instead of the one device: "auto" spreads them over all, "meta" leaves the weights unread.

    Raises:
        ValueError: If there is no such device, or the model cannot be loaded, or not whole.
        FileNotFoundError: If there is no such model.
    """
    target = choose_device(device)
    local = Path(name).is_dir()
    if local and not (Path(name) / "config.json").is_file():
        what = "has no config.json" if any(Path(name).iterdir()) else "is empty"
        raise ValueError(f"model {name}: the folder {what}; name one that save_pretrained() or `hf download` wrote")
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": local or not on_hub(name)}
    try:
        with refusals(f"model {name}"):
            config = AutoConfig.from_pretrained(name, **options)
            check_continues(name, config)
            pictures = takes_pictures(config)
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            kind: Any = AutoModelForImageTextToText if pictures else AutoModelForCausalLM
            model, report = cast(
                "tuple[PreTrainedModel, dict[str, Any]]",
                kind.from_pretrained(name, dtype=dtype, device_map=device_map, output_loading_info=True, **options),
            )
    except NoLanguageModelError:
        raise
    except (OSError, ValueError) as error:
        if str(error).startswith(f"model {name} "):
            raise
        if local:
            raise ValueError(
                f"model {name}: the folder holds no model that can be loaded: {shorten(str(error), LONGEST)}"
            ) from error
        if isinstance(error, OSError):
            raise FileNotFoundError(
                f"model {name} is neither a local folder nor reachable on the Hugging Face hub; fetch it with "
                f"`hf download {name}` where there is a network"
            ) from error
        raise ValueError(f"model {name}: {shorten(str(error), LONGEST)}") from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"model {name}: the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} first")
    drop_generation_settings(model)
    if device_map is None:
        model.to(target)  # type: ignore[arg-type]
    return Loaded(name, model.eval(), tokenizer, trust_remote_code=trust_remote_code)


class NoLanguageModelError(ValueError):
    """A model that does not continue text."""


def check_continues(name: str, config: Any) -> None:
    """Refuse an encoder, which does not continue text, or would write nonsense under a head that it was not trained with.

    Raises:
        NoLanguageModelError: If it is one.
    """
    kind = type(config)
    own = " ".join(config.architectures or ())
    heads = MODEL_FOR_CAUSAL_LM_MAPPING.get(kind, ())
    known = [head.__name__ for head in (heads if isinstance(heads, tuple) else (heads,)) if head is not None]
    reads_both_ways = kind in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", True) and own not in known
    has_code = bool(getattr(config, "auto_map", None))
    if (not known and not takes_pictures(config) and not has_code) or (reads_both_ways and not config.is_encoder_decoder):
        raise NoLanguageModelError(
            f"model {name} is {own or 'a model'} of {kind.__name__}, an encoder or another model that does not continue text; name "
            "a causal language model"
        )


def takes_pictures(config: Any) -> bool:
    """Whether models of a configuration read images with their text."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def drop_generation_settings(model: PreTrainedModel) -> None:
    """Keep of a checkpoint's generation settings what it needs: :data:`NEEDED`, and whatever transformers has no name for.

    What chooses among the tokens that are allowed is dropped, since a decoder's name and parameters say it: sampling, beams,
    penalties of repetition, lengths.
    """
    own: Any = model.generation_config
    foreign = vars(own).keys() - vars(GenerationConfig()).keys()
    kept = {*NEEDED, *(name for name in foreign if not name.startswith("_"))}
    model.generation_config = GenerationConfig(**{name: getattr(own, name) for name in sorted(kept)})


def on_hub(name: str) -> bool:
    """Whether the hub can be reached and has the repository; loading itself would retry for a minute.

    Raises:
        ValueError: If the embedded model is missing.
        FileNotFoundError: If the name can only be that of a folder, so that there is nothing to reach.
    """
    if name == str(EXPERT):
        raise ValueError(f"the embedded model is missing at {name}; install counterpoint again, or choose another model")
    try:
        HfApi().model_info(name, timeout=10)
    except HFValidationError as error:
        raise FileNotFoundError(f"model {name} is neither a local folder nor a name on the Hugging Face hub") from error
    except Exception:  # the errors of the hub's HTTP client have no public base class
        return False
    return True


def choose_device(name: str | None) -> torch.device:
    """The named device, or the accelerator if there is one, or else the CPU.

    Raises:
        ValueError: If ``name`` does not name a device, or names one that this machine lacks.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    present = {"cpu": 1}
    if accelerator is not None:
        present[accelerator.type] = torch.accelerator.device_count()
    known = ", ".join(present)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name} is not a device; this machine has {known}") from error
    if (device.index or 0) >= present.get(device.type, 0):
        raise ValueError(f"device={name} is not available to this installation of torch; it has {known}")
    return device


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' notices, progress bars and warnings out of a command's output."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
