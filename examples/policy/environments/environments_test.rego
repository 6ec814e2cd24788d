package environments_test

import data.ringwall.site

release(args) := {"call": {"target": "deploy/release", "args": args}}

test_staging_goes if count(site.deny | site.ask) == 0 with input as release({"environment": "staging"})

test_production_asks if {
	count(site.deny) == 0 with input as release({"environment": "production"})
	count(site.ask) == 1 with input as release({"environment": "production"})
}

test_others_are_refused if {
	every args in [{"environment": "Production"}, {"environment": ["staging"]}, {"environment": null}, {}] {
		count(site.deny) == 1 with input as release(args)
	}
}
