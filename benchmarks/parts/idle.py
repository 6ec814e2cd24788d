"""An agent that does nothing until it is ended."""

import signal

print("ready", flush=True)
signal.pause()
