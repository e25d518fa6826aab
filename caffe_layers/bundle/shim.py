"""What Python 2.7, NumPy 1.7 and old forks of Caffe lack.

It goes as it stands to the head of the file that ``bundle`` makes; so it is written in Python 2.7,
and runs on 3.13 as well.  Only where text and dicts differ does it ask which Python it is: the rest
is the same code everywhere, so that a test on one Python tests it for all.
"""
import collections
import functools
import json
import string
import sys

import numpy as np

try:
    import caffe
    caffe.Net
except (ImportError, AttributeError):  # none, or a mere folder of that name
    caffe = None  # the functions and the proof need none

_OLD = sys.version_info[0] == 2
_STRINGS = basestring if _OLD else str  # noqa: F821
_UNICODE = unicode if _OLD else str  # noqa: F821
_INF = float('inf')
try:
    _RecursionError = RecursionError
except NameError:
    _RecursionError = RuntimeError


class _Layer(getattr(caffe, 'Layer', object)):
    """caffe.Layer with what its older versions do not give to a layer."""

    def __getattr__(self, name):
        if name == 'param_str':  # param_str_ before August 2015, or none at all
            return getattr(self, 'param_str_', '')
        if name == 'phase':  # since 2016; before, a layer could not know
            return caffe.TRAIN
        raise AttributeError(name)


# --- text: messages are those of Python 3 --------------------------------------------------------

def _text(value):
    """str(value), as Python 3 has it."""
    if not _OLD:
        return str(value)
    if isinstance(value, _UNICODE):
        return value.encode('utf-8')
    return _repr(value) if type(value) in (float, tuple, list, set, frozenset) else str(value)


def _repr(value):
    """repr(value), as Python 3 has it."""
    kind = type(value)
    if not _OLD:
        return repr(value)
    if kind in (str, _UNICODE):
        return _quoted(value if kind is _UNICODE else value.decode('utf-8', 'replace'))
    if kind is tuple:
        return '(' + ', '.join(map(_repr, value)) + (',)' if len(value) == 1 else ')')
    if kind is list:
        return '[' + ', '.join(map(_repr, value)) + ']'
    if kind in (dict, _Dict):
        return '{' + ', '.join(_repr(k) + ': ' + _repr(value[k]) for k in value) + '}'
    if kind is set and value:
        return '{' + ', '.join(map(_repr, value)) + '}'
    if kind is type(sys.maxsize + 1):
        return str(value)
    return repr(value)


def _quoted(text):
    quote = '"' if "'" in text and '"' not in text else "'"
    return quote + ''.join(
        each.encode('utf-8') if ord(each) > 160 else '\\' + quote if each == quote else
        str(each) if each in '\'"' else repr(each)[2:-1] for each in text) + quote


class _Formatter(string.Formatter):
    def convert_field(self, value, conversion):
        return _repr(value) if conversion == 'r' else _text(value) if conversion == 's' else value

    def format_field(self, value, spec):
        return format(value, spec) if spec else _text(value)


_format = _Formatter().format


# --- the language --------------------------------------------------------------------------------

class _Ordered(collections.OrderedDict):
    """A dict that keeps its order, and looks like one."""

    def __repr__(self):
        return '{' + ', '.join(_repr(k) + ': ' + _repr(self[k]) for k in self) + '}'


_Dict = dict if sys.version_info >= (3, 7) else _Ordered


def _merged(*dicts):
    """{**a, **b}"""
    return _Dict(item for each in dicts for item in each.items())


def _chain(*parts):
    """The items of (*a, b, *c)."""
    return (item for each in parts for item in each)


def _keyword_only(name, given, *defaults):
    """The values of the parameters behind a ``*``, in order; any other keyword is refused."""
    for each in given:
        if each not in dict(defaults):
            raise TypeError("%s() got an unexpected keyword argument '%s'" % (name, each))
    return tuple(given.get(each, default) for each, default in defaults)


def _without_context(error):
    """The error of ``raise error from None``."""
    error.__cause__ = None
    return error


def _lru_cache(maxsize):
    def decorate(function):
        found = {}

        @functools.wraps(function)
        def cached(*arguments):
            if arguments not in found:
                value = function(*arguments)
                if len(found) >= maxsize:
                    found.clear()
                found[arguments] = value
            return found[arguments]
        return cached
    return decorate


