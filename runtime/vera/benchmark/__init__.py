"""``vera bench``: how long cases take, here and on a server, and what they come out like.

Load is made by clients in threads of this process; everything else (quantiles, schedules, tables,
comparisons) is computed from the list of samples that the load leaves behind.
"""
