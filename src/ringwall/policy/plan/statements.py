"""The statements of OPA's IR as lines of Python.

IR locals become Python locals. A block becomes ``while True: ... break``: an undefined statement leaves it. A
scan becomes ``for``: an undefined statement goes on with the next element. A jump over several blocks sets ``b``
to the number of constructs still to leave. Blocks nested deeper than CPython allows move into nested functions.

Nothing of a plan reaches the source but integers and ``repr`` of its strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ringwall.policy.builtins.table import Builtin
from ringwall.policy.plan import reader
from ringwall.policy.plan.blocks import Construct, FlowWriter
from ringwall.policy.plan.limits import LONG, MAX_BLOCK_DEPTH, MAX_LOOPS, MAX_NUMBER_TEXT, MAX_STATEMENTS
from ringwall.policy.plan.reader import Node, broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What calls in a plan may refer to."""

    functions: Mapping[str, tuple[int, int]]  # name -> (number, how many parameters)
    builtins: Mapping[str, tuple[int, Builtin]]  # name -> (number, what it is)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What the functions of one plan share while they are written."""

    names: Names
    strings: list[str]
    traced: bool  # whether members of rules' sets are noted with the place they come from
    sources: list[str] = field(default_factory=list[str])  # of functions that others were split into
    tables: list[dict[str, str]] = field(default_factory=list[dict[str, str]])  # constant -> name of a function


def number(source: str) -> int | float:
    """A number as the plan writes it. Raises PolicyError for what no JSON number is, or beyond a float's range."""
    if len(source) > MAX_NUMBER_TEXT:
        raise broken("a number is too long")
    try:
        return int(source) if source.lstrip("-").isdecimal() and source.isascii() else _finite(float(source))
    except ValueError as error:
        raise broken(f"{source[:40]!r} is no number") from error


def _finite(value: float) -> float:
    if value != value or value in (float("inf"), float("-inf")):
        raise broken("a number is beyond the range of a double")
    return value


