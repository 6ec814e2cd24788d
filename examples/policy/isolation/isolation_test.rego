package isolation_test

import data.ringwall.site

with_facts(facts) := {"call": {"kind": "tool", "target": "bank/pay"}, "facts": {"identity": facts}}

full := {"attested": true, "confined": true, "strength": "strong"}

test_a_confined_process_may if count(site.deny) == 0 with input as with_facts(full)

test_each_fact_is_needed if {
	every fact in ["attested", "confined", "strength"] {
		count(site.deny) == 1 with input as with_facts(object.remove(full, [fact]))
	}
}

test_facts_of_another_type_are_none if {
	every facts in [null, "confined", object.union(full, {"confined": "true"}), object.union(full, {"strength": 1})] {
		count(site.deny) == 1 with input as with_facts(facts)
	}
}

test_no_facts_at_all if count(site.deny) == 1 with input as {"call": {"kind": "tool", "target": "bank/pay"}}
