"""Questions to the table; DataFrames in and out, nothing else is known here.

front.py          what is not dominated, and the area it spans
choice.py         the best row under conditions; where.py: their language over columns; bounds.py: what a maximum says
                  of a percentile that is null
price.py          dollars and joules
interpolation.py  the front between its points
comparison.py     two sweeps side by side: matching.py pairs their points, measurements.py makes numbers of them,
                  noise.py says how much equal points differ, whole.py asks about the sweep as a whole,
                  prediction.py how far predictions are off
rows.py           which rows count, and how they are grouped
"""

from sweep.analysis.choice import best
from sweep.analysis.comparison import Comparison, Verdict, compare
from sweep.analysis.front import pareto
from sweep.analysis.interpolation import interpolate
from sweep.analysis.prediction import stand_ins
from sweep.analysis.price import cost
from sweep.analysis.where import rows_where, undecided

__all__ = [
    "Comparison",
    "Verdict",
    "best",
    "compare",
    "cost",
    "interpolate",
    "pareto",
    "rows_where",
    "stand_ins",
    "undecided",
]
