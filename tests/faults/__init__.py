"""Kill anything at any time: a harness that does it, by a seed, and a model of what must hold afterwards.

    make faults SEEDS=200                                          the last line counts what was lost, doubled or left
    make faults SEEDS=50 BACKEND=cluster                           on a real control plane with fake nodes
    python -m tests.faults --backend cluster --seed 17 -v --keep   one seed again, told round by round

**A seed is a schedule** (schedule.py, cluster_schedule.py): one small sweep, and a few command lines about it (run, run
of a part, compact), each with a fault. After each fault the next command line follows at once, as a person would type
it; the last one is let alone. Then the model judges.

**What must hold** (model.py): each (point, repeat) has exactly one ok row, or a last row with a reason that a fault of
this seed explains; each ok row has the numbers of an undisturbed measurement (numbers.py); no attempt has two rows; no
two deployments hold one point at a time, and what a pod told is not measured again; what a reader has read once stays,
and no reader ever fails (one reads all the while, and after each kill); each command ends, with a true exit code and no
stack trace; and nothing is left: no process, temporary folder, lock, half-written file, no Job that runs on or has no
TTL, nothing at all after gc, while what belongs to others is untouched.

**Where a driver is killed** (instants.py): before each open for writing, write, sync, rename, mkdir, remove, lock below
the results folder, and before each question to an actor, which is the ack of what it told before. A dry pass tells
which of them there are, and the first kill of successive seeds goes through all; further kills are at random instants
and moments. Also: SIGINT, SIGTERM, a laptop that sleeps, the actor killed, any process of Ray killed, a second driver
at once, a full or read-only disk, a wall clock that is wrong by seconds to a day.

**What is done on the way to a cluster** (gate.py): every request goes through a gate, and the first kill of successive
seeds goes through all kinds of requests, before the server has them and after it has answered; who sent it dies, driver
or actor. Also: resets, 429, 500, 503, late and missing answers, streams that end as if that were all, connections cut
over and over, darkness; and behind it the API server killed and started, pods and nodes deleted. pods.py plays what
runs in the pods, and sees who holds which point.

Drivers are forked from a process that has imported everything (commands.py) and join a Ray that runs beside all seeds
(joined.py), else most of the time would be imports and Ray's start. Every twelfth simulated seed starts its own Ray, in
a fresh interpreter, as people do, to see that nothing of it is left. Disks are small file systems in memory: without
root these faults are left out.

A seed decides what is done, not how long the machine takes for it: a finding may need a few replays. sabotage.py breaks
the program in ways that test_harness.py expects the harness to find.
"""
