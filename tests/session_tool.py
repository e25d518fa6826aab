"""An object for a worker.Session to hold, in a module that is quick to import."""
import os
import sys
import time

from soft_dice.arrays import CannotRun


class Tool:
    """Counts its calls, and ends its process in every way."""

    def __init__(self, start='ok'):
        if start == 'abort':
            os.abort()
        if start == 'cannot':
            raise CannotRun('no such thing')
        self.calls = 0

    def count(self):
        self.calls += 1
        return self.calls

    def say_and(self, action):
        print('to stdout')
        os.write(2, b'F1121 06:31:53.123456 29792 blob.hpp:33] Check failed: a == b (1 vs. 2) '
                    b'Different.\n*** Check failure stack trace: ***\n    @ 0x7f\n')
        {'abort': os.abort, 'exit': lambda: os._exit(3), 'leave': sys.exit,
         'sleep': lambda: time.sleep(3600)}[action]()
