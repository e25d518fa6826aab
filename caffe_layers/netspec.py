"""The layers for nets that are written in Python, with ``caffe.NetSpec``::

    from caffe_layers.netspec import dice_score, soft_dice_loss

    n.loss = soft_dice_loss(n.score, n.label, ignore_label=255, batch_dice=True)
    n.dice = dice_score(n.score, n.label, ignore_label=255)  # in the TEST net

Options are checked here, when the net is written, and not when Caffe runs it.
"""
import json
import math
import numbers
from typing import Any, Callable, Dict, List, Optional, Type

import caffe
from caffe.net_spec import Top, layers

from soft_dice.ce_options import DiceCEOptions
from soft_dice.metric_options import MetricOptions
from soft_dice.options import DiceOptions, Options

from . import params
from .metric import check_test_iter

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


def dice_ce_loss(score: Any, label: Any, pixel_weight: Optional[Any] = None,
                 loss_weight: float = 1.0, options: Optional[DiceCEOptions] = None,
                 ntop: int = 1, preset: Optional[str] = None, **fields: Any) -> Any:
    """A :class:`caffe_layers.DiceCELossLayer` on these blobs: as :func:`soft_dice_loss`, with the
    options of :class:`soft_dice.DiceCEOptions`.
    """
    if preset is not None:
        fields['preset'] = preset
    return _loss('DiceCELossLayer', DiceCEOptions, score, label, pixel_weight, loss_weight,
                 options, ntop, fields)


def dice_score(score: Any, label: Any, ntop: int = 1, test_iter: Optional[int] = None,
               options: Optional[DiceOptions] = None, preset: Optional[str] = None,
               **fields: Any) -> Any:
    """A :class:`caffe_layers.DiceScoreLayer` on these blobs; in the TEST net, unless ``include`` or
    ``exclude`` says otherwise.

    Parameters
    ----------
    score, label : Tops of a NetSpec: the layer's bottoms.
    ntop : 1 (default), or 2 for the Dice of each class, too.
    test_iter : the solver's, where the layer cannot see it.
    options, preset : as of :func:`soft_dice_loss`; what of them says how labels are read counts.
    **fields : activation, classes, threshold and so on of the layer by name; and ``name``,
        ``phase``, ``include`` and ``exclude`` of the layer itself.

    Returns
    -------
    The Top of the mean over classes; for ``ntop=2`` those of mean and classes.

    Raises
    ------
    TypeError : a blob that is no Top, an unknown option or one of the loss alone.
    ValueError : a value outside its range, contradictory options, unknown preset.
    """
    def write(names: Dict[str, Any]) -> str:
        if options is not None and preset is not None:
            raise TypeError('give options or preset, not both')
        metric = params.of_caffe(MetricOptions.of_loss(options, **names) if preset is None
                                 else MetricOptions.from_dict({**names, 'preset': preset}))
        written = metric.changes_from()
        if check_test_iter(test_iter) is not None:
            written['test_iter'] = test_iter
        return json.dumps(written) if written else ''

    _check_ntop(ntop, 'the mean, or 2, mean and classes')
    if not {'include', 'exclude', 'phase'}.intersection(fields):
        fields['include'] = dict(phase=caffe.TEST)
    return _python('DiceScoreLayer', dict(score=score, label=label), write, fields, ntop=ntop)


def _check_ntop(ntop: int, which: str) -> None:
    if isinstance(ntop, bool) or ntop not in (1, 2):
        raise ValueError(f'ntop must be 1, {which}; got {ntop!r}')


def _loss(layer: str, options_class: Type[Options], score: Any, label: Any,
          pixel_weight: Optional[Any], loss_weight: float, options: Optional[Options], ntop: int,
          fields: Dict[str, Any]) -> Any:
    """A layer of ours with the tops loss and, if wanted, score.

    options_class, options : as of ``params.write``.
    fields : as of ``_python``.
    """
    if isinstance(loss_weight, bool) or not isinstance(loss_weight, numbers.Real) \
            or not math.isfinite(loss_weight):
        raise ValueError(f'loss_weight must be a finite number, for example 1; got {loss_weight!r}')
    _check_ntop(ntop, 'the loss, or 2, loss and score')
    weights = [float(loss_weight), 0.0][:ntop]  # the score has no gradient
    return _python(layer, dict(score=score, label=label, pixel_weight=pixel_weight),
                   lambda names: params.write(names, options_class, options), fields,
                   ntop=ntop, loss_weight=weights)


def _python(layer: str, bottoms: Dict[str, Any], write: Callable[[Dict[str, Any]], str],
            fields: Dict[str, Any], **more: Any) -> Any:
    """A Python layer of this package.

    bottoms : by the names of the caller's arguments; None leaves one out.
    write : options by name -> param_str; checks them.
    fields : the layer's own of LAYER_FIELDS; all others are options.
    more : what else the layer has: ntop, loss_weight.
    """
    for name, top in bottoms.items():
        if not isinstance(top, Top) and not (top is None and name == 'pixel_weight'):
            raise TypeError(f'{name} must be a Top, as n.score is of a caffe.NetSpec n; '
                            f'got {type(top).__name__}')
    own = {name: value for name, value in fields.items() if name in LAYER_FIELDS}
    rest = {name: value for name, value in fields.items() if name not in LAYER_FIELDS}
    python_param = dict(module='caffe_layers', layer=layer)
    param_str = write(rest)
    if param_str:
        python_param['param_str'] = param_str
    given: List[Any] = [top for top in bottoms.values() if top is not None]
    return layers.Python(*given, python_param=python_param, **own, **more)
