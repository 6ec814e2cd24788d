package amounts_test

import data.ringwall.site

pay(args) := {"call": {"target": "bank/pay", "args": args}}

test_small_goes if {
	count(site.deny | site.ask) == 0 with input as pay({"amount": 50, "currency": "EUR"})
}

test_larger_asks if {
	count(site.deny) == 0 with input as pay({"amount": 50.01, "currency": "EUR"})
	count(site.ask) == 1 with input as pay({"amount": 50.01, "currency": "EUR"})
}

test_largest_is_refused if count(site.deny) == 1 with input as pay({"amount": 1000.01, "currency": "EUR"})

test_nothing_odd_passes if {
	odd := [
		{"amount": "5", "currency": "EUR"}, {"amount": -5, "currency": "EUR"}, {"amount": 5, "currency": "XAU"},
		{"amount": 5, "currency": 1}, {"amount": 5}, {"currency": "EUR"}, {},
	]
	every args in odd {
		count(site.deny) == 1 with input as pay(args)
	}
}
