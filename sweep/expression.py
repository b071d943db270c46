"""The small expression language of the matrix: `derive`, `require` and `exclude`.

Names, numbers, texts, comparison, arithmetic, and/or/not/in, min, max and ceil. A text is parsed with `ast` and turned
into closures; nothing is ever given to `eval`, so that a configuration stays data. Everything that can be wrong with
an expression itself is found when it is compiled, once, and not at the first of 100,000 cells.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.errors import UsageError, nearest

MAX_LENGTH = 1000
"""Characters; longer texts are refused, since Python's parser recurses."""

Env = Mapping[str, Any]
Evaluate = Callable[[Env], Any]

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"min": min, "max": max, "ceil": math.ceil}
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; call it with the settings of a cell."""

    text: str
    names: frozenset[str]
    evaluate: Evaluate

    def __call__(self, env: Env) -> Any:
        """Return the value for the cell `env`.

        Raises:
            UsageError: the values cannot be combined (a text and a number, a division by zero).
        """
        try:
            return self.evaluate(env)
        except (TypeError, ValueError, ArithmeticError) as error:
            values = ", ".join(f"{name}={env.get(name)!s}" for name in sorted(self.names))
            raise UsageError(f'"{self.text}" has no value for {values}: {error}') from None


def compile_expression(
    text: str, names: Mapping[str, Collection[str] | None], infinite: Collection[str] = ()
) -> Expression:
    """Compile `text`.

    names: what may be named, each with the texts it can have, or None for any value.
    infinite: names whose value 0 means infinity (unlimited concurrency).

    Raises:
        UsageError: the text is no expression, or says what the language does not have.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f'"{text[:60]}..." is longer than {MAX_LENGTH} characters')
    try:
        tree = ast.parse(text.strip(), mode="eval")
        compiler = _Compiler(text, names, infinite)
        evaluate = compiler.compile(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f'"{text}" is no expression: {reason}') from None
    return Expression(text, frozenset(compiler.used), evaluate)


class _Compiler:
    def __init__(self, text: str, names: Mapping[str, Collection[str] | None], infinite: Collection[str]) -> None:
        self.text, self.names, self.infinite = text, names, infinite
        self.used: set[str] = set()

    def compile(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return lambda env: value
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp(op=op, values=values):
                return self._bool(isinstance(op, ast.And), [self.compile(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.compile(operand)
                return lambda env: not inner(env)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compile(operand)
                return lambda env: -inner(env)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self._arithmetic(_ARITHMETIC[type(op)], self.compile(left), self.compile(right))
            case ast.Compare():
                return self._compare(node)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = [self.compile(item) for item in items]
                return lambda env: [part(env) for part in parts]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
                function, arguments = _FUNCTIONS[name], [self.compile(arg) for arg in args]
                return lambda env: function(*[argument(env) for argument in arguments])
            case ast.Call(func=called_node):
                called = ast.unparse(called_node)
                raise UsageError(f'"{self.text}" calls {called}; only {", ".join(_FUNCTIONS)} can be called')
        raise UsageError(f'"{self.text}" uses {ast.unparse(node)!r}, which the expression language does not have')

    def _name(self, node: ast.expr) -> Evaluate:
        name = ast.unparse(node)
        if name in _WORDS:
            word = _WORDS[name]
            return lambda env: word
        if name not in self.names:
            texts = {text for choices in self.names.values() if choices for text in choices}
            hint = f"; a text needs quotes: '{name}'" if name in texts else nearest(name, self.names)
            raise UsageError(f'"{self.text}" names {name}, which is no setting{hint}')
        self.used.add(name)
        if name in self.infinite:
            return lambda env: env[name] or math.inf
        if "." in name:
            return lambda env: env.get(name)
        return lambda env: env[name]

    def _bool(self, conjunction: bool, parts: list[Evaluate]) -> Evaluate:
        if len(parts) == 2:
            a, b = parts
            return (lambda env: a(env) and b(env)) if conjunction else (lambda env: a(env) or b(env))
        if conjunction:
            return lambda env: all(part(env) for part in parts)
        return lambda env: any(part(env) for part in parts)

    def _arithmetic(self, function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
        def evaluate(env: Env) -> Any:
            a, b = left(env), right(env)
            if isinstance(a, (str, list)) or isinstance(b, (str, list)):
                raise TypeError("arithmetic is for numbers")
            return function(a, b)

        return evaluate

    def _compare(self, node: ast.Compare) -> Evaluate:
        operands: list[ast.expr] = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if type(op) not in _COMPARE:
                raise UsageError(f'"{self.text}" uses "is"; write == or !=')
            self._check_texts(left, right)
            self._check_texts(right, left)
        functions, parts = [_COMPARE[type(op)] for op in node.ops], [self.compile(operand) for operand in operands]
        if len(functions) == 1:
            function, (a, b) = functions[0], parts
            return lambda env: function(a(env), b(env))

        def evaluate(env: Env) -> bool:
            values = [part(env) for part in parts]
            return all(f(a, b) for f, a, b in zip(functions, values, values[1:], strict=False))

        return evaluate

    def _check_texts(self, name: ast.expr, value: ast.expr) -> None:
        """Refuse a comparison with a text that the setting can never have: a typo there would silently do nothing."""
        choices = self.names.get(ast.unparse(name))
        if choices is None:
            return
        for item in value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]:
            if isinstance(item, ast.Constant) and isinstance(item.value, str) and item.value not in choices:
                hint = nearest(item.value, choices)
                raise UsageError(f'"{self.text}": {ast.unparse(name)} is never {item.value!r}{hint}')
