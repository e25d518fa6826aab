"""What the processes that tests start have around them."""
import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def surroundings(**more):
    """The environment, in which this project and the tests' modules are imported before all that
    PYTHONPATH names: the version matrix's MXNet, for example, which is to stay.
    """
    path = [str(TESTS.parent), str(TESTS), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, path)), **more}
