"""Kernels are chosen by what was measured, once, and by what a policy says; times here are made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from counterpoint.decoders.kernels import choosing
from counterpoint.decoders.kernels.choosing import Product, choose, known_kernel, measure, named, product_of, survey
from counterpoint.decoders.kernels.policy import Policy, pinned
from counterpoint.decoders.kernels.products import candidates

LARGE = torch.zeros(512, 256)
MADE_UP = {"plain": 1.0, "transposed": 1.0, "onednn": 1.0, "packed": 1.0}


class Timer:
    """Times of each kernel for one text and for several, and the measurements that were asked for."""

    def __init__(self, one: dict[str, float], several: dict[str, float] | None = None) -> None:
        self.one, self.several = one, one if several is None else several
        self.calls: list[tuple[int, tuple[str, ...]]] = []

    def __call__(self, weights: Sequence[Tensor], rows: int, names: Sequence[str]) -> dict[str, float]:
        """Stands for ``measure``."""
        self.calls.append((rows, tuple(names)))
        times = self.one if rows <= 5 else self.several
        return {name: (MADE_UP | times)[name] for name in names}


@pytest.fixture
def fresh() -> Iterator[None]:
    """A policy that measures, of which nothing is known."""
    with pinned(Policy()) as change, change:
        yield


def chosen(monkeypatch: pytest.MonkeyPatch, timer: Timer, each: int = 5) -> str:
    """The kernel for ``LARGE`` with these times."""
    monkeypatch.setattr(choosing, "measure", timer)
    (choice,) = choose([LARGE], each).values()
    return choice.kernel


@pytest.mark.parametrize(
    ("one", "several", "kernel"),
    [
        ({}, {}, "plain"),
        ({"transposed": 0.5}, {}, "transposed"),
        ({"transposed": 0.95}, {"transposed": 0.95}, "plain"),  # within noise
        ({"transposed": 1.04}, {"transposed": 0.5}, "transposed"),  # as fast for one text, faster for several
        ({"transposed": 0.5}, {"transposed": 1.5}, "plain"),  # a batch would be slower
        ({"transposed": 2.0}, {"transposed": 0.1}, "plain"),
    ],
)
def test_another_kernel_where_it_is_clearly_faster(
    fresh: None, monkeypatch: pytest.MonkeyPatch, one: dict[str, float], several: dict[str, float], kernel: str
) -> None:
    assert chosen(monkeypatch, Timer(one, several)) == kernel
    assert known_kernel(LARGE, 5) == known_kernel(LARGE, 4) == kernel


@pytest.mark.skipif("onednn" not in candidates(torch.float32, may_pack=False), reason="torch is built without oneDNN")
def test_the_next_fastest_where_the_fastest_is_slow_for_several(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer({"transposed": 0.4, "onednn": 0.6}, {"transposed": 2.0})
    assert chosen(monkeypatch, timer) == "onednn"


@pytest.mark.skipif("onednn" not in candidates(torch.float32, may_pack=False), reason="torch is built without oneDNN")
def test_the_fastest_of_one_text_and_several_together(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer({"transposed": 0.5, "onednn": 0.6}, {"transposed": 1.0, "onednn": 0.6})
    assert chosen(monkeypatch, timer) == "onednn"


def test_measured_once_by_all_threads(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer({"transposed": 0.5})
    monkeypatch.setattr(choosing, "measure", timer)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: named(choose([LARGE], 5)), range(16)))
    assert found == [{"256x512 float32 5 rows": "transposed"}] * 16
    assert [rows for rows, _ in timer.calls] == [5, 40]


def test_small_weights_are_not_measured(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer({"transposed": 0.1})
    monkeypatch.setattr(choosing, "measure", timer)
    assert named(survey([torch.zeros(8, 8)])) == {}
    assert not timer.calls


@pytest.mark.parametrize("packed", [False, True])
def test_packed_only_by_grant(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    timer = Timer({})
    with pinned(Policy(packed=packed)) as change, change:
        chosen(monkeypatch, timer)
    names = tuple(candidates(torch.float32, may_pack=packed))
    assert timer.calls == [(5, names), (40, names)]


def test_fixed_kernels_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer({"transposed": 0.1})
    monkeypatch.setattr(choosing, "measure", timer)
    with pinned(Policy(fixed={"256x512 float32 5 rows": "transposed"})) as change, change:
        assert named(survey([LARGE, torch.zeros(8, 8)])) == {"256x512 float32 5 rows": "transposed"}
        assert known_kernel(LARGE, 4) == "transposed"
        assert known_kernel(LARGE, 3) == known_kernel(LARGE, 9) == "plain"
    assert not timer.calls


@pytest.mark.parametrize(("each", "rows"), [(2, 2), (4, 5), (5, 5), (6, 10), (31, 40), (40, 40), (1, None), (41, None), (0, None)])
def test_rows_are_taken_for_the_next_number(each: int, rows: int | None) -> None:
    expected = None if rows is None else Product(256, 512, torch.float32, rows)
    assert product_of(LARGE, each) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_real_measurement(dtype: torch.dtype) -> None:
    names = candidates(dtype, may_pack=True)
    state = torch.get_rng_state()
    seconds = measure([torch.ones(64, 32, dtype=dtype)] * 3, 5, names)
    assert list(seconds) == names
    assert all(each > 0 for each in seconds.values())
    assert torch.equal(state, torch.get_rng_state()), "a measurement must not draw the numbers of a sampler"
