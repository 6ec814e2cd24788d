package roles_test

import data.ringwall.site

call(role, target) := {"subject": {"role": role}, "call": {"kind": "tool", "target": target}}

test_a_clerk_reads if count(site.deny) == 0 with input as call("clerk", "docs/read")

test_a_clerk_does_not_pay if {
	some denial in site.deny with input as call("clerk", "bank/pay")
	denial.code == "role_only_reads"
}

test_an_engineer_releases if count(site.deny) == 0 with input as call("engineer", "deploy/release")

test_a_call_without_a_target_is_no_reading if {
	count(site.deny) == 1 with input as {"subject": {"role": "clerk"}, "call": {"kind": "tool"}}
}
