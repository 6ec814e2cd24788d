# Some roles may only look, whatever their tools could do.

package ringwall.site

deny contains {
	"code": "role_only_reads",
	"reason": "this role may only read",
	"rule": "roles.rego: reading",
} if {
	input.call.kind == "tool"
	input.subject.role in data.office_roles.only_read
	not reading
}

reading if input.call.target in data.office_roles.reads

reading if input.call.target == "ringwall/list"

hide contains target if {
	input.subject.role in data.office_roles.only_read
	some target in input.targets
	not target in data.office_roles.reads
}
