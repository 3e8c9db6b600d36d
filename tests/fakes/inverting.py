"""An anonymizer without engines whose outputs can be measured."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from vera.report import BundleReport, PhotoReport


class Inverting:
    """Turns photographs into negatives above the mouth; refuses the calls that it is told to."""

    def __init__(self, refused=()):
        self.calls, self.refused = [], refused

    def anonymize(self, photos, *, keep, seed, **options):
        self.calls.append((len(photos), keep, seed, options))
        mode = "paired" if len(photos) > 1 else "single"
        bundle = BundleReport("fake", "0", {})
        spent = {"find": 5.0, "invert": 50.0}
        if len(self.calls) in self.refused:
            report = PhotoReport("refused", mode, seed, bundle, "no-face", "None was found.")
            return [SimpleNamespace(image=None, report=report) for _ in photos]
        results = []
        for path in photos:
            image = np.asarray(Image.open(path)).copy()
            image[:180] = 255 - image[:180]
            report = PhotoReport("anonymized", mode, seed, bundle, milliseconds=spent)
            results.append(SimpleNamespace(image=image, report=report))
        return results
