"""Set up before the packages are imported: shapes and types checked at run time, nothing fetched, one thread unless told."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # transformers reads it when it is imported
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # toy models gain nothing from more; processes that tests start have as many
os.environ.setdefault(
    "COUNTERPOINT_KERNELS", "plain"
)  # what a measurement chooses differs from run to run; tests of kernels name them

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

import other_machine
import typechecked

jaxtyping.jaxtyped = typechecked.by_shapes(jaxtyping.jaxtyped)
install_import_hook(["counterpoint.decoders", "counterpoint.rankers", "counterpoint.eval"], "typechecked.typechecked")
pytest.register_assert_rewrite(
    "laws", "processor_laws", "references", "contrast_references", "layer_references", "ranker_laws", "rounding"
)
logging.disable_progress_bar()
if "COUNTERPOINT_ROUNDING" in os.environ:
    other_machine.install(int(os.environ["COUNTERPOINT_ROUNDING"]))
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # whatever imported torch before


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test has the same random numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data and models too large for the repository."""
    folder = os.environ.get("COUNTERPOINT_SHARED")
    if not folder:
        pytest.skip("needs the shared folder: set COUNTERPOINT_SHARED")
    return Path(folder)


@pytest.fixture(scope="session")
def expert() -> PreTrainedModel:
    """The embedded expert."""
    from counterpoint.eval import EXPERT

    return load(EXPERT)


@pytest.fixture(scope="session")
def amateur() -> PreTrainedModel:
    """The embedded amateur."""
    from counterpoint.eval import AMATEUR

    return load(AMATEUR)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer that the embedded models share."""
    from counterpoint.eval import AMATEUR

    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(AMATEUR)
    return found


def load(folder: Path) -> PreTrainedModel:
    """The model of a folder in float32, ready to generate."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()
