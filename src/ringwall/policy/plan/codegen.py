"""One Python function of each function of a plan.

IR locals become Python locals. A block becomes ``while True: ... break``: an undefined statement leaves it. A
scan becomes ``for``: an undefined statement goes on with the next element. A jump over several blocks sets ``b``
to the number of constructs still to leave. Blocks nested deeper than CPython allows move into nested functions.

Nothing of a plan reaches the source but integers and ``repr`` of its strings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from ringwall.policy.plan import reader
from ringwall.policy.plan.blocks import Construct, FlowWriter
from ringwall.policy.plan.limits import MAX_BLOCK_DEPTH, MAX_LOOPS, MAX_NUMBER_TEXT, MAX_STATEMENTS
from ringwall.policy.plan.reader import Node, broken

INPUT: Final = 0  # the local that holds the input document
DATA: Final = 1  # the local that holds the data document


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What calls in a plan may refer to."""

    functions: Mapping[str, tuple[int, int]]  # name -> (number, how many parameters)
    builtins: Mapping[str, tuple[int, int, bool]]  # name -> (number, arity, wants the context)


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


class FunctionWriter(FlowWriter):
    """Writes one plan function, or one entry point, as Python source."""

    def __init__(self, *, name: str, params: list[int], memo: int | None, strings: list[str], names: Names) -> None:
        super().__init__()
        self.name = name
        self.statements = 0
        self._params = params
        self._memo = memo
        self._strings = strings
        self._names = names

    # -- the function as a whole

    def function(self, blocks: list[Node]) -> str:
        """The source of a plan function: undefined unless a block returns."""
        for block in blocks:
            self._block(block)
        self._return("U")
        if self._memo is None:
            return self._finish([])
        return self._finish(["m = c.memo", f"r = m.get({self._memo}, MISSING)", "if r is not MISSING:",
                             " return r"])

    def entry_point(self, blocks: list[Node]) -> str:
        """The source of an entry point: the list of its results."""
        for block in blocks:
            self._block(block)
        self._emit("return rs")
        return self._finish(["rs = []"])

    def _finish(self, prologue: list[str]) -> str:
        params = ", ".join(["c", *(f"l{p}" for p in self._params)])
        locals_ = sorted(self._used - set(self._params))
        head = [f"def {self.name}({params}):", *(f" {line}" for line in prologue),
                " c.steps -= 1", " if c.steps < 0:", "  raise exhausted()", " b = 0"]
        head += [f" {' = '.join(f'l{n}' for n in locals_)} = U"] if locals_ else []
        return "\n".join([*head, *self._lines, ""])

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
        if constant and expression not in {"True", "False"}:
            return expression
        return f"freeze({expression})"

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
        args = [self._value(item)[0] for item in reader.nodes(stmt, "args")]
        result = self._local(stmt, "result")
        if name in self._names.functions:
            index, params = self._names.functions[name]
            called = f"f{index}(c, {', '.join(args)})"
        elif name in self._names.builtins:
            index, params, context = self._names.builtins[name]
            called = f"B{index}({', '.join(['c', *args] if context else args)})"
        else:
            raise broken(f"function {name[:80]!r} is not there")
        if params != len(args):
            raise broken(f"{name[:80]!r} is called with {len(args)} arguments instead of {params}")
        self._emit(f"{result} = {called}")
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
        self._emit(f"{target} = upsert({target}, {tuple(path)!r}, {value})" if path else f"{target} = {value}")
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
        self._emit(f"if {target} is not U and not equal({target}, {source}):")
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
        if constant and key not in {"True", "False"}:
            self._emit(f"{target} = {source}.get({key}, U) if type({source}) is dict else dot({source}, {key})")
        else:
            self._emit(f"{target} = dot({source}, {key})")
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
        return f"equal({a}, {b})"

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
        self._emit(f"{self._local(stmt, 'array')}.append({self._operand(stmt, 'value')[0]})")

    def _insert(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'object')}[{self._key(stmt, 'key')}] = {self._operand(stmt, 'value')[0]}")

    def _insert_once(self, stmt: Node) -> None:
        key, value = self._operand(stmt, "key")[0], self._operand(stmt, "value")[0]
        self._emit(f"insert_once({self._local(stmt, 'object')}, {key}, {value})")

    def _merge(self, stmt: Node) -> None:
        target, a, b = (self._local(stmt, name) for name in ("target", "a", "b"))
        self._emit(f"{target} = merge({a}, {b})")

    def _set_add(self, stmt: Node) -> None:
        self._emit(f"{self._local(stmt, 'set')}.add({self._key(stmt, 'value')})")

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
