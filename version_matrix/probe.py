"""Run by the Python and on the MXNet that are asked about: prints what it finds as JSON."""
import json


def look() -> dict:
    """mxnet, numpy : versions.
    lacks : a sentence for each operator that is not there.
    operator : why the kernels cannot be used as an operator; empty where they can.
    error : why MXNet or gluon_dice cannot be imported; the others are then missing.
    """
    try:
        import mxnet
        import numpy

        from gluon_dice import compat, native
    except Exception as error:
        return {'error': f'{type(error).__name__}: {error}'.splitlines()[0]}
    return {'mxnet': mxnet.__version__, 'numpy': numpy.__version__, 'error': '',
            'lacks': compat.lacking(), 'operator': native.unavailable()}


if __name__ == '__main__':
    print(json.dumps(look()))
