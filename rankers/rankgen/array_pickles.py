"""Pickles of NumPy arrays, read without running anything that they name.

A pickle is a program: it names functions and calls them. Here every name is refused but the five by which NumPy pickles an array,
and those stand for functions of this file, which take shape, type and bytes and check them: NumPy's own trust what they are given.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {"f2": torch.float16, "f4": torch.float32, "f8": torch.float64}


def read_arrays(path: Path) -> Any:
    """What a pickle holds: arrays of floating-point numbers, as tensors, in dictionaries, lists and tuples.

    Raises:
        ValueError: If it names anything but arrays, or is not a pickle; nothing in it has run.

    Example:
        >>> import pickle, numpy, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "arrays.pickle"
        >>> path.write_bytes(pickle.dumps({"weight": numpy.ones((1, 2), dtype=numpy.float32)})) > 0
        True
        >>> read_arrays(path)
        {'weight': tensor([[1., 1.]])}
    """
    with path.open("rb") as file:
        try:
            return as_tensors(ArrayUnpickler(file).load())
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle may raise any
            raise ValueError(f"{path} is not read, since it is not a pickle of NumPy arrays alone: {error}") from error


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays as :class:`Array`, and refuses every other object."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name in the pickle; made anew each time, since a pickle may change what it gets."""
        stand_ins = {
            "numpy.ndarray": None,  # only named
            "numpy.dtype": lambda code, *_: DType(code),
            "numpy.core.multiarray._reconstruct": lambda *_: Array(),
            "numpy.core.numeric._frombuffer": lambda content, dtype, shape, order: Array(content, dtype, shape, order == "F"),
            "_codecs.encode": lambda text, _: str.encode(text, "latin-1"),  # bytes, before protocol 3
        }
        whole = f"{module}.{name}"
        known = whole.replace("numpy._core.", "numpy.core.")  # since NumPy 2
        if known not in stand_ins:
            raise pickle.UnpicklingError(f"it names {whole}")
        return stand_ins[known]


class DType:
    """Stands for ``numpy.dtype``: a kind of number, and whether its highest byte is first, which follows as state."""

    __slots__ = ("big_endian", "torch")

    def __init__(self, code: Any) -> None:
        if code not in DTYPES:
            raise pickle.UnpicklingError(f"it has arrays of {code!r}, and weights are of {', '.join(DTYPES)}")
        self.torch = DTYPES[code]
        self.big_endian = False

    def __setstate__(self, state: Any) -> None:
        self.big_endian = state[1] == ">"


class Array:
    """Stands for an array, whose content may follow as state."""

    __slots__ = ("columns_first", "content", "dtype", "shape")

    def __init__(self, content: Any = b"", dtype: Any = None, shape: Any = (), columns_first: Any = False) -> None:
        self.content, self.dtype, self.shape, self.columns_first = content, dtype, shape, columns_first

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, self.columns_first, self.content = state

    def tensor(self) -> Tensor:
        """The array, in memory of its own."""
        content, size, shape = bytearray(self.content), self.dtype.torch.itemsize, [int(length) for length in self.shape]
        if len(content) == 0 or min(shape, default=1) < 1 or len(content) != math.prod(shape) * size:
            raise pickle.UnpicklingError(f"it has an array of shape {shape} and {len(content)} bytes")
        numbers = torch.frombuffer(content, dtype=torch.uint8).reshape(-1, size)
        if self.dtype.big_endian:
            numbers = numbers.flip(1).contiguous()
        array = numbers.view(self.dtype.torch).reshape(shape[::-1] if self.columns_first else shape)
        return array.permute(*range(array.ndim)[::-1]).contiguous() if self.columns_first else array


def as_tensors(value: Any) -> Any:
    """Arrays as tensors, within what holds them."""
    if isinstance(value, Array):
        return value.tensor()
    if isinstance(value, dict):
        return {key: as_tensors(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(as_tensors, value))
    raise pickle.UnpicklingError(f"it holds {type(value).__name__} where an array belongs")
