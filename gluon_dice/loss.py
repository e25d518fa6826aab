"""SoftDiceLoss for Gluon: translates arrays and options; the loss is that of soft_dice."""
from soft_dice.options import DiceOptions

from .base import StagedLoss


class SoftDiceLoss(StagedLoss):
    """Soft Dice loss of each sample; by default the mean over classes c of

        1 - (2 sum p g + smooth) / (sum p + sum g + smooth)

    with p the softmax of pred, g the one-hot label and sums over the sample's pixels.
    :class:`soft_dice.DiceOptions` has the general formula and every variant.

    Works imperatively, hybridized (``static_alloc``, ``static_shape``), inside another hybridized
    block, and on Symbols.  Under ``npx.set_np()`` it takes and gives mx.np arrays.  float16 is
    computed in float32.  In a Symbol, whose dtype is not known, arithmetic is float32 unless the
    loss was told ``cast('float64')``.

    Parameters
    ----------
    options : soft_dice.DiceOptions, or the name of a preset, optional.
    weight : float, optional.  Multiplies the loss, as in every Gluon loss; for weights of classes
        see ``class_weights``.
    batch_axis : int, default 0.  Of pred, and of a label that has pred's number of axes.
    num_classes : int, optional.  Of pred.  Options that do not fit it, and a pred of another number
        of channels, are then refused, also inside a network's graph.
    **fields : options by name, in place of or on top of ``options``, among them perhaps
        ``preset='nnunet'``.

    Inputs
    ------
    pred : (N, C, ...) float16, float32 or float64.
    label : (N, ...) or (N, 1, ...) class indices of any dtype; with ``sparse_label=False`` the
        shape of pred.  It receives no gradient, a soft one neither: a teacher network whose output
        is the label does not learn from this loss.  With ``resize`` its sizes, those of the axes
        after the classes, may be others than pred's; inside a network's graph and in a Symbol there
        can then be up to 4 such axes, and equal sizes are interpolated, too, which changes no
        value.
    pixel_weight : (N, ...) or (N, 1, ...), optional, of the label's sizes.  No gradient either.

    Outputs
    -------
    (N,), float64 for float64 pred and float32 otherwise; (N, K counted classes) with
    ``class_reduction='none'``.

    Raises
    ------
    TypeError : unknown option.
    ValueError : contradictory options; shapes that do not match, or options that do not fit the
        number of classes, where the inputs are arrays; SOFT_DICE_NATIVE is neither 0 nor 1.
    RuntimeError : SOFT_DICE_NATIVE=1, and the kernels cannot be used.
    mxnet.base.MXNetError : the same shapes inside a network's graph, which knows them only when it
        runs; a bad value, as below.

    The sums over pixels are done in one of three ways.  ``python -m gluon_dice info`` says which
    and why, and SOFT_DICE_NATIVE=0 or 1 in the environment decides: 0 never uses the compiled
    kernels, 1 makes it an error where they cannot be used.  A hybridized loss follows a change of
    it; a hybridized network around it keeps what it was traced with.

    - *An operator over the kernels*, where it can be compiled (MXNet 1.9 and later) and pred is on
      the CPU.  A bad *value* (a label that is out of range, fractional or NaN, a pixel weight that
      is negative or not finite) is an MXNetError that names it, when the result is read.  A graph
      exported with it needs ``gluon_dice.native.load()`` before it is loaded.
    - *MXNet's own operators*, on a GPU, without a compiler, or with SOFT_DICE_NATIVE=0.  They
      cannot refuse a value: loss and gradient of that sample are NaN (with ``batch_dice`` of all),
      likewise in a graph, with index labels, for an activation that makes no sense for the number
      of classes.  And in a graph they cannot see a label with its axes in another order, nor,
      without ``num_classes``, that ``classes`` names a class twice or drops it.  An exported graph
      needs nothing of ours.
    - *A Custom operator*, which is Python inside MXNet, over the kernels or NumPy: always before
      MXNet 1.5, and nowhere else.  A bad value is a ValueError at once where label and weight are
      arrays; in a network's graph it makes loss and gradient of its sample NaN and is logged.  A
      graph exported with it needs ``import gluon_dice`` before it is loaded.  It does not run in a
      forked process, and the loss says so instead of waiting for ever.

    Examples
    --------
    >>> import mxnet as mx
    >>> loss = SoftDiceLoss(include_background=False)
    >>> loss.hybridize()
    >>> loss(mx.nd.zeros((2, 3, 4, 4)), mx.nd.zeros((2, 4, 4))).shape
    (2,)
    """

    KIND = DiceOptions
    options: DiceOptions
