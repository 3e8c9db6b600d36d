"""What a job is asked for, and what of it is done already.

The options of a case are known to the journal by a digest alone: other options mean that the case
is done again, under the names it has.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vera.batch.cases import CaseList, ListedCase
from vera.batch.journal import Entry, Journal, content_digest
from vera.batch.output import Naming
from vera.errors import UsageError
from vera.key import canonical_case_id, require_drawn
from vera.report import BundleReport
from vera.request.keep import Keep
from vera.settings import Settings
from vera.versions import __version__


@dataclass(frozen=True, slots=True)
class JobConfig:
    """Everything that decides a job's output besides the photographs.

    Attributes:
        out: Output folder.
        bundle: Digest of the bundle; another bundle means that the photographs are done again.
        seed: The single case's seed, or the one that the cases' seeds are derived from; None draws
            anew.
        settings: How each case is done.
        format: Ending of the images, without the dot.
        names: How outputs are named.
        overwrite: Do finished cases again.
        judges: Digests of the user's own recognisers.
        secret: Makes a case's new identity a function of this and its case id; takes the seed's
            place.
        distinct: Largest cosine between the new people of two cases; None allows any.
        networks: The bundle, for the reports of cases that fail.
        vera: Version of the VerA that does the cases; another one may do them differently.

    Raises:
        UsageError: There are both a seed and a secret, or a secret and the method ``margin``.
    """

    out: Path
    bundle: str
    seed: int | None = None
    settings: Settings = field(default_factory=Settings)
    format: Literal["png", "jpg"] = "png"
    names: Naming = "numbered"
    overwrite: bool = False
    judges: tuple[str, ...] = ()
    secret: bytes | None = field(default=None, repr=False)
    distinct: float | None = None
    networks: BundleReport = field(default_factory=lambda: BundleReport("unknown", "unknown", {}))
    vera: str = __version__

    def __post_init__(self) -> None:
        """Checks what the types cannot hold."""
        if self.seed is not None and self.secret is not None:
            raise UsageError(
                "--seed and --secret were both given; with a secret the draw follows from it and "
                "the case id, so leave --seed out."
            )
        if self.secret is not None:
            require_drawn(self.settings.method)


@dataclass(frozen=True, slots=True)
class Plan:
    """A case and what the journal knows of it.

    Attributes:
        number: Its place in the job, from 1.
        case: As it was listed.
        contents: Digests of its photographs' bytes, empty for what cannot be read.
        key: Its key in the journal.
        options: Digest of the options.
        owner: Keyed hash of secret and case id, if there is a secret.
        earlier: Its last entry in the journal.
        resumed: Whether that says that it is done.
    """

    number: int
    case: ListedCase
    contents: tuple[bytes, ...]
    key: str
    options: str
    owner: str | None
    earlier: Entry | None
    resumed: bool

    @property
    def holder(self) -> str:
        """Who has the new person: the case, or all cases of one id."""
        return self.owner or self.key


def plans(cases: CaseList, config: JobConfig, journal: Journal) -> Iterator[Plan]:
    """The cases in their order; each one's photographs are hashed when it is asked for."""
    seen: Counter[tuple[bytes, ...]] = Counter()
    for number, case in enumerate(cases.cases, 1):
        contents = tuple(content_digest(photo) or b"" for photo in case.photos)
        seen[contents] += 1
        key = journal.case_key(contents, seen[contents])
        secret = _secret(case, config)
        options = journal.digest(_options(case, config, cases.nested).encode(), *secret)
        owner = journal.digest(b"owner", *secret) if secret else None
        earlier = journal.find(key)
        resumed = earlier is not None and earlier.options == options and _complete(earlier, config)
        yield Plan(number, case, contents, key, options, owner, earlier, resumed)


def _secret(case: ListedCase, config: JobConfig) -> tuple[bytes, ...]:
    if config.secret is None or case.case_id is None:
        return ()
    return config.secret, canonical_case_id(case.case_id)


def _options(case: ListedCase, config: JobConfig, nested: bool) -> str:
    return json.dumps(
        [
            [_kept(keep) for keep in case.keep],
            [config.bundle, config.judges, config.names, config.format, config.seed],
            [config.distinct, dict(config.settings.options())],
            [nested, config.vera],
        ]
    )


def _complete(entry: Entry, config: JobConfig) -> bool:
    if entry.photos is None or config.overwrite:
        return False
    return all(
        (config.out / f"{stem}.json").exists()
        and (photo.verdict == "refused" or (config.out / f"{stem}.{config.format}").exists())
        for stem, photo in zip(entry.stems, entry.photos, strict=True)
    )


def _kept(keep: str) -> str:
    """A request to keep something, as it decides the output: a mask by its content."""
    try:
        mask = Keep.parse(keep).mask
    except UsageError:  # a mask that was there when the cases were listed
        return keep
    return keep if mask is None else (content_digest(mask) or b"").hex()
