"""Tables become pictures: charts, and one HTML page that opens anywhere.

charts.py    what is drawn where, as Altair charts
rows.py      rows as the page carries them
effects.py   what one setting does
account.py   GPU-hours, provenance, what was pruned
page.py      the page, put together from these and from static/
pictures.py  charts without a page, as SVG
"""

from sweep.figures.page import page
from sweep.figures.pictures import curves, fronts, svg

__all__ = ["curves", "fronts", "page", "svg"]
