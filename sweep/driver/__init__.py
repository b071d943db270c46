"""Ray: a pool of a few actors carries all deployments; the driver turns what they report into rows.

Nothing is lost and nothing is doubled: an actor keeps every event until the driver has written its row and says so; a
driver that dies finds its rows in the table; an actor that dies is given again all that has no row yet. (Streaming
generators with retries would lose rows: Ray re-runs them and matches the results by index.)

A process per deployment would cost a CPU-second and 80 MB each. `Pool` is plain Python, wrapped by Ray at the edge.

    drive.py     one run: hands out, asks, writes, and asks what comes next
    work.py      what is carried, and by which actor
    steering.py  what comes next: begin, try again, stop
    recorder.py  events become rows and evidence
    pool.py      what runs inside an actor
    session.py   starting and stopping Ray
"""

from sweep.driver.drive import Watcher, run
from sweep.driver.pool import Pool
from sweep.driver.recorder import Recorder
from sweep.driver.session import RayStart
from sweep.driver.steering import Holding, Rules, Steering

__all__ = ["Holding", "Pool", "RayStart", "Recorder", "Rules", "Steering", "Watcher", "run"]
