"""Which rights on which tables a role of PostgreSQL gets, and whether PUBLIC gives it more.

A location is ``table:schema.name`` or ``table:database.schema.name`` in its canonical spelling
(``capability.resources.table``); ``table:schema.`` is every table that the schema has when the role is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers.interface import refused

MAX_TABLES: Final = 64  # of one credential: each is a statement
Run: TypeAlias = Callable[..., Sequence[Sequence[str | None]]]
"""Runs one statement with parameters; gives its rows."""
_READ: Final = ("SELECT",)
_WRITE: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_OF_ACTION: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"read": _READ, "write": _WRITE})
_NAME: Final = re.compile(r'([a-z_][a-z0-9_$]*)|"([^"\x00]+)"')
_OURS: Final = frozenset({"pg_catalog", "information_schema"})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """A table, or a whole schema where ``table`` is empty."""

    schema: str
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a role may do: the privileges of each place."""

    of: Mapping[Place, tuple[str, ...]]


def inexpressible(secret: Secret, details: Sequence[Detail]) -> str:
    """Why a role cannot have exactly these rights; empty: it can. For ``ringwall check``."""
    return wrong(details, database(secret.url))


def database(url: str) -> str:
    """The database that a ``postgresql://`` URL names."""
    return urlsplit(url).path.removeprefix("/")


def wrong(details: Sequence[Detail], name: str) -> str:
    """Why no role can have exactly these rights; empty: one can."""
    for detail in details:
        if not detail.actions or not set(detail.actions) <= set(_OF_ACTION):
            return f"{detail.identifier}: a table's rights are of the effects read and write, nothing else"
        for location in detail.locations:
            if isinstance(found := _place(location, name), str):
                return found
    if sum(len(detail.locations) for detail in details) > MAX_TABLES:
        return f"more than {MAX_TABLES} tables"
    return ""


def rights(details: Sequence[Detail], name: str) -> Rights:
    """What to grant. Raises Refused: ``scope_empty``, ``scope_too_large``, ``scope_inexpressible``."""
    if sum(len(detail.locations) for detail in details) > MAX_TABLES:
        raise refused("scope_too_large", f"more than {MAX_TABLES} tables")
    if problem := wrong(details, name):
        raise refused("scope_inexpressible", problem)
    found: dict[Place, tuple[str, ...]] = {}
    for detail in details:
        given = _WRITE if "write" in detail.actions else _READ
        for location in detail.locations:
            place = _place(location, name)
            if isinstance(place, Place):
                found[place] = max(found.get(place, ()), given, key=len)
    if not found:
        raise refused("scope_empty", "no table is named")
    return Rights(of=found)


