"""How long tests wait for what must come: so long that only a program that hangs takes longer, on any machine."""

HANG_S = 900.0
"""A command, a process or a condition that has not ended or come by then never will."""
