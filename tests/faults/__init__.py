"""Kill anything at any time: a harness that does it, by a seed, and a model of what must hold afterwards.

    make faults SEEDS=200                                          the last line counts what was lost, doubled or left
    python -m tests.faults --backend simulated --seed 17 -v --keep    one seed again, told round by round

**A seed is a schedule** (schedule.py): one small sweep, and a few command lines about it (run, run of a part, compact),
each with a fault. After each fault the next command line follows at once, as a person would type it; the last one is
let alone. Then the model judges.

**What must hold** (model.py): each (point, repeat) has exactly one ok row, or a last row with a reason that a fault of
this seed explains; no attempt has two rows; no two deployments hold one point at a time; what a reader has read once
stays, and no reader ever fails (one reads all the while, and after each kill); each command ends, with a true exit code
and no stack trace; and nothing is left: no process, temporary folder, lock, half-written file, no object on a cluster
beyond its TTL, while what belongs to others is untouched.

**Where a driver is killed** (instants.py): before each open for writing, write, sync, rename, mkdir, remove, lock below
the results folder, and before each question to an actor, which is the ack of what it told before. A dry pass tells
which of them there are, and the first kill of successive seeds goes through all; further kills are at random instants
and moments. Also: SIGINT, SIGTERM, a laptop that sleeps, the actor killed, any process of Ray killed, a second driver
at once, a full or read-only disk, a wall clock that is wrong by seconds to a day.

Drivers are forked from a process that has imported everything (commands.py) and join a Ray that runs beside all seeds
(joined.py), else most of the time would be imports and Ray's start. Every twelfth seed starts its own Ray, in a fresh
interpreter, as people do, to see that nothing of it is left. Disks are small file systems in memory: without root these
faults are left out.

sabotage.py breaks the program in ways that test_harness.py expects the harness to find.
"""
