"""The text of a Caffe param_str, read as named options.  It is parsed, never evaluated."""
import ast
import json
from typing import Any, Dict, List, Tuple

EXAMPLE = 'for example {"ignore_label": 255, "smooth": 1.0}'


def parse_param_str(text: str) -> Dict[str, Any]:
    """The dict that a JSON object or a Python dict literal holds; empty text is an empty dict.

    Raises
    ------
    ValueError : text that is neither, or that names an option twice.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text, object_pairs_hook=_named_once)
    except (json.JSONDecodeError, RecursionError):
        value = _literal(text)
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f'param_str must hold named options, {EXAMPLE}; got {text!r}')
    return value


def _literal(text: str) -> Any:
    try:
        tree = ast.parse(text.strip(), mode='eval').body
        if any(isinstance(node, ast.BinOp) for node in ast.walk(tree)):
            raise ValueError('Python 3.6 adds up numbers in a literal')
        value = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError(f'param_str must be a JSON object or a Python dict literal, {EXAMPLE}; '
                         f'got {text!r}') from None
    if isinstance(tree, ast.Dict):
        _named_once([(ast.literal_eval(key), None) for key in tree.keys if key])
    return value


def _named_once(pairs: List[Tuple[Any, Any]]) -> Dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'param_str must name an option once; got {name!r} '
                             f'{names.count(name)} times')
    return dict(pairs)
