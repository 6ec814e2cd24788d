# What can do harm wants a process in all its walls. A fact that is absent counts as "no": each rule says what must
# hold.

package ringwall.site

harmless if input.call.target in data.isolation.harmless

harmless if input.call.kind == "operate"

isolated if {
	input.facts.identity.attested == true
	input.facts.identity.confined == true
	input.facts.identity.strength in data.isolation.strengths
}

deny contains {
	"code": "not_isolated",
	"reason": "this is for confined processes only",
	"rule": "isolation.rego: isolated",
} if {
	not harmless
	not isolated
}
