"""The layers for nets that are written in Python, with ``caffe.NetSpec``::

    from caffe_layers.netspec import soft_dice_loss

    n.loss = soft_dice_loss(n.score, n.label, ignore_label=255, batch_dice=True)

Options are checked here, when the net is written, and not when Caffe runs it.
"""
import math
import numbers
from typing import Any, Dict, List, Optional

from caffe.net_spec import Top, layers

from soft_dice.options import DiceOptions

from . import params

LAYER_FIELDS = ('name', 'phase', 'include', 'exclude', 'propagate_down')


def soft_dice_loss(score: Any, label: Any, pixel_weight: Optional[Any] = None,
                   loss_weight: float = 1.0, options: Optional[DiceOptions] = None,
                   ntop: int = 1, preset: Optional[str] = None, **fields: Any) -> Any:
    """A :class:`caffe_layers.SoftDiceLossLayer` on these blobs.

    Parameters
    ----------
    score, label, pixel_weight : Tops of a NetSpec: the layer's bottoms.
    loss_weight : float, default 1; written always, as without it a Python layer learns nothing.
    options : soft_dice.DiceOptions, optional.
    ntop : 1 (default), or 2 for the score of each sample and class, too.
    preset : a published loss, see :data:`soft_dice.presets`; not together with ``options``.
    **fields : options by name, in place of or on top of ``options`` or ``preset``; and ``name``,
        ``phase``, ``include``, ``exclude`` and ``propagate_down`` of the layer itself, for example
        ``include=dict(phase=caffe.TRAIN)``.

    Returns
    -------
    The Top of the loss; for ``ntop=2`` those of loss and score.

    Raises
    ------
    TypeError : a blob that is no Top, unknown option, options and preset.
    ValueError : a value outside its range, contradictory options, unknown preset.
    """
    if preset is not None:
        fields['preset'] = preset
    return _loss('SoftDiceLossLayer', DiceOptions, score, label, pixel_weight, loss_weight,
                 options, ntop, fields)


def _loss(layer: str, options_class: Any, score: Any, label: Any, pixel_weight: Optional[Any],
          loss_weight: float, options: Optional[Any], ntop: int, fields: Dict[str, Any]) -> Any:
    """A layer of ours with the tops loss and, if wanted, score; the rest as for ``_python``."""
    if isinstance(loss_weight, bool) or not isinstance(loss_weight, numbers.Real) \
            or not math.isfinite(loss_weight):
        raise ValueError(f'loss_weight must be a finite number, for example 1; got {loss_weight!r}')
    if isinstance(ntop, bool) or ntop not in (1, 2):
        raise ValueError(f'ntop must be 1, the loss, or 2, loss and score; got {ntop!r}')
    weights = [float(loss_weight), 0.0][:ntop]  # the score has no gradient
    return _python(layer, options_class, dict(score=score, label=label, pixel_weight=pixel_weight),
                   options, fields, ntop=ntop, loss_weight=weights)


def _python(layer: str, options_class: Any, bottoms: Dict[str, Any], options: Optional[Any],
            fields: Dict[str, Any], **more: Any) -> Any:
    """A Python layer of this package.

    bottoms : by the names of the caller's arguments; None leaves one out.
    fields : the layer's own of LAYER_FIELDS; all others are options, for ``params.write``.
    more : what else the layer has: ntop, loss_weight.
    """
    for name, top in bottoms.items():
        if not isinstance(top, Top) and not (top is None and name == 'pixel_weight'):
            raise TypeError(f'{name} must be a Top, as n.score is of a caffe.NetSpec n; '
                            f'got {type(top).__name__}')
    own = {name: value for name, value in fields.items() if name in LAYER_FIELDS}
    rest = {name: value for name, value in fields.items() if name not in LAYER_FIELDS}
    python_param = dict(module='caffe_layers', layer=layer)
    param_str = params.write(rest, options_class, options)
    if param_str:
        python_param['param_str'] = param_str
    given: List[Any] = [top for top in bottoms.values() if top is not None]
    return layers.Python(*given, python_param=python_param, **own, **more)