class StatementWriter(FlowWriter):
    """Writes statements into one Python function."""

    def __init__(self, module: Module, *, name: str, params: list[int], memo: int | None = None,
                 rule: tuple[int, int] | None = None, parts: frozenset[str] = frozenset()) -> None:
        super().__init__()
        self.name = name
        self.statements = 0
        self._module = module
        self._params = params
        self._memo = memo
        self._strings = module.strings
        self._names = module.names
        self._rule = rule  # the function's number, and the local that it returns
        self._based = parts  # locals that hold parts of the base data

    # -- small things

    def _local(self, holder: Node, name: str) -> str:
        found = reader.local(holder, name)
        self._used.add(found)
        return f"l{found}"

    def _operand(self, holder: Node, name: str) -> tuple[str, bool]:
        """(expression, whether it is a constant)."""
        return self._value(reader.field(holder, name))

    def _value(self, operand: Node) -> tuple[str, bool]:
        match operand.get("type"):
            case "local":
                return self._local(operand, "value"), False
            case "string_index":
                return repr(self._strings[reader.whole(operand, "value", below=len(self._strings))]), True
            case "bool":
                value = operand.get("value")
                if not isinstance(value, bool):
                    raise broken("a boolean operand is no boolean")
                return repr(value), True
            case _:
                raise broken("an operand is of no known type")

    def _key(self, holder: Node, name: str) -> str:
        """An operand in frozen form."""
        expression, constant = self._operand(holder, name)
        if constant:
            return f"freeze({expression})" if expression in {"True", "False"} else expression
        self._weigh(expression)
        return f"freeze({expression})"

    def _weigh(self, expression: str) -> None:
        self._emit(f"if type({expression}) in BOXES: weigh(c, {expression})")

    def _charge(self, expression: str) -> None:
        self._emit(f"if type({expression}) in SIZED and len({expression}) > {LONG}: heavy(c, {expression})")

    def _held(self, holder: Node, name: str) -> str:
        """An operand that becomes a part of another value."""
        expression, constant = self._operand(holder, name)
        if not constant:
            self._weigh(expression)
        return expression

    def _block(self, block: Node) -> None:
        """A block as a loop that runs once."""
        self._after(self._once(lambda: self._statements(block)))

    def _statements(self, block: Node) -> None:
        for statement in reader.nodes(block, "stmts"):
            self.statements += 1
            if self.statements > MAX_STATEMENTS:
                raise broken("there are too many statements")
            kind = reader.text(statement, "type")
            writer = self._WRITERS.get(kind)
            if writer is None:
                raise broken(f"statement {kind[:40]!r} is not known")
            writer(self, reader.field(statement, "stmt"))

    def _return(self, value: str) -> None:
        if len(self._frames) > 1:
            raise broken("a return in a block that is nested too deep")
        if self._frame.saves:
            self._emit(f"c.memo = {self._frame.saves[0]}")
        if self._memo is not None:
            self._emit(f"m[{self._memo}] = {value}")
        self._emit(f"return {value}")

    # -- statements, by the names of OPA's IR

    def _return_local(self, stmt: Node) -> None:
        self._return(self._local(stmt, "source"))

    def _result_set_add(self, stmt: Node) -> None:
        self._emit(f"rs.append({self._local(stmt, 'value')})")

    def _block_stmt(self, stmt: Node) -> None:
        for block in reader.nodes(stmt, "blocks"):
            self._block(block)

    def _break(self, stmt: Node) -> None:
        self._jump(reader.whole(stmt, "index", below=MAX_BLOCK_DEPTH))

    def _call(self, stmt: Node) -> None:
        name = reader.text(stmt, "func")
        args = [self._value(item) for item in reader.nodes(stmt, "args")]
        result, given = self._local(stmt, "result"), ", ".join(arg for arg, _ in args)
        if name in self._names.functions:
            index, params = self._names.functions[name]
            self._emit(f"{result} = f{index}(c, {given})")
        elif name in self._names.builtins:
            index, builtin = self._names.builtins[name]
            params = builtin.arity
            for arg in dict.fromkeys(arg for arg, constant in args if not constant):
                if builtin.deep:
                    self._weigh(arg)
                else:
                    self._charge(arg)
            self._emit(f"{result} = B{index}({'c, ' if builtin.context else ''}{given})")
            if not builtin.small:
                self._charge(result)
        else:
            raise broken(f"function {name[:80]!r} is not there")
        if params != len(args):
            raise broken(f"{name[:80]!r} is called with {len(args)} arguments instead of {params}")
        self._undefined_if(f"{result} is U")

    def _call_dynamic(self, stmt: Node) -> None:
        path = "".join(f"{self._value(item)[0]}, " for item in reader.nodes(stmt, "path"))
        args = [self._local({"local": item}, "local") for item in reader.array(stmt, "args")]
        result = self._local(stmt, "result")
        self._emit(f"{result} = dynamic({', '.join(['c', 'D', f'({path})', *args])})")
        self._undefined_if(f"{result} is MISSING")
        self._emit(f"if {result} is U:")
        self._indent += 1
        self._jump(3)  # OPA: a function that is there but undefined is undefined for the whole reference
        self._indent -= 1

    def _with(self, stmt: Node) -> None:
        path = [self._strings[reader.whole({"path": item}, "path", below=len(self._strings))]
                for item in reader.array(stmt, "path")]
        value = self._operand(stmt, "value")[0]
        target = self._local(stmt, "local")
        saved, memo, done = self._name("s"), self._name("k"), self._name("u")
        self._emit(f"{saved} = {target}; {memo} = c.memo; c.memo = {{}}; {done} = False")
        self._emit(f"{target} = upsert(c, {target}, {tuple(path)!r}, {value})" if path else f"{target} = {value}")
        self._frame.saves.append(memo)
        construct = self._flagged(reader.field(stmt, "block"), done)
        self._frame.saves.pop()
        self._emit(f"{target} = {saved}; c.memo = {memo}")
        self._after(construct)
        self._undefined_if(f"not {done}")

    def _not(self, stmt: Node) -> None:
        done = self._name("u")
        self._emit(f"{done} = False")
        self._after(self._flagged(reader.field(stmt, "block"), done))
        self._undefined_if(done)

    def _flagged(self, block: Node, flag: str) -> Construct:
        """A block that sets ``flag`` when it gets to its end."""
        def body() -> None:
            self._statements(block)
            self._emit(f"{flag} = True")
        return self._once(body, flag)

    def _scan(self, stmt: Node) -> None:
        if len(self._frame.constructs) >= MAX_LOOPS:
            self._after(self._nested(lambda: self._loop(stmt)))
        else:
            self._loop(stmt)

    def _loop(self, stmt: Node) -> None:
        source, key, value = (self._local(stmt, name) for name in ("source", "key", "value"))
        self._emit(f"for {key}, {value} in scan(c, {source}):")
        self._emit_deeper("pass")  # the body may be empty
        self._inside(Construct("for"), lambda: self._statements(reader.field(stmt, "block")))

    def _assign_int(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = {reader.whole(stmt, 'value')}")

    def _assign_var(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = {self._operand(stmt, 'source')[0]}")

    def _assign_once(self, stmt: Node) -> None:
        target, source = self._local(stmt, "target"), self._operand(stmt, "source")[0]
        self._emit(f"if {target} is not U and not same(c, {target}, {source}):")
        self._emit(" raise conflict()")
        self._emit(f"{target} = {source}")

    def _reset(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = U")

    def _make_null(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = None")

    def _make_number_ref(self, stmt: Node) -> None:
        found = number(self._strings[reader.whole(stmt, "Index", below=len(self._strings))])
        self._emit(f"{self._local(stmt, 'target')} = {found!r}")

    def _make_array(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = []")

    def _make_object(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = {{}}")

    def _make_set(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'target')} = set()")

    def _dot(self, stmt: Node) -> None:
        (source, _), (key, constant) = self._operand(stmt, "source"), self._operand(stmt, "key")
        target = self._local(stmt, "target")
        lookup = "dot_base" if source in self._based else "dot"
        if constant and key not in {"True", "False"}:
            found = f"{source}.get({key}, U) if type({source}) is dict else {lookup}({source}, {key})"
            self._emit(f"{target} = {found}")
        else:
            self._weigh(key)
            self._emit(f"{target} = {lookup}({source}, {key})")
        self._undefined_if(f"{target} is U")

    def _len(self, stmt: Node) -> None:
        target = self._local(stmt, "target")
        self._emit(f"{target} = length({self._operand(stmt, 'source')[0]})")
        self._undefined_if(f"{target} is U")

    def _same(self, stmt: Node) -> str:
        (a, constant_a), (b, constant_b) = self._operand(stmt, "a"), self._operand(stmt, "b")
        if constant_a and constant_b:
            return repr(a == b)
        if constant_a or constant_b:  # booleans are two objects; a string equals strings only
            variable, constant = (b, a) if constant_a else (a, b)
            return f"{variable} {'is' if constant in {'True', 'False'} else '=='} {constant}"
        return f"same(c, {a}, {b})"

    def _equal(self, stmt: Node) -> None:
        self._undefined_if(f"not ({self._same(stmt)})")

    def _not_equal(self, stmt: Node) -> None:
        self._undefined_if(self._same(stmt))

    def _is_array(self, stmt: Node) -> None:
        self._undefined_if(f"type({self._operand(stmt, 'source')[0]}) is not list")

    def _is_object(self, stmt: Node) -> None:
        self._undefined_if(f"type({self._operand(stmt, 'source')[0]}) is not dict")

    def _is_set(self, stmt: Node) -> None:
        self._undefined_if(f"type({self._operand(stmt, 'source')[0]}) not in SETS")

    def _is_defined(self, stmt: Node) -> None:
        self._undefined_if(f"{self._local(stmt, 'source')} is U")

    def _is_undefined(self, stmt: Node) -> None:
        self._undefined_if(f"{self._local(stmt, 'source')} is not U")

    def _append(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'array')}.append({self._held(stmt, 'value')})")

    def _insert(self, stmt: Node) -> None:
        value = self._held(stmt, "value")
        self._emit(f"{self._local(stmt, 'object')}[{self._key(stmt, 'key')}] = {value}")

    def _insert_once(self, stmt: Node) -> None:
        key, value = self._held(stmt, "key"), self._held(stmt, "value")
        self._emit(f"insert_once(c, {self._local(stmt, 'object')}, {key}, {value})")

    def _merge(self, stmt: Node) -> None:
        target, a, b = (self._local(stmt, name) for name in ("target", "a", "b"))
        self._emit(f"{target} = merge(c, {a}, {b})")

    def _set_add(self, stmt: Node) -> None:
        member = self._key(stmt, "value")
        if self._module.traced and self._rule is not None and reader.local(stmt, "set") == self._rule[1]:
            place = f"{self._rule[0]}, {reader.whole(stmt, 'file')}, {reader.whole(stmt, 'row')}"
            self._emit(f"c.found.append(({member}, {place}))")
        self._emit(f"{self._local(stmt, 'set')}.add({member})")

    def _nop(self, stmt: Node) -> None:
        return None

    _WRITERS: ClassVar[Mapping[str, Callable[[Any, Node], None]]] = {
        "ArrayAppendStmt": _append, "AssignIntStmt": _assign_int,
        "AssignVarOnceStmt": _assign_once, "AssignVarStmt": _assign_var,
        "BlockStmt": _block_stmt, "BreakStmt": _break,
        "CallDynamicStmt": _call_dynamic, "CallStmt": _call,
        "DotStmt": _dot, "EqualStmt": _equal,
        "IsArrayStmt": _is_array, "IsDefinedStmt": _is_defined,
        "IsObjectStmt": _is_object, "IsSetStmt": _is_set,
        "IsUndefinedStmt": _is_undefined, "LenStmt": _len,
        "MakeArrayStmt": _make_array, "MakeNullStmt": _make_null,
        "MakeNumberIntStmt": _assign_int, "MakeNumberRefStmt": _make_number_ref,
        "MakeObjectStmt": _make_object, "MakeSetStmt": _make_set,
        "NopStmt": _nop, "NotEqualStmt": _not_equal, "NotStmt": _not,
        "ObjectInsertOnceStmt": _insert_once, "ObjectInsertStmt": _insert,
        "ObjectMergeStmt": _merge, "ResetLocalStmt": _reset,
        "ResultSetAddStmt": _result_set_add, "ReturnLocalStmt": _return_local,
        "ScanStmt": _scan, "SetAddStmt": _set_add, "WithStmt": _with,
    }