def grant(run: Run, role: str, wanted: Rights) -> None:
    """Grant it, in the transaction that is open, and look at what the role has then.

    Raises:
        Refused: ``provider_denied``: a table is not there, or the admin may not grant on it; ``provider_wider``.

    """
    name = quoted(role)
    for schema in sorted({place.schema for place in wanted.of}):
        run(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {name}")
    for place, given in sorted(wanted.of.items()):
        what = f"TABLE {quoted(place.schema)}.{quoted(place.table)}" if place.table else \
            f"ALL TABLES IN SCHEMA {quoted(place.schema)}"
        run(f"GRANT {', '.join(given)} ON {what} TO {name}")
    tables = _tables(run, wanted)
    for [sequence] in run(_SEQUENCES, _array(oid for oid, given in tables.items() if given == _WRITE)):
        run(f"GRANT USAGE ON SEQUENCE {sequence} TO {name}")
    _check(run, role, tables)


def quoted(name: str) -> str:
    """An identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


def _place(location: str, name: str) -> Place | str:
    """Where it is, or why it is nowhere."""
    kind, _, text = location.partition(":")
    if kind != "table":
        return f"{location} is no table"
    whole = text.endswith(".")
    names, rest = list[str](), text.removesuffix(".") if whole else text
    while True:
        found = _NAME.match(rest)
        if found is None:
            return f"{location} is no table"
        names.append(found[1] or found[2])
        rest = rest[found.end():]
        if not rest:
            break
        if not rest.startswith("."):
            return f"{location} is no table"
        rest = rest[1:]
    names += [""] if whole else []
    if len(names) not in {2, 3}:
        return f"{location} is no table"
    *above, schema, table = names
    if above not in ([], [name]):
        return f"{location} is in another database than {name}: a credential is good for one"
    if schema in _OURS or schema.startswith("pg_"):
        return f"{location} is the server's own"
    return Place(schema=schema, table=table)


def _tables(run: Run, wanted: Rights) -> dict[int, tuple[str, ...]]:
    """The numbers of the tables, with what each may be used for."""
    found: dict[int, tuple[str, ...]] = {}
    for place, given in wanted.of.items():
        for [oid] in run(_OIDS, place.schema, place.table):
            number = int(oid or 0)
            found[number] = max(found.get(number, ()), given, key=len)
    return found


def _check(run: Run, role: str, tables: Mapping[int, tuple[str, ...]]) -> None:
    """A GRANT by somebody who may not is a warning only, and what PUBLIC has comes with every role."""
    for given in (_READ, _WRITE):
        ours = _array(oid for oid, has in tables.items() if has == given)
        for privilege in given:
            if run(_LACKS, role, ours, privilege):
                raise refused("provider_denied", "the admin may not grant what was declared")
    read = _array(oid for oid, has in tables.items() if has == _READ)
    write = _array(oid for oid, has in tables.items() if has == _WRITE)
    if found := run(_WIDER, role, read, write):
        raise refused("provider_wider", "PUBLIC may use " + ", ".join(f"{kind} {what}" for kind, what in found))


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, sorted(numbers))) + "}"


_OIDS: Final = """
SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND ($2 = '' OR c.relname = $2) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')"""

_SEQUENCES: Final = """
SELECT DISTINCT format('%I.%I', n.nspname, c.relname) FROM pg_depend d
  JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
   AND d.refobjid = ANY ($1::oid[])"""

_LACKS: Final = """
SELECT c.oid FROM pg_class c WHERE c.oid = ANY ($2::oid[])
   AND NOT (has_table_privilege($1, c.oid, $3) AND has_schema_privilege($1, c.relnamespace, 'USAGE')) LIMIT 1"""

# What a role that is a member of nothing can use in the schemas it can reach, beyond what it was given. Parts of
# extensions are left out but for those that lead out of the database: they come with PUBLIC rights, by design.
_WIDER: Final = """
WITH near AS (
  SELECT oid, nspname FROM pg_namespace
   WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'
     AND has_schema_privilege($1, oid, 'USAGE')),
part AS (
  SELECT d.classid, d.objid, e.extname FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass WHERE d.deptype = 'e')
(SELECT 'table', format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN near n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p')
    AND NOT EXISTS (SELECT FROM part p WHERE p.classid = 'pg_class'::regclass AND p.objid = c.oid)
    AND (has_table_privilege($1, c.oid, 'TRUNCATE, TRIGGER') OR has_any_column_privilege($1, c.oid, 'REFERENCES')
      OR c.oid <> ALL ($3::oid[]) AND (has_table_privilege($1, c.oid, 'DELETE')
        OR has_any_column_privilege($1, c.oid, 'INSERT, UPDATE')
        OR c.oid <> ALL ($2::oid[]) AND has_any_column_privilege($1, c.oid, 'SELECT'))) LIMIT 3)
UNION ALL
(SELECT 'sequence', format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN near n ON n.oid = c.relnamespace
  WHERE CASE WHEN c.relkind = 'S' THEN has_sequence_privilege($1, c.oid, 'USAGE, SELECT, UPDATE') END
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjid = ANY ($3::oid[])) LIMIT 3)
UNION ALL
(SELECT 'function', format('%I.%I', n.nspname, f.proname) FROM pg_proc f JOIN near n ON n.oid = f.pronamespace
    JOIN pg_language l ON l.oid = f.prolang
    LEFT JOIN part p ON p.classid = 'pg_proc'::regclass AND p.objid = f.oid
  WHERE has_function_privilege($1, f.oid, 'EXECUTE')
    AND (p.extname IN ('dblink', 'http', 'pg_net', 'adminpack', 'plsh', 'pg_background', 'pg_cron')
      OR p.extname IS NULL AND (f.prosecdef OR NOT l.lanpltrusted AND l.lanname <> 'sql')) LIMIT 3)
UNION ALL
(SELECT 'function', f.proname FROM pg_proc f
  WHERE f.pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege($1, f.oid, 'EXECUTE')
    AND f.proname IN ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export',
      'pg_logfile_rotate', 'pg_reload_conf') LIMIT 3)
UNION ALL
(SELECT 'schema', format('%I', nspname) FROM pg_namespace
  WHERE nspname !~ '^pg_(toast|temp)' AND has_schema_privilege($1, oid, 'CREATE') LIMIT 3)
UNION ALL
(SELECT 'database', datname FROM pg_database
  WHERE datname = current_database() AND has_database_privilege($1, oid, 'CREATE'))
UNION ALL
(SELECT 'large object', m.oid::text FROM pg_largeobject_metadata m, aclexplode(m.lomacl) a
  WHERE a.grantee = 0 LIMIT 3)"""
