"""The published losses by name, with the options that reproduce each of them exactly."""
from typing import Any, Dict, NamedTuple, Type

from . import published
from .ce_options import DiceCEOptions
from .options import DiceOptions, Options


class Preset(NamedTuple):
    """A published loss.

    title, formula, source, differs : as of :class:`soft_dice.published.Published`.
    options : those that compute it, DiceOptions or, in ``compound_presets``, DiceCEOptions.
    """

    title: str
    formula: str
    source: str
    differs: str
    options: Any


def preset(name: str) -> Any:
    """The options of a published loss: ``preset('monai')`` are DiceOptions, and those of a loss
    with a cross-entropy, such as ``preset('nnunet_dice_ce')``, are DiceCEOptions.

    Raises
    ------
    ValueError : an unknown name; the message lists the names.
    """
    published.find(name, compound=True)
    return {**presets, **compound_presets}[name].options


def _presets(losses: Dict[str, published.Published], kind: Type[Options]) -> Dict[str, Preset]:
    return {name: Preset(each.title, each.formula, each.source, each.differs, kind(**each.fields))
            for name, each in losses.items()}


presets = _presets(published.PUBLISHED, DiceOptions)
compound_presets = _presets(published.COMPOUND, DiceCEOptions)
