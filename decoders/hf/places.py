"""Where modules lie in a model, so that a step can tell at the price of a few look-ups that nobody has put others there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn


class Places:
    """The modules on the way from ``model`` to each of ``modules``, as they were when this was made.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
        >>> places = Places(model, [model[0][0]])
        >>> places.hold()
        True
        >>> model[0] = nn.Sequential(nn.Linear(1, 1))
        >>> places.hold()
        False
    """

    def __init__(self, model: nn.Module, modules: Iterable[nn.Module]) -> None:
        names = {module: name for name, module in model.named_modules()}
        wanted = list(modules)
        self.known = all(module in names for module in wanted)
        """Whether all of them are parts of the model; of others nothing can be told."""
        self.ways = list(dict.fromkeys(step for module in wanted if module in names for step in _way(model, names[module])))

    def hold(self) -> bool:
        """Whether each module is where it was."""
        return self.known and all(parent._modules.get(name) is module for parent, name, module in self.ways)


def _way(model: nn.Module, name: str) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each step down: a module, the name of one in it, and that one."""
    here = model
    for part in name.split(".") if name else ():
        parent, here = here, here.get_submodule(part)
        yield parent, part, here
