"""Tables become pictures: charts, and one HTML page that opens anywhere.

charts.py    what is drawn where, as Altair charts
rows.py      rows as the page carries them
effects.py   what one setting does
account.py   GPU-hours, provenance, what was pruned
page.py      the page, put together from these and from static/
"""

from sweep.figures.page import page

__all__ = ["page"]
