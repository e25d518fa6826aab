"""What our layer takes over from the loss that it replaces, and what is lost.

Every sentence is for the user: nothing that the old layer had goes in silence.
"""
from typing import Any, Dict, List, Optional, Tuple

from soft_dice.ce_options import DiceCEOptions

from . import edit, params, prototxt, reader, spans
from .place import Site
from .reader import FULL, VALID
from .spans import Field

# Of a loss_param, in Caffe and in forks of it.
TAKEN = ('ignore_label', 'normalize', 'normalization', 'weight_by_label_freqs')
CLASS_WEIGHTS = ('class_weighting', 'class_weight', 'class_weights')
ENGINES = ('engine', 'axis')  # of a softmax_param: of no meaning elsewhere, and checked
MOST = 120  # characters of one thing that is lost


def options(net: Any, site: Site, given: Dict[str, Any], class_name: str, text: str
            ) -> Tuple[Dict[str, Any], List[str]]:
    """The options ``given`` with what the net says of them, and a sentence on each such thing.

    text : of the net.
    """
    chosen, notes = dict(given), []
    old = site.layer(net)
    notes += _ignore_label(old, chosen)
    notes += _label_and_activation(net, site, chosen)
    if site.at is None:
        return chosen, notes
    block = _block(text, site.at)
    notes += _class_weights(block, chosen, class_name)
    notes += _lost(text, block, old, site)
    if _sums_pixels(old):
        notes.append(f'{old.name!r} sums over pixels, and Dice is a share of them: a loss_weight '
                     'or learning rate made for the one does not suit the other.')
    return chosen, notes


def _ignore_label(old: Any, chosen: Dict[str, Any]) -> List[str]:
    if not old.loss_param.HasField('ignore_label'):
        return []
    theirs = old.loss_param.ignore_label
    ours = chosen.setdefault('ignore_label', theirs)
    return [f'ignore_label {theirs} is carried over.' if ours == theirs
            else f'ignore_label was {theirs}, and is {ours} now.']


def _label_and_activation(net: Any, site: Site, chosen: Dict[str, Any]) -> List[str]:
    """What kind of label and of prediction the old loss had."""
    old, pred, above = site.layer(net), site.pred, site.above(net)
    wanted, label = prototxt.BUILT_IN.get(old.type, ('', ''))
    notes = []
    if label == 'onehot' and 'sparse_label' not in chosen:
        chosen['sparse_label'] = False
        notes.append(f'{old.type} has a label of the shape of {pred}, so sparse_label is false.')
    made_by = prototxt.activation_of(old, pred, above)
    if made_by != 'raw' and chosen.setdefault('activation', 'none') == 'none':
        return notes + [f"{pred} is the output of a {made_by} layer, so activation is 'none'."]
    if made_by != 'raw':
        return notes + [f'Warning: {pred} is the output of a {made_by} layer already, and '
                        f'activation {chosen["activation"]!r} comes on top.']
    if 'activation' in chosen or site.at is None or 'preset' in chosen and label != 'onehot':
        return notes
    given = prototxt.given_input(old, pred, above)
    if old.type == 'MultinomialLogisticLoss' and given == 'raw':
        return notes + [f"{old.type} takes probabilities, but {pred} holds scores: activation "
                        "'softmax' is applied to them."]
    if old.type == 'MultinomialLogisticLoss':
        chosen['activation'] = 'none'
        return notes + [f"{old.type} takes probabilities, so activation is 'none'."]
    if label == 'onehot':
        chosen['activation'] = 'sigmoid'
        return notes + [f"{old.type} looks at each channel alone, so activation is 'sigmoid'; "
                        '--option activation=softmax, if one class of each pixel is right.']
    if not label:
        notes.append(_assumed(given, pred, chosen))
    return notes


def _assumed(given: Optional[str], pred: str, chosen: Dict[str, Any]) -> str:
    """A sentence on a loss of which nobody said what it is fed."""
    labels = 'class numbers are' if chosen.get('sparse_label', True) else 'one-hot labels are'
    if given == 'raw':
        start = f"{pred} holds scores, to which activation 'softmax' is applied"
    else:
        start = (f"The net does not say what {pred} holds: activation 'softmax' is applied to it; "
                 'if these are probabilities, --option activation=none')
    return (f'{start}.  {labels.capitalize()} taken for granted; '
            '--option sparse_label=false, if the labels are one-hot.')


def _class_weights(block: Field, chosen: Dict[str, Any], class_name: str) -> List[str]:
    """A cross-entropy takes those of a cross-entropy; Dice counts every class alike without any."""
    weights = _weights(block)
    if not weights:
        return []
    shown = ', '.join(f'{each:g}' for each in weights)
    if params.LOSSES[class_name] is not DiceCEOptions:
        return [f'Not carried over: the class weights {shown}.  They make up for rare classes in a '
                'sum over pixels, and Dice counts every class alike.  To use them in spite of '
                f'that: --option class_weights=[{shown.replace(" ", "")}]']
    ours = chosen.setdefault('ce_class_weights', weights)
    return [f'The class weights {shown} are carried over to the cross-entropy.' if ours == weights
            else f'The class weights were {shown}; ce_class_weights are given.']


def _weights(block: Field) -> List[float]:
    """Of a fork's loss_param; SegNet heeds them only where another field says so."""
    found: List[float] = []
    for param in block.named('loss_param'):
        switch = [' '.join(field.words) for field in param.named('weight_by_label_freqs')]
        if switch[-1:] in (['false'], ['0'], ['False'], ['f']):
            continue
        for field in param.named(*CLASS_WEIGHTS):
            for each in (field,) if field.items is None else field.items:
                found += reader.numbers(each)
    return found


def _lost(text: str, block: Field, old: Any, site: Site) -> List[str]:
    """What the new layer does not say, and our layer has no word for."""
    lost = []
    for field in block.fields:
        if not edit.goes(field.name):
            continue
        known = {'loss_param': TAKEN + CLASS_WEIGHTS, 'softmax_param': ENGINES,
                 'python_param': ('module', 'layer')}.get(field.name, ())
        inside = [each for each in field.fields if each.name not in known]
        if inside or not field.fields and field.words:
            lost.append(f'{field.name} {{ {" ".join(_short(text, each) for each in inside)} }}')
    further = [name for i, name in enumerate(old.bottom) if i not in site.bottoms]
    notes = [f'Not carried over: {", ".join(lost)}.'] if lost else []
    if further:
        notes.append(f'Not carried over: the bottom{"s" * (len(further) > 1)} {", ".join(further)}.'
                     f'  If it holds pixel weights, --weights {further[0]} takes it.')
    return notes if site.replaces else []


def _short(text: str, field: Field) -> str:
    """As it is written, in one line."""
    written = ' '.join(text[field.start:field.end].split())
    return written if len(written) <= MOST else written[:MOST] + '...'


def _block(text: str, at: int) -> Field:
    blocks = [each for field in spans.parse(text, 'the net') if field.name == 'layer'
              for each in ((field,) if field.items is None else field.items)]
    return blocks[at]


def _sums_pixels(old: Any) -> bool:
    """Is a loss of this kind a sum over pixels, not a mean?"""
    if old.type in ('EuclideanLoss', 'HingeLoss', 'MultinomialLogisticLoss'):
        return True
    if old.loss_param.HasField('normalization'):
        return old.loss_param.normalization not in (VALID, FULL)
    if old.loss_param.HasField('normalize'):
        return not old.loss_param.normalize
    return old.type == 'SigmoidCrossEntropyLoss'  # whose default is another