def _named_tuple(name, fields, *defaults):
    """The base of a NamedTuple class; the defaults are those of its last fields."""
    made = collections.namedtuple(name, fields)
    made.__new__.__defaults__ = defaults
    return made


class _Namespace(object):
    """A module of the package that is used as an object."""

    def __init__(self, **names):
        self.__dict__.update(names)


class _Field(object):
    """A field of a dataclass."""

    def __init__(self, name='', metadata=(), **default):
        self.name, self.metadata = name, dict(metadata)
        if default:
            self.default = default['default']


class FrozenInstanceError(AttributeError):
    """An options object cannot be changed; replace() makes another."""


def _fields(kind):
    return kind.__dataclass_fields__


def _dataclass(names, frozen, init=True, repr=True, eq=True):
    """Makes a class with fields of these names a frozen dataclass."""
    def decorate(cls):
        cls.__dataclass_fields__ = list(getattr(cls, '__dataclass_fields__', []))
        for name in names:
            field = cls.__dict__.get(name, _Field())
            if not isinstance(field, _Field):
                field = _Field(default=field)
            field.name = name
            if hasattr(field, 'default'):
                setattr(cls, name, field.default)
            cls.__dataclass_fields__.append(field)
        for name, method, wanted in (('__init__', _init, init), ('__repr__', _shown, repr),
                                     ('__eq__', _equal, eq), ('__hash__', _hash, eq)):
            if wanted:
                setattr(cls, name, method)
        cls.__ne__ = lambda self, other: not self == other
        cls.__setattr__ = cls.__delattr__ = _refuse_change
        if not eq and '__eq__' in cls.__dict__:
            cls.__hash__ = None
        return cls
    return decorate


def _init(self, *values, **named):
    names = [field.name for field in _fields(type(self))]
    given = dict(zip(names, values), **named)
    if len(values) > len(names) or sorted(given) != sorted(names):
        raise TypeError('%s() takes %s' % (type(self).__name__, ', '.join(names)))
    for name in names:
        object.__setattr__(self, name, given[name])
    self.__post_init__()


def _values(self):
    return tuple(getattr(self, field.name) for field in _fields(type(self)))


def _shown(self):
    pairs = zip(_fields(type(self)), _values(self))
    return '%s(%s)' % (type(self).__name__,
                       ', '.join('%s=%s' % (field.name, _repr(value)) for field, value in pairs))


def _equal(self, other):
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self):
    return hash(_values(self))


def _refuse_change(self, name, *value):
    raise FrozenInstanceError("cannot assign to field '%s'" % name)


# --- the text of a param_str ---------------------------------------------------------------------

class _JSONDecodeError(ValueError):
    """No JSON; a ValueError of the hook is none of these."""


def _json_loads(text, object_pairs_hook):
    try:
        json.loads(text)
    except ValueError as error:
        raise _JSONDecodeError(str(error))

    def hook(pairs):
        return object_pairs_hook([(_native(name), value) for name, value in pairs])
    return _native(json.loads(text, object_pairs_hook=hook))


def _native(value):
    """Text of JSON as ``str``, which in Python 2 it is not."""
    if _OLD and isinstance(value, _UNICODE):
        return value.encode('utf-8')
    if isinstance(value, list):
        return [_native(each) for each in value]
    if isinstance(value, dict):
        return _Dict((_native(name), _native(each)) for name, each in value.items())
    return value


# --- NumPy ---------------------------------------------------------------------------------------

def _np_moveaxis(array, source, destination):
    order = [axis for axis in range(array.ndim) if axis != source % array.ndim]
    order.insert(destination % array.ndim, source % array.ndim)
    return array.transpose(order)


def _np_broadcast_to(array, shape):
    return np.broadcast_arrays(array, np.empty(shape, bool))[0]


def _np_full(shape, value):
    return _np_full_like(np.empty(shape), value)


def _np_full_like(array, value):
    filled = np.empty_like(array)
    filled[...] = value
    return filled


def _np_matmul(a, b):
    """Of b with up to two axes, or a with two and b with three."""
    if hasattr(np, 'matmul'):
        return np.matmul(a, b)
    return np.dot(a, b) if b.ndim < 3 else np.array([np.dot(a, each) for each in b])


def _no_kernels():
    """The compiled kernels are the package's; this file computes with NumPy."""
    return None
