# SPDX-License-Identifier: Apache-2.0
#
# Where an organisation's own rules go: files of this package join the sets below (docs/policy.md). They can only
# tighten. `deny` and `ask` judge calls; `hide` takes tools out of listings. This file gives each set no member.

package ringwall.site

deny contains denial if {
	false
	denial := {}
}

ask contains question if {
	false
	question := {}
}

hide contains target if {
	false
	target := {}
}
