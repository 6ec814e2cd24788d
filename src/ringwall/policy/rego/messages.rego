# SPDX-License-Identifier: Apache-2.0
#
# Messages between agents. Both ends must agree, skill by skill; a task goes only so far, never back to whom it is
# for, and only where all those may send that it is for. Looked up by SPIFFE ID; no name is believed.

package ringwall.messages

import data.ringwall.subject

outward if {
	input.call.kind == "message"
	input.call.direction == "out"
	subject.registered
}

inward if {
	input.call.kind == "message"
	input.call.direction == "in"
	subject.received
	input.call.args.peer == input.subject.id
	input.call.acting_for == []
}

known if outward

known if inward

local := input.subject.id if outward

local := input.subject.receiver.id if inward

here := data.ringwall.agents[input.subject.id] if {
	outward
	is_string(input.subject.id)
}

here := data.ringwall.agents[input.subject.receiver.id] if {
	inward
	is_string(input.subject.receiver.id)
}

peer := input.call.args.peer if is_string(input.call.args.peer)

there := data.ringwall.agents[input.call.args.peer] if is_string(input.call.args.peer)

elsewhere := data.ringwall.peers[input.call.args.peer] if is_string(input.call.args.peer)

skill := input.call.args.skill if is_string(input.call.args.skill)

method := input.call.args.method if is_string(input.call.args.method)

methods := {
	"SendMessage",
	"SendStreamingMessage",
	"GetTask",
	"ListTasks",
	"CancelTask",
	"SubscribeToTask",
	"CreateTaskPushNotificationConfig",
	"GetTaskPushNotificationConfig",
	"ListTaskPushNotificationConfigs",
	"DeleteTaskPushNotificationConfig",
	"GetExtendedAgentCard",
	"GetAgentCard",
	"PushNotification",
}

# What the receiver of a task pushes goes by the pair the other way round: its caller asked for it.
push if method == "PushNotification"

asks if {
	outward
	not push
}

asks if {
	inward
	push
}

grant := here.send[peer] if {
	is_string(peer)
	asks
}

grant := here.receive[peer] if {
	is_string(peer)
	known
	not asks
}

# -- both ends

agreed contains one if {
	some one, given in grant.skills
	given == true
	is_object(elsewhere)
}

agreed contains one if {
	asks
	some one, given in grant.skills
	given == true
	is_string(local)
	there.receive[local].skills[one] == true
}

agreed contains one if {
	not asks
	some one, given in grant.skills
	given == true
	is_string(local)
	there.send[local].skills[one] == true
}

without_skill if method in {"GetAgentCard", "GetExtendedAgentCard", "ListTasks"}

may if {
	method in methods
	skill != ""
	skill in agreed
}

may if {
	skill == ""
	without_skill
	count(agreed) > 0
}

default target := ""

target := grant.name if skill == ""

target := concat("/", [grant.name, skill]) if skill != ""

actions := {"out": "send", "in": "receive"}

touched := [{
	"type": "peer",
	"id": peer,
	"key": grant.key,
	"action": actions[input.call.direction],
	"argument": "peer",
}] if {
	is_string(input.call.direction)
}

addressed if {
	input.call.target == target
	input.call.resources == touched
}

given if {
	known
	may
	addressed
	vouched
	apart
	near
	delegated
	typed
	located
}

# -- what came says on whose behalf, if a core of our own trust domain vouches for it, and only then

own if startswith(peer, concat("", ["spiffe://", data.ringwall.trust_domain, "/"]))

told := input.call.args.envelope if {
	inward
	is_object(input.call.args.envelope)
	is_array(input.call.args.envelope.chain)
}

unsaid if input.call.args.envelope == null

bare if method == "GetAgentCard"

vouched if outward

vouched if {
	inward
	own
	not bare
	is_object(told)
}

vouched if {
	inward
	own
	bare
	unsaid
}

vouched if {
	inward
	not own
	unsaid
}

# -- how far

behind := input.call.acting_for if {
	outward
	is_array(input.call.acting_for)
}

behind := told.chain if inward

behind := [] if {
	inward
	unsaid
}

hops := count(behind) + 1

near if push

near if hops <= data.ringwall.max_hops

back if {
	outward
	some one in behind
	one == peer
}

back if {
	inward
	some one in behind
	one == local
}

back if local == peer

apart if push

apart if {
	is_array(behind)
	not back
}

