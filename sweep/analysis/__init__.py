"""Questions to the table; DataFrames in and out, nothing else is known here.

front.py          what is not dominated, and the area it spans
choice.py         the best row under conditions; where.py: their language over columns
price.py          dollars and joules
interpolation.py  the front between its points
rows.py           which rows count, and how they are grouped
"""

from sweep.analysis.choice import best
from sweep.analysis.front import pareto
from sweep.analysis.interpolation import interpolate
from sweep.analysis.price import cost

__all__ = ["best", "cost", "interpolate", "pareto"]
