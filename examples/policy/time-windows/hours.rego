# Payments in office hours only. `input.time.now` is the time of the call: seconds since 1970-01-01 (a Thursday), UTC.

package ringwall.site

day := 86400

# Monday is 0.
weekday := (floor(input.time.now / day) + 3) % 7

second_of_day := input.time.now - (floor(input.time.now / day) * day)

open if {
	weekday in data.office_hours.weekdays
	second_of_day >= data.office_hours.opens
	second_of_day < data.office_hours.closes
}

deny contains {
	"code": "outside_hours",
	"reason": "payments are made in office hours only",
	"rule": "hours.rego: open",
} if {
	input.call.target == "bank/pay"
	not open
}
