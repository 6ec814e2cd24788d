"""Starting a process that cannot go around the wall.

``spec`` says what a process is to be, ``zygote`` starts it, ``probe`` finds out what this machine can enforce.
"""

from ringwall.confine.seccomp import second_filter
from ringwall.confine.spec import ALL_LAYERS, Bind, Confinement, Probe, ResourceLimits

__all__ = ["ALL_LAYERS", "Bind", "Confinement", "Probe", "ResourceLimits", "second_filter"]
