# The manifest lets this agent's child processes call (processes = "tree"). What cannot be undone is for the main
# process all the same.

package ringwall.site

main if input.subject.number == 0

deny contains {
	"code": "main_process_only",
	"reason": "this is for the main process of the agent",
	"rule": "main.rego: main",
} if {
	input.subject.type == "process"
	input.call.target in data.main_process.only
	not main
}
