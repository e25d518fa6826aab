"""The published Dice losses by name, with the options that reproduce each of them exactly."""
from typing import Dict, NamedTuple

from .options import DiceOptions
from .published import PUBLISHED, known


class Preset(NamedTuple):
    """A published loss.

    title, formula, source, differs : as of :class:`soft_dice.published.Published`.
    options : the DiceOptions that compute it.
    """

    title: str
    formula: str
    source: str
    differs: str
    options: DiceOptions


def preset(name: str) -> DiceOptions:
    """The options of a published loss, for example ``preset('monai')``.

    Raises
    ------
    ValueError : a name that is not in :data:`presets`; the message lists them.
    """
    return presets[known(name)].options


presets: Dict[str, Preset] = {
    name: Preset(each.title, each.formula, each.source, each.differs, DiceOptions(**each.fields))
    for name, each in PUBLISHED.items()}
