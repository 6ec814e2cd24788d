# SPDX-License-Identifier: Apache-2.0
#
# What was given. Each rule says what must hold; the denials below are what does not.

package ringwall.grants

import data.ringwall.messages
import data.ringwall.subject

kind_known if input.call.kind in {"tool", "model", "operate", "secret", "message"}

default given := false

given if tool_given

given if listing

given if model_given

given if operating

given if svid_given

given if read_given

given if messages.given

# -- tools

tool := subject.role.tools[input.call.target] if {
	subject.registered
	input.call.kind == "tool"
	input.call.direction == "out"
	is_string(input.call.target)
}

# An argument that is undefined makes a whole `not f(argument)` undefined: negate rules only, never calls.
tool_known if is_object(tool)

tool_given if {
	tool_known
	answering
	declared
	named
	covered
	bounded
	delegated
}

# What a server asked for goes to it beside the arguments: only where its questions may be answered at all.
answering if object.get(input.call, "inputs", null) == null

answering if {
	some verb in {"elicitation.create", "sampling.createMessage", "roots.list"}
	subject.role.tools[concat("/", [split(input.call.target, "/")[0], verb])]
}

declared if {
	is_object(input.call.args)
	every name, _ in input.call.args {
		tool.args[name] == true
	}
}

named if {
	is_array(input.call.resources)
	count(input.call.resources) > 0
}

named if count(tool.resources) == 0

covered if covers(tool)

covers(given_tool) if {
	is_array(input.call.resources)
	every resource in input.call.resources {
		within_grant(resource, given_tool)
	}
}

within_grant(resource, given_tool) if {
	is_array(resource.key)
	some pattern in given_tool.resources
	pattern.type == resource.type
	within(resource.key, pattern)
}

within(key, pattern) if {
	pattern.subtree == false
	key == pattern.key
}

# A prefix of keys, never of texts: "team-1" is not in front of "team-10".
within(key, pattern) if {
	pattern.subtree == true
	array.slice(key, 0, count(pattern.key)) == pattern.key
	every part in key {
		not part in {".", ".."}
	}
}

bounded if bounds(tool)

bounds(given_tool) if {
	is_object(input.call.args)
	every argument, most in given_tool.max {
		at_most(argument, most)
	}
}

arguments := object.keys(input.call.args)

at_most(argument, _) if not argument in arguments

at_most(argument, most) if {
	is_number(input.call.args[argument])
	input.call.args[argument] <= most
}

# -- while others' tasks are under way: each of them must have the tool itself, or it is lent

delegated if {
	is_array(input.call.acting_for)
	every one in input.call.acting_for {
		lent(one)
	}
}

# concat makes it plain to the plan that these are texts: no number finds a key of the same digits.
lent(one) if lends(one)

lent(one) if is_object(own_tool(one))

lends(one) if {
	is_string(one)
	is_string(input.subject.id)
	is_string(input.call.target)
	data.ringwall.agents[input.subject.id].receive[concat("", [one])].lends[input.call.target] == true
}

# What it has itself: the tool of this name of another tenant has other servers and other data.
own_tool(one) := their_tool if {
	is_string(one)
	is_string(input.call.target)
	theirs := data.ringwall.agents[concat("", [one])]
	theirs.tenant == input.subject.tenant
	their_role := data.ringwall.tenants[concat("", [theirs.tenant])].roles[concat("", [theirs.role])]
	their_tool := their_role.tools[input.call.target]
	covers(their_tool)
	bounds(their_tool)
}

# Whom a human must let use it is not spared that by asking another.
unattended_for(one) if lends(one)

unattended_for(one) if own_tool(one).approval == "never"

# -- the listing, models, operators

listing if {
	subject.registered
	input.call.kind == "tool"
	input.call.direction == "out"
	input.call.target == "ringwall/list"
	input.call.args == {}
	input.call.resources == []
}

model_given if {
	model_named
	provider_tools_given
}

model_named if {
	subject.registered
	input.call.kind == "model"
	input.call.direction == "out"
	is_string(input.call.target)
	subject.role.models[input.call.target] == true
}

# Tools that run at the model's provider, read from the request itself: what other rings say of it is no evidence.
# Records from before there were several APIs have the request where now its name stands beside it.
requests contains input.call.args if is_object(input.call.args)

requests contains input.call.args.request if is_object(input.call.args.request)

provider_tools_given if {
	is_object(input.call.args)
	every request in requests {
		searching_given(request)
		is_array(object.get(request, "tools", []))
		every tool in object.get(request, "tools", []) {
			tool_of_model_given(tool)
		}
	}
}

# The chat API asks for a search beside its tools.
searching_given(request) if object.get(request, "web_search_options", null) == null