# -- on whose behalf

delegated if inward

delegated if push

delegated if {
	outward
	is_array(behind)
	every one in behind {
		relayed(one)
	}
}

relayed(one) if {
	is_string(one)
	theirs := data.ringwall.agents[concat("", [one])] # a text for the plan too: no number finds its digits
	of_skill(theirs.send[concat("", [peer])].skills)
}

relayed(one) if {
	is_string(one)
	is_string(peer)
	of_skill(here.receive[one].relays[peer])
}

of_skill(skills) if {
	skill != ""
	skills[skill] == true
}

of_skill(skills) if {
	skill == ""
	without_skill
	count(skills) > 0
}

# -- what it carries: media types and places of files that the skill declares

declared := there.skills[skill] if {
	asks
	is_string(skill)
}

declared := elsewhere.skills[skill] if {
	asks
	is_string(skill)
	not local_peer
}

local_peer if is_object(there)

declared := here.skills[skill] if {
	known
	not asks
	is_string(skill)
}

typed if without_skill

typed if {
	every part in parts {
		mode_declared(part)
	}
	every mode in wanted {
		is_string(mode)
		declared.output[mode] == true
	}
}

located if without_skill

located if {
	every part in parts {
		place_declared(part)
	}
}

params := input.call.args.params if is_object(input.call.args.params)

wanted := object.get(params, ["configuration", "acceptedOutputModes"], [])

sends if method in {"SendMessage", "SendStreamingMessage"}

parts := params.message.parts if {
	sends
	is_array(params.message.parts)
}

parts := shown if push

# Of the rest, only a message and a push carry anything.
parts := [] if {
	is_object(params)
	not sends
	not push
}

event := params.event if push

update := object.get(event, "statusUpdate", object.get(event, "task", {}))

told_parts := object.get(update, ["status", "message", "parts"], [])

said_parts := object.get(event, ["message", "parts"], [])

artifacts := array.concat(
	[artifact | some artifact in object.get(event, ["task", "artifacts"], [])],
	[artifact | some artifact in [object.get(event, ["artifactUpdate", "artifact"], {})]],
)

history := object.get(event, ["task", "history"], [])

shown := array.concat(array.concat(told_parts, said_parts), [part |
	some holder in array.concat(artifacts, history)
	some part in object.get(holder, "parts", [])
])

modes contains mode if {
	some mode, given in declared.input
	given == true
}

# A push may show the whole task, with what was asked in its history.
modes contains mode if {
	push
	some mode, given in declared.output
	given == true
}

mode_declared(part) if {
	object.get(part, "mediaType", "") != ""
	part.mediaType in modes
}

mode_declared(part) if {
	object.get(part, "mediaType", "") == ""
	default_mode(object.keys(part)) in modes
}

default_mode(keys) := "text/plain" if "text" in keys

default_mode(keys) := "application/json" if "data" in keys

default_mode(keys) := "application/octet-stream" if "raw" in keys

default_mode(keys) := "application/octet-stream" if "url" in keys

place_declared(part) if object.get(part, "url", null) == null

place_declared(part) if {
	is_string(part.url)
	some prefix in declared.uris
	startswith(part.url, prefix)
	every segment in split(part.url, "/") {
		not lower(segment) in {"..", ".", "%2e%2e", "%2e", ".%2e", "%2e."}
	}
}

# -- denials: what is given in principle, and why not now

deny contains {
	"code": "envelope_missing",
	"reason": "what came does not say, as it must, on whose behalf it came",
	"rule": "messages.rego: vouched",
} if {
	may
	not vouched
}

deny contains {
	"code": "loop",
	"reason": "this would come back to an agent that the work is for",
	"rule": "messages.rego: apart",
} if {
	may
	not apart
}

deny contains {
	"code": "too_many_hops",
	"reason": "this task was handed on too often",
	"rule": "messages.rego: near",
} if {
	may
	not near
}

deny contains {
	"code": "beyond_delegation",
	"reason": "an agent that this work is for was not given this",
	"rule": "messages.rego: delegated",
} if {
	may
	not delegated
}

deny contains {
	"code": "mode_not_declared",
	"reason": "this is no declared mode of this skill",
	"rule": "messages.rego: typed",
} if {
	may
	not typed
}

deny contains {
	"code": "uri_not_declared",
	"reason": "this is no declared place of files",
	"rule": "messages.rego: located",
} if {
	may
	not located
}
