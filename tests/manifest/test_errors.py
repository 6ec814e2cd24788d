"""The texts of errors: where, what was expected, the nearest right spelling."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.manifest.samples import FULL

from ringwall.errors import ManifestError
from ringwall.manifest.load import parse

HERE = Path("/etc/office/ringwall.toml")


def problems(old: str, new: str) -> list[str]:
    """What is found after one edit of the full manifest."""
    assert old in FULL
    with pytest.raises(ManifestError) as caught:
        parse(FULL.replace(old, new, 1), HERE)
    return list(caught.value.problems)


def test_an_unknown_operation_is_named_as_the_terminal_note_shows_it() -> None:
    assert problems('"docs/read" =', '"docs/raed" =') == [(
        'ringwall.toml: tenants.acme.roles.analyst.tools."docs/raed"\n'
        '  no such operation of tools.docs (did you mean "docs/read"?)\n'
        "  known: docs/list, docs/read")]


# (text of the full manifest, its replacement, the key path, what the problem says)
TABLE = [
    ("version = 1", "version = 2", "version", "expected 1, not 2"),
    ("version = 1", "", "version", "is missing\n  write: version = 1"),
    ("version = 1", "version = true", "version", "expected 1, not true"),
    ("acme.example", "Acme.Example", "trust_domain", "use lower-case letters"),
    ("clean_waiver = false", "clean_waiver = 0", "flow.clean_waiver", "expected true or false, not 0"),
    ("quota_mib = 64", "quota_mib = 1.5", "audit.quota_mib", "expected a whole number from 16 to 1048576"),
    ("response = 0.8", "response = 1.8", "guard.block_at.response", "expected a number from 0 to 1, not 1.8"),
    ("response = 0.8", "response = nan", "guard.block_at.response", "expected a number from 0 to 1"),
    ("response = 0.8", "responce = 0.8", "guard.block_at.responce", 'did you mean "response"?'),
    ("quota_mib = 64", 'anchors = ["x"]', "audit.anchors", "not available in this version"),
    ("https://id.acme.example", "http://127.0.0.1", "identity.issuer", "expected an https URL"),
    ("https://id.acme.example", "acme", "identity.issuer", "expected a URL"),
    ('"partner.test"', '"Partner.test"', 'identity.federation."Partner.test"', "use lower-case letters"),
    ('"partner.test"', '"acme.example"', 'identity.federation."acme.example"', "own trust domain"),
    ('bundle = "/etc/ringwall/partner.json"', "", 'identity.federation."partner.test".bundle', "is missing"),
    ('bundle = "/etc/ringwall/policy.tar.gz"', "", "policy.keys", "there is no bundle"),
    ('keys = ["/etc/ringwall/policy.pub.pem"]', "", "policy.scope", "without a signature"),
    ('scope = "production"', 'scope = "a b"', "policy.scope", "expected a name"),
    ('backend = "opa"', 'backend = "cedar"', "policy.backend", "is not one of them"),
    ('backend = "opa"', "", "policy.opa", "belongs to backend"),
    ('opa = "unix:/run/opa.sock"', "", "policy.opa", "belongs to backend"),
    ("unix:/run/opa.sock", "unix:run/opa.sock", "policy.opa", "an absolute path"),
    ("unix:/run/opa.sock", "http://opa.example:8181", "policy.opa", "http is for this machine only"),
    ("unix:/run/opa.sock", "https://127.0.0.1:8181", "policy.opa", "an address of this machine"),
    ("unix:/run/opa.sock", "http://127.0.0.1:8181/v1", "policy.opa", "an address of this machine"),
    ("uid = 1001", "uid = 1000", "operators.bob.uid", "1000 is the uid of operators.alice too"),
    ("uid = 1001", "uid = -1", "operators.bob.uid", "expected a whole number from 0"),
    ("uid = 1001", "", "operators.bob.uid", "is missing"),
    ("uid = 1001", "uid = 1001\nshell = true", "operators.bob.shell", "no such key"),
    ('roles = ["admin"]', 'roles = ["amdin"]', "operators.bob.roles[0]", 'did you mean "admin"?'),
    ('roles = ["admin"]', "roles = []", "operators.bob.roles", "may do nothing"),
    ('roles = ["admin"]', 'roles = ["launcher"]', "operators.two_person", "and there is one"),
    ('["responder", "launcher"]', '["launcher"]', "operators.two_person", "needs two operators"),
    ('["thaw"]', '["freeze"]', "operators.two_person[0]", "needs nobody else"),
    ('["thaw"]', '["thaw", "endorsements.add"]', "operators.two_person", '"endorsements.add" needs two'),
    ("[operators.bob]", "[operators.'bob smith']", 'operators."bob smith"', "expected a name"),
    ('two_person = ["thaw"]', 'two_persons = ["thaw"]', "operators.two_persons", "expected a table"),
    ('socket = "/run', 'socket = "../run', "operators.socket", '".." hides'),
    ("[models.main]", '[approvals]\nwebhook = "http://127.0.0.1:9/x"\n[models.main]', "approvals.webhook_secret",
     "is missing"),
    ("[models.main]", '[approvals]\nwebhook_secret = "llm-kye"\n[models.main]', "approvals.webhook_secret",
     'did you mean "llm-key"?'),
    ("[models.main]", '[approvals]\ndeadline_s = 0\n[models.main]', "approvals.deadline_s", "from 1 to 604800"),
    ("[models.main]", '[approvals]\nper_agent = 0\n[models.main]', "approvals.per_agent", "from 1 to 1000"),
    *(("[models.main]", f'[approvals]\nwebhook_secret = "llm-key"\nwebhook = "{wrong}"\n[models.main]',
       "approvals.webhook", said) for wrong, said in (
           ("http://10.0.0.1:80/x", "http is for this machine only"),
           ("https://127.0.0.1:80/", "a forwarder of yours"),
           ("http://localhost:80/", "a forwarder of yours"), ("http://127.0.0.1/x", "a forwarder of yours"),
           ("unix:x.sock", "an absolute path"), ("unix:/a/../x", "an absolute path"),
           ("unix:/" + "x" * 107, "at most 107 bytes"), ("http://u:p@127.0.0.1:80/", "no user or password"))),
    ('wire = "openai"', 'wire = "gemini"', "models.main.wire", "is not one of them"),
    ('wire = "openai"', 'wire = "opneai"', "models.main.wire", '(did you mean "openai"?)'),
    ("https://llm", "http://llm", "models.main.url", "http is for this machine only"),
    ("https://llm", "https://me:pw@llm", "models.main.url", "no user or password"),
    ("/v1/", "/v1?x=1", "models.main.url", "no query"),
    ("/v1/", "/../v1", "models.main.url", "expected a plain path"),
    ("https://llm.acme.example", "https://llm:99999", "models.main.url", "expected a URL"),
    ("https://llm.acme.example", "ftp://llm", "models.main.url", "expected a URL"),
    ('secret = "llm-key"', 'secret = "llm-kye"', "models.main.secret", 'did you mean "llm-key"?'),
    ('clearance = "private"', 'clearance = "privat"', "models.main.clearance", 'did you mean "private"?'),
    ('command = ["docs-mcp", "/srv/docs", "/srv/docs"]', "", "tools.docs", "exactly one of command, python,"),
    ('builtin = "echo"', 'builtin = "echo"\npython = "x"', "tools.echo", "it has python and builtin"),
    ('builtin = "echo"', 'builtin = "s3"', "tools.echo.url", "is missing"),
    ('builtin = "echo"', 'builtin = "echo"\nurl = "https://x.example"', "tools.echo.url", "belongs to openapi"),
    ('builtin = "echo"', 'builtin = "echo"\nread_only = ["/srv"]', "tools.echo", "brings its own operations"),
    ('python = "acme.tools.pay"', 'python = "acme tools"', "tools.pay.python", "name of a Python module"),
    ('"/srv/docs", "shared"]', '"/srv/docs", "../shared"]', "tools.docs.read_only[1]", '".." hides'),
    ('"/srv/docs", "shared"]', '"/srv/docs", "~/shared"]', "tools.docs.read_only[1]", '"~" is'),
    ('"/srv/docs", "shared"]', '"/srv/docs", "/"]', "tools.docs.read_only[1]", "the whole machine"),
    ('"/srv/docs", "shared"]', '"/srv/docs", "/srv/docs/."]', "tools.docs.read_only[1]", "is there already"),
    ('effect = "pay"', 'effect = "pray"', "tools.pay.ops.send.effect", '(did you mean "pay"?)'),
    ('path = "selector:path"', 'path = "selektor:path"', "tools.docs.ops.read.args.path", 'mean "selector"?'),
    ('path = "selector:path"', 'path = "selector:pth"', "tools.docs.ops.read.args.path", 'did you mean "path"?'),
    ('to = "target:iban"', 'to = "target"', "tools.pay.ops.send.args.to", '"target" needs the kind'),
    ('subject = "payload"', 'subject = "payload:x"', "tools.pay.ops.send.args.subject", "takes no kind"),
    ('link = "url"', 'link = "url:path"', "tools.pay.ops.send.args.link", 'the kind of "url" is url'),
    ('owner = "C"', 'owner = "X"', "tools.docs.ops.read.returns.owner", "expected an integrity"),
    ('"U private"', '"U privat"', 'tools.docs.ops.read.returns."*"', 'did you mean "private"?'),
    ("[tools.docs.ops.list]", '[tools.docs.ops."li/st"]', 'tools.docs.ops."li/st"', "expected a name"),
    ('from = "file"', 'from = "vault"', "secrets.llm-key.file", "does not belong to from"),
    ('from = "file"\n', "", "secrets.llm-key.from", 'is missing\n  write: from = "file"'),
    ("/etc/ringwall/llm-key", "/srv/docs/llm-key", "secrets.llm-key.file", "tools.docs.read_only shows"),
    ('header = "X-Key"', 'header = "Host"', "secrets.llm-key.inject.header", "may carry no secret"),
    ('header = "X-Key"', 'header = "X: y"', "secrets.llm-key.inject.header", "name of a header"),
    ('header = "X-Key"', 'header = "X-Key", format = "a"', "secrets.llm-key.inject.format", "{} exactly once"),
    ('header = "X-Key"', 'header = "X-Key", paths = ["/v1"]', "secrets.llm-key.inject.paths[0]",
     "expected a method and a path"),
    ('header = "X-Key"', 'header = "X-Key", pointer = "/key"', "secrets.llm-key.inject", "exactly one of"),
    ("600/min", "600/mn", "tenants.acme.limits.calls", '(did you mean "min"?)'),
    ("600/min", "0/min", "tenants.acme.limits.calls", "expected numbers from 1"),
    ("600/min", "600 per min", "tenants.acme.limits.calls", 'a rate such as "60/min"'),
    ('calls = "600/min"', "calls = 600", "tenants.acme.limits.calls", "burst 10\", not 600"),
    ('calls = "600/min"', 'money_per_day = "5 EUR"', "tenants.acme.limits.money_per_day", 'not "5 EUR"'),
    ('calls = "600/min"', "money_per_day = 5", "models.main.price", "has a budget of money"),
    ('"docs/list" = []', '"docs/list" = { limits = { tokens_per_day = 5 } }',
     'tenants.acme.roles.analyst.tools."docs/list".limits', "uses no tokens"),
    ('"docs/list" = []', '"docs/list" = { resource_limits = { calls = "1/min" } }',
     'tenants.acme.roles.analyst.tools."docs/list".resource_limits', "is given no resource"),
    ('concurrent = 4', 'on_store_down = "allow"', "tenants.acme.roles.analyst.limits.on_store_down", "deny"),
    ("[models.main]", '[limits]\nstore = "redis://10.0.0.1:6379/0"\n[models.main]', "limits.store", "rediss://"),
    ("[models.main]", '[limits]\nstore = "redis://:pass@127.0.0.1:6379/0"\n[models.main]', "limits.store",
     'expected "memory"'),
    ("[models.main]", '[limits]\nstore = "rediss://x.example:0/0"\n[models.main]', "limits.store", "a port from 1"),
    ("[models.main]", '[limits]\nstore = "unix:redis.sock"\n[models.main]', "limits.store", "absolute path"),
    ("[models.main]", '[limits]\npassword_file = "/srv/docs/redis"\n[models.main]', "limits.password_file",
     "tools.docs.read_only shows"),
    ("200000/session", "200000/day", "tenants.acme.roles.analyst.limits.tokens", "tokens a session"),
    ("concurrent = 4", 'concurrent = "four"', "tenants.acme.roles.analyst.limits.concurrent", 'not "four"'),
    ('models = ["main"]', 'models = ["mian"]', "tenants.acme.roles.analyst.models", 'did you mean "main"?'),
    ('models = ["main"]', 'models = ["main", "main"]', "tenants.acme.roles.analyst.models[1]", "there already"),
    ('secrets = ["llm-key"]', 'secrets = ["x"]', "tenants.acme.roles.analyst.secrets", "there is no secrets.x"),
    ('secrets = ["llm-key"]', "secrets = []", "tenants.acme.roles.analyst.models", 'needs the secret "llm-key"'),
    ('"docs/list" = []', '"dics/list" = []', 'tenants.acme.roles.analyst.tools."dics/list"', "mean \"docs/list\"?"),
    ('"docs/list" = []', '"docs" = []', "tenants.acme.roles.analyst.tools.docs", "expected a name"),
    ('"docs/list" = []', '"docs/list" = ["path:/x"]', 'tenants.acme.roles.analyst.tools."docs/list"', "write: []"),
    ('"docs/list" = []', '"docs/list" = 3', 'tenants.acme.roles.analyst.tools."docs/list"', "a list or a table"),
    ('["path:/srv/docs/public/"]', "[]", 'tenants.acme.roles.analyst.tools."docs/read"',
     'write for instance: ["path:/srv/docs/"]'),
    ('["path:/srv/docs/public/"]', '["email:@x.example"]', 'tenants.acme.roles.analyst.tools."docs/read"',
     "no argument of this kind\n  known: path"),
    ('["path:/srv/docs/public/"]', '["/srv"]', 'tenants.acme.roles.analyst.tools."docs/read".resources[0]',
     "is no kind of resource"),
    ("max = { amount", "max = { amuont", 'tenants.acme.roles.analyst.tools."pay/send".max.amuont',
     'did you mean "amount"?'),
    ('approval = "always"', 'approval = "alway"', 'tenants.acme.roles.analyst.tools."pay/send".approval', "always"),
    ('role = "analyst"', 'role = "analist"', "tenants.acme.agents.ana.role", 'did you mean "analyst"?'),
    ('role = "analyst"', "", "tenants.acme.agents.ana.role", "is missing"),
    ('work = "/srv/work"', 'work = "/srv/pay/x"', "tenants.acme.agents.ana.work", "with tools.pay.writable"),
    ("[tenants.acme.agents.ana]", '[tenants.acme.agents."a b"]', 'tenants.acme.agents."a b"', "expected a name"),
    ("[tenants.acme]", "[tenants.system]\n[tenants.acme]", "tenants.system", "Ringwall's own log"),
    ('python = "acme.tools.pay"', 'python = "p\\u200b"', "tools.pay.python", "U+200B ZERO WIDTH SPACE"),
]


@pytest.mark.parametrize(("old", "new", "key", "says"), TABLE, ids=[f"{k}-{n[:24]}" for _, n, k, _ in TABLE])
def test_each_fault_is_named_at_its_key(old: str, new: str, key: str, says: str) -> None:
    found = problems(old, new)
    flat = [" ".join(text.split()) for text in found]
    assert any(text.startswith(f"ringwall.toml: {key}\n") for text in found), found
    assert any(" ".join(says.split()) in text for text in flat), found


@pytest.mark.parametrize(("old", "new", "place", "says"), [
    ("version = 1", "version = 1\nversion = 1", "line 2, column 12", "Cannot overwrite a value"),
    ("version = 1", "version = ", "line 1, column 11", "Invalid value"),
    ("version = 1", "version = 1 # \u202e", "line 1", "U+202E RIGHT-TO-LEFT OVERRIDE"),
    ("version = 1", "vers\x00ion = 1", "line 1", "U+0000 control character"),
    ("version = 1", "version = 1979-99-99", "", "is not TOML"),
])
def test_a_text_that_is_not_toml_is_named_by_line(old: str, new: str, place: str, says: str) -> None:
    found = problems(old, new)
    assert len(found) == 1
    assert found[0].startswith(f"ringwall.toml: {place}\n" if place else "ringwall.toml")
    assert says in found[0]


def test_all_faults_are_named_at_once_and_a_fault_is_not_named_twice() -> None:
    with pytest.raises(ManifestError) as caught:
        parse(FULL.replace('effect = "read"\nargs = { path', 'effect = "raed"\nargs = { pth', 1)
              .replace('role = "analyst"', 'role = "analist"', 1).replace("600/min", "x"), HERE)
    assert len(caught.value.problems) == 3
    assert caught.value.code == "bad_manifest"
    assert "ringwall check" in caught.value.remedy


def test_a_thousand_faults_are_counted_and_not_listed() -> None:
    text = FULL + "\n" + "\n".join(f"[tools.t{n}]" for n in range(1000))
    with pytest.raises(ManifestError) as caught:
        parse(text, HERE)
    assert caught.value.problems[-1] == "ringwall.toml: and 950 more"


def test_names_are_shown_escaped_and_cut() -> None:
    text = problems("version = 1", 'version = 1\n"' + "é" * 500 + '" = 1')[0]
    assert "\\u00e9" in text
    assert len(text) < 600


def test_two_agents_may_not_share_a_work_folder() -> None:
    both = '[tenants.acme.agents.bob]\nrole = "analyst"\nwork = "/srv/work/bob"\n[tenants.acme.agents.ana]'
    assert "overlaps with" in problems("[tenants.acme.agents.ana]", both)[0]


@pytest.mark.parametrize("look", [
    '[tenants.acme.agents.bob]\nrole = "analyst"\nread_only = ["/srv/work"]\n[tenants.acme.agents.ana]',
    '[tenants.acme.agents.bob]\nrole = "analyst"\nread_only = ["/srv/work/notes"]\n[tenants.acme.agents.ana]',
    '[tenants.acme.agents.bob]\nrole = "analyst"\nread_only = ["/srv/pay"]\n[tenants.acme.agents.ana]',
])
def test_an_agent_may_not_look_into_a_folder_that_another_process_writes(look: str) -> None:
    assert "overlaps with" in problems("[tenants.acme.agents.ana]", look)[0]


def test_a_tool_server_may_not_read_what_an_agent_writes_and_give_it_out_as_its_own() -> None:
    assert "overlaps with" in problems('read_only = ["/srv/docs", "shared"]', 'read_only = ["/srv"]')[0]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:1/v1",
                                 "https://[2001:db8::1]/v1", "https://x/v1"])
def test_urls_of_this_machine_may_be_http(url: str) -> None:
    manifest = parse(FULL.replace("https://llm.acme.example/v1/", url), HERE)
    assert manifest.models["main"].url == url
