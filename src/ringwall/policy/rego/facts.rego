# SPDX-License-Identifier: Apache-2.0
#
# What the other rings found out can only tighten. Each rule says what must hold, so that a fact of another type
# than expected refuses too.

package ringwall.facts

attested if input.facts.identity.attested == true

# A ring's fact is absent, or exactly false.
clear(ring, fact) if object.get(object.get(input.facts, ring, {}), fact, false) == false

deny contains {
	"code": "not_attested",
	"reason": "the caller is not attested",
	"rule": "facts.rego: attested",
} if {
	not attested
}

deny contains {
	"code": "guard_blocked",
	"reason": "the guard refuses this text",
	"rule": "facts.rego: clear guard",
} if {
	not clear("guard", "blocked")
}

deny contains {
	"code": "flow_denied",
	"reason": "the flow of this data is refused",
	"rule": "facts.rego: clear flow",
} if {
	not clear("flow", "denied")
}
