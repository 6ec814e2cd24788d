# Payments: small ones go, larger ones need a human, the largest are refused. An amount that is no number of a known
# currency is refused.

package ringwall.site

paying if input.call.target == "bank/pay"

limit := data.payments[input.call.args.currency] if is_string(input.call.args.currency)

amount := input.call.args.amount if is_number(input.call.args.amount)

within_most if {
	amount > 0
	amount <= limit.most
}

small if amount <= limit.unasked

approved if input.facts.policy.approved == true

deny contains {
	"code": "over_payment_limit",
	"reason": "the amount must be a positive number within the limit of its currency",
	"rule": "amounts.rego: within_most",
} if {
	paying
	not within_most
}

ask contains {
	"code": "large_payment",
	"question": "a payment of this size needs a human",
	"rule": "amounts.rego: small",
} if {
	paying
	not small
	not approved
}
