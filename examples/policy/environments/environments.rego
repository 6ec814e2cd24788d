# Releases to production need a human; an environment that nobody listed is refused.

package ringwall.site

releasing if input.call.target == "deploy/release"

known if input.call.args.environment in data.environments.known

unattended if input.call.args.environment in data.environments.unattended

approved if input.facts.policy.approved == true

deny contains {
	"code": "unknown_environment",
	"reason": "this is none of the known environments",
	"rule": "environments.rego: known",
} if {
	releasing
	not known
}

ask contains {
	"code": "production_release",
	"question": "a release to this environment needs a human",
	"rule": "environments.rego: unattended",
} if {
	releasing
	not unattended
	not approved
}
