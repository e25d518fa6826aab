"""What the tests must know of older releases of MXNet."""
from gluon_dice import compat

# The keywords of hybridize() for static buffers, which MXNet has since 1.3.
STATIC = dict(static_alloc=True, static_shape=True) if compat.RELEASE >= (1, 3) else {}
