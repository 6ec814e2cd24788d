"""Why a call was refused, what would allow it, what a change would have changed: reads the log, changes nothing."""
