"""What the distributions hold, and what someone who installs one sees; building them takes a minute."""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

from counterpoint.eval import AMATEUR, EXPERT
from processes import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("decoders", "eval", "rankers")
MODEL_FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel built from it."""
    folder = tmp_path_factory.mktemp("distributions")
    source = folder / "source"  # a copy, since a build leaves files that the next one picks up
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".*"))
    run("-m", "build", "--no-isolation", "--outdir", str(folder), str(source))
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    """The wheel."""
    (path,) = distributions.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the wheel's."""
    folder = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


def sources() -> set[str]:
    """What the packages' folders hold, named as installed."""
    kept = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    return {f"counterpoint/{path.relative_to(ROOT).as_posix()}" for path in kept if "__pycache__" not in path.parts}


def test_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == sources()
    assert {f"counterpoint/{package}/py.typed" for package in PACKAGES} < names


def test_wheel_has_the_licence_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name.partition(".dist-info/")[2]: name for name in archive.namelist()}
        assert archive.read(files["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        assert "counterpoint = counterpoint.eval.cli.main:main" in archive.read(files["entry_points.txt"]).decode()


@pytest.mark.parametrize(("model", "megabytes"), [(EXPERT, 12), (AMATEUR, 3.5)], ids=["expert", "amateur"])
def test_embedded_models_are_whole_and_small(wheel: Path, model: Path, megabytes: float) -> None:
    prefix = f"counterpoint/eval/models/{model.name}/"
    sizes = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith(prefix)}
    assert {name.removeprefix(prefix) for name in sizes} == MODEL_FILES
    assert sum(sizes.values()) <= megabytes * 1e6


def test_the_embedded_ranker_is_whole_and_small(wheel: Path) -> None:
    prefix = "counterpoint/rankers/models/small/"
    sizes = {info.filename: info.file_size for info in zipfile.ZipFile(wheel).infolist() if info.filename.startswith(prefix)}
    assert {name.removeprefix(prefix) for name in sizes} == MODEL_FILES - {"generation_config.json"}
    assert sum(sizes.values()) <= 8e6


def test_source_distribution_can_be_tested(distributions: Path) -> None:
    (path,) = distributions.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {f"tests/{file.name}" for file in (ROOT / "tests").glob("*.py")}
    assert tests | {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "pyproject.toml"} <= names
    assert {name.removeprefix("counterpoint/") for name in sources()} <= names
    assert not [name for name in names if name.endswith((".pyc", "_cache"))]


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "counterpoint"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    extras = ["adapters", "evaluate", "generation", "lm-eval", "mauve", "plots", "sentence-transformers", "serve", "test"]
    assert metadata.get_all("Provides-Extra") == extras
    requirements = metadata.get_all("Requires-Dist", [])
    needed = {re.split(r"[^\w-]", line)[0] for line in requirements if "extra ==" not in line}
    assert needed == {"torch", "transformers", "accelerate", "jaxtyping", "typing-extensions"}
    assert not [line for line in requirements if "<" in line or "==" in line.partition(";")[0]]


def test_wheel_is_typed_for_its_users(installed: Path, tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        "import counterpoint.rankers\n"
        "from counterpoint.decoders import install\n"
        "from counterpoint.eval import EXPERT, diversity\n"
        "from counterpoint.eval.cli.main import main\n"
        "code: int = main([EXPERT.name])\n"
        "wrong: str = main([])\n"
        "install(3)\n"
    )
    config = tmp_path / "mypy.ini"  # as strict as for ourselves; types of other packages have no part in this, and take a minute
    others = "torch.*,transformers.*,numpy.*"
    config.write_text(f"[mypy]\nstrict = True\n[mypy-{others}]\nfollow_imports = skip\nfollow_imports_for_stubs = True\n")
    with pytest.raises(AssertionError) as caught:
        run("-m", "mypy", user.name, cwd=tmp_path, PYTHONPATH=str(installed), MYPYPATH="")
    found = re.findall(r"^\s*user\.py:(\d+): error: .*\[([\w-]+)\]$", str(caught.value), re.MULTILINE)
    assert found == [("6", "assignment"), ("7", "call-arg")]


def test_wheel_works_by_itself(installed: Path, tmp_path: Path) -> None:
    program = "import counterpoint.decoders, counterpoint.rankers, counterpoint.eval.cli.main as cli; print(cli.__file__)"
    assert Path(run("-c", program, cwd=tmp_path, PYTHONPATH=str(installed)).strip()).is_relative_to(installed)


def test_metrics_load_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("evaluate", reason="needs the extra evaluate")
    program = (
        "from counterpoint.eval import load_metric\n"
        "for name, published in (('rep_n', True), ('diversity', False)):\n"
        "    print(load_metric(name).compute(predictions=['a rose is a rose is a rose'], published=published))\n"
    )
    output = run("-c", program, cwd=tmp_path, PYTHONPATH=str(installed), HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert output == "{'rep_2': 0.5, 'rep_3': 0.4, 'rep_4': 0.25}\n{'diversity': 0.1285714285714286}\n"
