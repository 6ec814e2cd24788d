# SPDX-License-Identifier: Apache-2.0
#
# Who calls. Everything is looked up in the manifest's data; what other rings found out is not believed here.

package ringwall.subject

tenant := data.ringwall.tenants[input.subject.tenant] if is_string(input.subject.tenant)

agent := tenant.agents[input.subject.agent] if is_string(input.subject.agent)

role := tenant.roles[input.subject.role] if is_string(input.subject.role)

id := concat("", [
	"spiffe://",
	data.ringwall.trust_domain,
	"/tenant/",
	input.subject.tenant,
	"/agent/",
	input.subject.agent,
	"/role/",
	input.subject.role,
])

registered if {
	input.subject.type == "process"
	agent.role == input.subject.role
	is_object(role)
	input.subject.id == id
}

# A peer's own certificate proves who it is; here is looked up whom it asks. What it may is for messages.rego.
received if {
	input.subject.type == "peer"
	is_string(input.subject.id)
	is_string(input.subject.receiver.id)
	receiver := data.ringwall.agents[input.subject.receiver.id]
	receiver.tenant == input.subject.tenant
	receiver.agent == input.subject.receiver.agent
	receiver.role == input.subject.receiver.role
}

operator if {
	input.subject.type == "operator"
	input.subject.tenant == "system"
	is_string(input.subject.name)
}

operators := data.ringwall.operators

# An operator's verbs come from the roles of [operators]; without that table, who may operate is admin.
verbs contains verb if {
	operator
	named := operators.named[input.subject.name]
	named.uid == input.subject.uid
	some verb, given in named.verbs
	given == true
}

verbs contains verb if {
	operator
	some verb, given in operators.unnamed
	given == true
}

known if registered

known if operator

known if received

may_call if {
	agent.processes == "one"
	input.subject.number == 0
}

may_call if {
	agent.processes == "tree"
	is_number(input.subject.number)
}

may_call if operator

# A peer speaks for itself. How many processes of the receiver may call is about those.
may_call if received

deny contains {
	"code": "unknown_agent",
	"reason": "this is no registered agent in this role",
	"rule": "subject.rego: known",
} if {
	not known
}

deny contains {
	"code": "not_main_process",
	"reason": "only the main process of this agent may call",
	"rule": "subject.rego: may_call",
} if {
	known
	not may_call
}
