"""What imports cost."""

from __future__ import annotations

import sys
from pathlib import Path

from extras import NEED
from processes import run

PACKAGES = ("decoders", "eval", "rankers")
LIBRARIES_OF_EXTRAS = ("mauve", "evaluate", "lm_eval", "matplotlib", "peft", "rouge_score", "sacrebleu", "sentence_transformers")


def test_imports_cost_no_extra() -> None:
    program = (
        "import importlib, pkgutil, sys\n"
        "import counterpoint.decoders, counterpoint.eval, counterpoint.rankers\n"
        "for package in (counterpoint.decoders, counterpoint.eval, counterpoint.rankers):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        f"        if module.name not in {list(NEED)}:\n"
        "            importlib.import_module(module.name)\n"
        f"print(sorted(set({LIBRARIES_OF_EXTRAS}) & set(sys.modules)), 'counterpoint.decoders.exporting' in sys.modules)\n"
    )
    assert run("-c", program) == "[] True\n"


def test_measures_of_texts_alone_do_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "import counterpoint.eval as measures\n"
        "print(measures.diversity(['the cat sat on the mat']), 'torch' in sys.modules)\n"
        "print(measures.perplexity.__name__, 'torch' in sys.modules, 'perplexity' in measures.__all__)\n"
        "try:\n    measures.nothing\n"
        "except AttributeError as error:\n    print(error)\n"
    )
    expected = "1.0 False\nperplexity True True\nmodule 'counterpoint.eval' has no attribute 'nothing'\n"
    assert run("-c", program) == expected


def test_folders_are_not_top_level_packages(tmp_path: Path) -> None:
    assert not set(PACKAGES) & set(sys.modules)  # nor imported a second time from the working directory
    program = f"import importlib.util; print([name for name in {PACKAGES} if importlib.util.find_spec(name)])"
    assert run("-c", program, cwd=tmp_path) == "[]\n"
