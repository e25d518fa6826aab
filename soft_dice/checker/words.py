"""What an error says, in one line."""
import re

FRAME = re.compile(r'\s*(File "|Stack trace|stack trace:|\[bt\]|\*\*\* |@ 0x|[\^~-]+$)')
MOST = 300  # characters


def condensed(text: str) -> str:
    """The lines that say something, one after the other: those of a traceback do not.

    Of a long text the beginning is kept, and the last line, which mostly says what is wrong.
    """
    lines, in_frame = [], False
    for line in text.rpartition('Traceback (most recent call last):')[2].splitlines():
        frame = bool(FRAME.match(line))
        if not frame and not (in_frame and line.startswith('    ')) and line.strip():
            lines.append(line.strip())
        in_frame = frame or in_frame and line.startswith('    ')
    whole = ' '.join(lines)
    if len(whole) <= MOST:
        return whole
    last = lines[-1][-MOST // 2:]
    return f'{whole[:MOST - len(last) - 5]} ... {last}' if len(lines) > 1 else whole[:MOST]


def described(error: BaseException) -> str:
    """An exception's type and words."""
    return typed(error, str(error))


def typed(error: BaseException, text: str) -> str:
    """The same, in other words than its own."""
    name, words = type(error).__name__, condensed(text).rstrip(' :')
    if words.startswith(name):  # as MXNet's messages do
        return words
    return f'{name}: {words}' if words else name
