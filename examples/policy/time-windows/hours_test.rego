package hours_test

import data.ringwall.site

# Monday, 5 January 2026, 00:00 UTC
monday := 1767571200

at(seconds) := {"call": {"target": "bank/pay"}, "time": {"now": seconds}}

test_monday_is_day_0 if site.weekday == 0 with input as at(monday)

test_sunday_is_day_6 if site.weekday == 6 with input as at(monday - 1)

test_open_at_8 if count(site.deny) == 0 with input as at(monday + (8 * 3600))

test_closed_a_second_before if count(site.deny) == 1 with input as at((monday + (8 * 3600)) - 1)

test_closed_at_18 if count(site.deny) == 1 with input as at(monday + (18 * 3600))

test_closed_on_saturday if count(site.deny) == 1 with input as at((monday + (5 * 86400)) + (12 * 3600))

test_without_a_time_it_is_closed if count(site.deny) == 1 with input as {"call": {"target": "bank/pay"}}
