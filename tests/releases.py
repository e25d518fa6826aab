"""What the tests must know of older releases of MXNet."""
import mxnet as mx
import pytest

from gluon_dice import compat

# The keywords of hybridize() for static buffers, which MXNet has since 1.3.
STATIC = dict(static_alloc=True, static_shape=True) if compat.RELEASE >= (1, 3) else {}
# Before 1.2 a hybridized block writes a gradient that is to be added, where two paths lead to it.
GRAPHS_ADD = compat.RELEASE >= (1, 2)

# Of what holds only where stage 1 is in MXNet's operators; version_matrix knows the id.
operators_only = pytest.mark.parametrize('implementation', ['0'], indirect=True,
                                         ids=['only_operators'])


def loaded(symbol_file, names):
    """An exported graph without parameters, as a function of its inputs."""
    if compat.RELEASE >= (1, 5):
        return mx.gluon.SymbolBlock.imports(str(symbol_file), names)
    # New in 1.3, and until 1.5 for no graph in which a block was called twice.
    graph = mx.sym.load(str(symbol_file))
    return lambda *inputs: graph.bind(mx.cpu(), dict(zip(names, inputs))).forward()[0]
