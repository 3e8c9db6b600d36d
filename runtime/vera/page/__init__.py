"""``vera report``: an output folder as one HTML page that needs nothing but a browser.

``read`` finds reports and images, ``summary`` counts, ``plot`` draws, ``pictures`` embeds,
``originals`` finds what an output was made of, ``build`` writes the page.
"""