searching_given(_) if provider_tool_given("web_search")

# The agent runs these itself, and every use of them is a call of its own. The provider gives some of them their names.
own_tools := {
	"function", "custom", "bash_20250124", "text_editor_20250124", "text_editor_20250429", "text_editor_20250728",
	"memory_20250818", "computer_20250124", "computer_20251124",
}

tool_of_model_given(tool) if {
	is_object(tool)
	object.get(tool, "type", "custom") in own_tools
}

tool_of_model_given(tool) if {
	is_string(tool.type)
	provider_tool_given(tool.type)
}

# "main/web_search" gives every version of it: "web_search_20250305".
provider_tool_given(type) if {
	subject.role.provider_tools[concat("/", [input.call.target, type])] == true
}

provider_tool_given(type) if {
	some granted, true in subject.role.provider_tools
	startswith(granted, concat("", [input.call.target, "/"]))
	startswith(concat("/", [input.call.target, type]), concat("", [granted, "_"]))
}

operating if {
	subject.operator
	input.call.kind == "operate"
	input.call.direction == "out"
	is_string(input.call.target)
	input.call.target in subject.verbs
}

# -- identities an agent may hold itself, and not while it works for others

unbidden if input.call.acting_for == []

svid_given if {
	subject.registered
	unbidden
	input.call.kind == "secret"
	input.call.direction == "out"
	input.call.target == "svid/x509"
	subject.role.svid["svid/x509"] == true
	input.call.args == {}
	input.call.resources == []
}

svid_given if {
	subject.registered
	unbidden
	input.call.kind == "secret"
	input.call.direction == "out"
	input.call.target == "svid/jwt"
	is_array(input.call.args.audience)
	count(input.call.args.audience) > 0
	every audience in input.call.args.audience {
		is_string(audience)
		subject.role.svid["svid/jwt"][audience] == true
	}
	object.get(input.call.args, "spiffe_id", input.subject.id) == input.subject.id
	input.call.resources == []
}

# -- secrets an agent may read itself, and not for others either

read_given if {
	subject.registered
	unbidden
	input.call.kind == "secret"
	input.call.direction == "out"
	is_string(input.call.target)
	subject.role.read[input.call.target] == true
	input.call.args == {}
	input.call.resources == []
}

# -- approval: a claim in the call is no evidence, the ring that verified it says so

approved if {
	is_string(input.call.approval)
	input.facts.policy.approved == true
}

unattended if {
	tool.approval == "never"
	is_array(input.call.acting_for)
	every one in input.call.acting_for {
		unattended_for(one)
	}
}

unattended if approved

ask contains {
	"code": "approval_required",
	"question": "this tool is given with approval = \"always\", here or to an agent that this work is for",
	"rule": "grants.rego: unattended",
} if {
	tool_given
	not unattended
}

# -- denials

deny contains {
	"code": "undeclared_argument",
	"reason": "an argument is not declared for this tool",
	"rule": "grants.rego: declared",
} if {
	tool_known
	not declared
}

deny contains {
	"code": "no_resource",
	"reason": "the call must name what it touches",
	"rule": "grants.rego: named",
} if {
	tool_known
	not named
}

deny contains {
	"code": "resource_not_granted",
	"reason": "a resource is outside what this agent was given",
	"rule": "grants.rego: covered",
} if {
	tool_known
	not covered
}

deny contains {
	"code": "over_maximum",
	"reason": "an argument must be a number within its limit",
	"rule": "grants.rego: bounded",
} if {
	tool_known
	not bounded
}

deny contains {
	"code": "beyond_delegation",
	"reason": "an agent that this work is for was not given this",
	"rule": "grants.rego: delegated",
} if {
	tool_known
	not delegated
}

deny contains {
	"code": "beyond_delegation",
	"reason": "not while another agent's task is under way",
	"rule": "grants.rego: unbidden",
} if {
	input.call.kind == "secret"
	not unbidden
}

deny contains {
	"code": "not_granted",
	"reason": "this is not given to the caller",
	"rule": "grants.rego: given",
} if {
	kind_known
	not tool_known
	not messages.may
	not model_named
	not given
}

deny contains {
	"code": "provider_tool_not_granted",
	"reason": "a tool of the model's provider is not given to the caller",
	"rule": "grants.rego: provider_tools_given",
} if {
	model_named
	not provider_tools_given
}

deny contains {
	"code": "not_granted",
	"reason": "this is not given to the caller",
	"rule": "messages.rego: addressed",
} if {
	messages.may
	not messages.addressed
}

deny contains {
	"code": "not_permitted",
	"reason": "calls of this kind are not given to anybody",
	"rule": "grants.rego: given",
} if {
	not kind_known
}
