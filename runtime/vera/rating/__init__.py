"""``vera rate``: blind sheets for clinicians, and how well their answers agree.

``scale`` is what may be answered, ``plan`` who sees what in which order, ``region`` what is left of
an original, ``sheet`` writes, ``answers`` reads back, ``agreement`` counts, ``results`` tells.
"""
