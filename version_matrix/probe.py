"""Run by the Python that is asked about, with the kind of its row: prints what it finds as JSON."""
import json
import sys
from typing import Any, Dict


def look(kind: str) -> Dict[str, Any]:
    """numpy, mxnet : versions; without an MXNet, for the core, the first alone.
    lacks : a sentence for each operator that is not there.
    operator : why the kernels cannot be used as an operator; empty where they can.
    error : why MXNet or the package cannot be imported; the others are then missing.
    """
    try:
        import numpy

        import soft_dice  # noqa: F401
        found: Dict[str, Any] = {'numpy': numpy.__version__, 'error': ''}
        if kind == 'gluon':
            import mxnet

            from gluon_dice import compat, native
            found.update(mxnet=mxnet.__version__, lacks=compat.lacking(),
                         operator=native.unavailable())
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'.splitlines()[0]}
    return found


if __name__ == '__main__':
    print(json.dumps(look(sys.argv[1])))
