"""``vera evaluate``: what an anonymised folder protects, keeps and costs, as tables.

    people ─► outputs (methods, baselines, peers) ─► measure ─► figures ─► tables, plots, report

Words: a *row* is one method in one mode, a line of the tables; a *matcher* is a recogniser with a
threshold; *input* are the photographs as they were.
"""

# The last one lays a synthetic face over the photograph's; the others make it unrecognisable.
BASELINES = ("blur", "pixelate", "black-box", "swap")
