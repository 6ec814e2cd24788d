# SPDX-License-Identifier: Apache-2.0
#
# What was given. Each rule says what must hold; the denials below are what does not.

package ringwall.grants

import data.ringwall.subject

kind_known if input.call.kind in {"tool", "model", "operate", "secret"}

default given := false

given if tool_given

given if listing

given if model_given

given if operating

given if svid_given

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
	declared
	named
	covered
	bounded
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

covered if {
	is_array(input.call.resources)
	every resource in input.call.resources {
		within_grant(resource)
	}
}

within_grant(resource) if {
	is_array(resource.key)
	some pattern in tool.resources
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

bounded if {
	is_object(input.call.args)
	every argument, most in tool.max {
		at_most(argument, most)
	}
}

arguments := object.keys(input.call.args)

at_most(argument, _) if not argument in arguments

at_most(argument, most) if {
	is_number(input.call.args[argument])
	input.call.args[argument] <= most
}

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
	subject.registered
	input.call.kind == "model"
	input.call.direction == "out"
	is_string(input.call.target)
	subject.role.models[input.call.target] == true
}

operating if {
	subject.operator
	input.call.kind == "operate"
	input.call.direction == "out"
	is_string(input.call.target)
	input.call.target in subject.verbs
}

# -- identities an agent may hold itself

svid_given if {
	subject.registered
	input.call.kind == "secret"
	input.call.direction == "out"
	input.call.target == "svid/x509"
	subject.role.svid["svid/x509"] == true
	input.call.args == {}
	input.call.resources == []
}

svid_given if {
	subject.registered
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

# -- approval: a claim in the call is no evidence, the ring that verified it says so

approved if {
	is_string(input.call.approval)
	input.facts.policy.approved == true
}

unattended if tool.approval == "never"

unattended if approved

ask contains {
	"code": "approval_required",
	"question": "this tool is given with approval = \"always\"",
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
	"code": "not_granted",
	"reason": "this is not given to the caller",
	"rule": "grants.rego: given",
} if {
	kind_known
	not tool_known
	not given
}

deny contains {
	"code": "not_permitted",
	"reason": "calls of this kind are not given to anybody",
	"rule": "grants.rego: given",
} if {
	not kind_known
}
