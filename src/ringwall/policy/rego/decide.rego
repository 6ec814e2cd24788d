# SPDX-License-Identifier: Apache-2.0
#
# The entry points. `call` judges one call: nothing is allowed unless a rule of grants.rego gives it, and any
# member of `deny` refuses it. `list` says what may be shown: it has no arguments to judge.

package ringwall.decide

import data.ringwall.facts
import data.ringwall.grants
import data.ringwall.messages
import data.ringwall.site
import data.ringwall.subject

call := {
	"allow": allow,
	"deny": deny,
	"ask": ask,
	"remedy": remedy,
}

list := {"targets": visible}

default allow := false

allow if {
	count(deny) == 0
	count(ask) == 0
	grants.given
}

deny contains denial if some denial in subject.deny

deny contains denial if some denial in grants.deny

deny contains denial if some denial in messages.deny

deny contains denial if some denial in facts.deny

deny contains denial if some denial in site.deny

ask contains question if some question in grants.ask

ask contains question if some question in site.ask

remedies := {
	"not_attested": "see the identity ring's facts in this record",
	"unknown_agent": "declare the agent and its role in ringwall.toml",
	"not_main_process": "set processes = \"tree\" for this agent if its children may call",
	"not_granted": "add the tool, model, svid or secret to read to the role, or the skill to send and receive, in ringwall.toml",
	"provider_tool_not_granted": "add model/tool to models of the role, and the tool to provider_tools of the model",
	"undeclared_argument": "declare the argument under the tool's ops in ringwall.toml",
	"no_resource": "the call must name what it touches",
	"resource_not_granted": "add a pattern for this resource to the tool's grant",
	"over_maximum": "stay below the grant's max, or raise it",
	"envelope_missing": "agents of this trust domain send through Ringwall's own door",
	"loop": "the task may not come back to an agent that it is for",
	"too_many_hops": "raise [a2a] max_hops, or hand the task on less often",
	"beyond_delegation": "give it to the agent that the work is for, or add it to lends or relays of receive",
	"mode_not_declared": "declare the media type in the receiver's skill",
	"uri_not_declared": "declare the place of the file in uris of the receiver's skill",
	"not_permitted": "no rule of the policy allows calls of this kind",
	"guard_blocked": "see the guard ring's facts in this record",
	"flow_denied": "see the flow ring's facts in this record",
}

remedy := concat("; ", {remedies[denial.code] | some denial in deny})

visible contains target if {
	subject.registered
	subject.may_call
	some target in input.targets
	is_string(target)
	subject.role.tools[target]
	not target in site.hide
}
