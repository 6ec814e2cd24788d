package main_test

import data.ringwall.site

from(number) := {"subject": {"type": "process", "number": number}, "call": {"target": "docs/delete"}}

test_the_main_process_deletes if count(site.deny) == 0 with input as from(0)

test_its_children_do_not if {
	every number in [1, 77, "0", null, false] {
		count(site.deny) == 1 with input as from(number)
	}
}
