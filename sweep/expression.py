"""The small expression language: `derive`, `require` and `exclude` of the matrix, and questions to a table.

Names, numbers, texts, comparison, arithmetic, and/or/not/in, min, max and ceil. A text is parsed with `ast` and turned
into closures; nothing is ever given to `eval`, so that a configuration stays data. Everything that can be wrong with
an expression itself is found when it is compiled, once, and not at the first of 100,000 cells.

What is computed with is a Meaning: the values of one cell here (CELLS), whole columns in `analysis/where.py`.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.errors import UsageError, nearest

MAX_LENGTH = 1000
"""Characters; longer texts are refused, since Python's parser recurses."""
INFINITY = "unlimited"
"""How a name whose 0 means infinity spells it; beside such a name the text is the number."""

Env = Mapping[str, Any]
Evaluate = Callable[[Env], Any]

_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
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

_COMPUTED = (ast.BinOp, ast.Call, ast.Compare, ast.UnaryOp)
"""What is a number where its names are none of any value: times of a table have differences."""


def _conjunction(parts: Sequence[Evaluate]) -> Evaluate:
    if len(parts) == 2:
        a, b = parts
        return lambda env: a(env) and b(env)
    return lambda env: all(part(env) for part in parts)


def _disjunction(parts: Sequence[Evaluate]) -> Evaluate:
    if len(parts) == 2:
        a, b = parts
        return lambda env: a(env) or b(env)
    return lambda env: any(part(env) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the words of the language do with the values that names have.

    noun: what a name stands for, in messages.
    unlimited: turns the value of a name whose 0 means infinity.
    is_text: whether a value is none to compute with.
    shown: a value in a message.
    arithmetic: what + - * / // % do.
    """

    noun: str
    functions: Mapping[str, Callable[..., Any]]
    compare: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]
    conjunction: Callable[[Sequence[Evaluate]], Evaluate]
    disjunction: Callable[[Sequence[Evaluate]], Evaluate]
    negation: Callable[[Any], Any]
    unlimited: Callable[[Any], Any]
    is_text: Callable[[Any], bool]
    shown: Callable[[Any], str]
    arithmetic: Mapping[type[ast.operator], Callable[[Any, Any], Any]]


CELLS = Meaning(
    noun="setting",
    functions={"min": min, "max": max, "ceil": math.ceil},
    compare=_COMPARE,
    conjunction=_conjunction,
    disjunction=_disjunction,
    negation=operator.not_,
    unlimited=lambda value: value or math.inf,
    is_text=lambda value: isinstance(value, (str, list)),
    shown=str,
    arithmetic=ARITHMETIC,
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression; call it with what its names stand for."""

    text: str
    names: frozenset[str]
    evaluate: Evaluate
    meaning: Meaning = CELLS

    def __call__(self, env: Env) -> Any:
        """Return the value for `env`, for example the settings of a cell.

        Raises:
            UsageError: the values cannot be combined (a text and a number, a division by zero).
        """
        try:
            return self.evaluate(env)
        except RecursionError:
            raise UsageError(f'"{self.text[:60]}..." is nested too deep') from None
        except (TypeError, ValueError, ArithmeticError) as error:
            values = ", ".join(f"{name}={self.meaning.shown(env.get(name))}" for name in sorted(self.names))
            raise UsageError(f'"{self.text}" has no value for {values or "any cell"}: {error}') from None


def compile_expression(
    text: str,
    names: Mapping[str, Collection[str] | None],
    infinite: Collection[str] = (),
    meaning: Meaning = CELLS,
) -> Expression:
    """Compile `text`.

    names: what may be named, each with the texts it can have (a number has none), or None for any value.
    infinite: names whose value 0 means infinity (unlimited concurrency).

    Raises:
        UsageError: the text is no expression, or says what the language does not have.
    """
    if len(text) > MAX_LENGTH:
        raise UsageError(f'"{text[:60]}..." is longer than {MAX_LENGTH} characters')
    try:
        tree = ast.parse(text.strip(), mode="eval")
        compiler = _Compiler(text, names, infinite, meaning)
        evaluate = compiler.compile(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f'"{text}" is no expression: {reason}') from None
    return Expression(text, frozenset(compiler.used), evaluate, meaning)


class _Compiler:
    def __init__(
        self, text: str, names: Mapping[str, Collection[str] | None], infinite: Collection[str], meaning: Meaning
    ) -> None:
        self.text, self.names, self.infinite, self.meaning = text, names, infinite, meaning
        self.used: set[str] = set()

    def compile(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return lambda env: value
            case ast.Name() | ast.Attribute():
                return self._name(node)
            case ast.BoolOp(op=op, values=values):
                joined = self.meaning.conjunction if isinstance(op, ast.And) else self.meaning.disjunction
                return joined([self.compile(value) for value in values])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner, negation = self.compile(operand), self.meaning.negation
                return lambda env: negation(inner(env))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.compile(operand)
                return lambda env: -inner(env)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in self.meaning.arithmetic:
                return self._arithmetic(self.meaning.arithmetic[type(op)], self.compile(left), self.compile(right))
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                when, then, other = (ast.unparse(each) for each in (test, body, orelse))
                raise UsageError(
                    f'"{self.text}" uses if and else, which the expression language does not have; a condition counts'
                    f" as 1 or 0: {then} * ({when}) + {other} * (not ({when}))"
                )
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = [self.compile(item) for item in items]
                return lambda env: [part(env) for part in parts]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in self.meaning.functions and args:
                function, arguments = self.meaning.functions[name], [self.compile(arg) for arg in args]
                return lambda env: function(*[argument(env) for argument in arguments])
            case ast.Call(func=called_node):
                called = ast.unparse(called_node)
                raise UsageError(
                    f'"{self.text}" calls {called}; only {", ".join(self.meaning.functions)} can be called'
                )
        raise UsageError(f'"{self.text}" uses {ast.unparse(node)!r}, which the expression language does not have')

    def _name(self, node: ast.expr) -> Evaluate:
        name = ast.unparse(node)
        if name in _WORDS:
            word = _WORDS[name]
            return lambda env: word
        if name not in self.names:
            texts = {text for choices in self.names.values() if choices for text in choices}
            texts |= {INFINITY} if self.infinite else set()
            hint = f"; a text needs quotes: '{name}'" if name in texts else nearest(name, self.names)
            raise UsageError(f'"{self.text}" names {name}, which is no {self.meaning.noun}{hint}')
        self.used.add(name)
        if name in self.infinite:
            unlimited = self.meaning.unlimited
            return lambda env: unlimited(env[name])
        if "." in name:
            return lambda env: env.get(name)
        return lambda env: env[name]

    def _arithmetic(self, function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
        is_text = self.meaning.is_text

        def evaluate(env: Env) -> Any:
            a, b = left(env), right(env)
            if is_text(a) or is_text(b):
                raise TypeError("arithmetic is for numbers")
            value = function(a, b)
            if isinstance(value, float) and math.isnan(value):
                raise ArithmeticError(f"{a} and {b} give no number")
            return value

        return evaluate

    def _compare(self, node: ast.Compare) -> Evaluate:
        operands: list[ast.expr] = [node.left, *node.comparators]
        links = []
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if type(op) not in _COMPARE:
                raise UsageError(f'"{self.text}" uses "is"; write == or !=')
            a, b = self._beside(right, left), self._beside(left, right)
            links.append(self._link(self.meaning.compare[type(op)], self.compile(a), self.compile(b)))
        return links[0] if len(links) == 1 else self.meaning.conjunction(links)

    @staticmethod
    def _link(function: Callable[[Any, Any], Any], a: Evaluate, b: Evaluate) -> Evaluate:
        return lambda env: function(a(env), b(env))

    def _beside(self, other: ast.expr, value: ast.expr) -> ast.expr:
        """Return `value` as it is compared with `other`, where `unlimited` may be a number.

        A constant that the other can never be is refused: a typo there would silently do nothing.
        """
        choices: Collection[str] | None = ()
        if isinstance(other, _COMPUTED):
            named = [each.id for each in ast.walk(other) if isinstance(each, ast.Name)]
            choices = None if any(self.names.get(name, ()) is None for name in named) else ()
        else:
            choices = self.names.get(ast.unparse(other))
        if choices is None:
            return value
        if isinstance(value, (ast.List, ast.Tuple)):
            return ast.List([self._constant_beside(other, choices, item) for item in value.elts], ast.Load())
        return self._constant_beside(other, choices, value)

    def _constant_beside(self, other: ast.expr, choices: Collection[str], item: ast.expr) -> ast.expr:
        if not isinstance(item, ast.Constant) or not isinstance(item.value, (str, int, float)):
            return item
        name = ast.unparse(other)
        if name in self.infinite and item.value == INFINITY:
            return ast.Constant(math.inf)
        if item.value in choices or (not choices and not isinstance(item.value, str)):
            return item
        known = [*choices, INFINITY] if name in self.infinite else choices
        hint = nearest(str(item.value), known) or ("" if choices else "; write its values without quotes")
        raise UsageError(f'"{self.text}": {name} is never {item.value!r}{hint}')
