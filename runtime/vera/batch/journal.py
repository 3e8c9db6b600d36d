"""The journal of a job: what is finished, so that a second run does the rest only.

One JSON object per line in ``vera-job.jsonl``; a line is added and forced to disk when a case
begins (its output names are then taken) and when it is finished. A line cut short by a kill is
dropped.

It names nobody. A case is known by a keyed hash (BLAKE2b) of its photographs' bytes; folder and
file names are not even hashed, since a list of patients is short enough to try every name. The key
is drawn for this journal alone: two journals cannot be matched with each other, nor with a list of
hashes of known pictures. Somebody who holds the very same photo files *and* the journal can still
recognise them: keep the journal as you keep the photographs and leave it out of what is published.

With ``--distinct`` it also holds embeddings: those of the new, synthetic people, in a neutral view,
so that a resumed job does not give one of them to a second case. Nothing of the patient is in them.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from vera.batch.persons import from_text
from vera.errors import OutputError
from vera.files.write import write_parts

JOURNAL_NAME = "vera-job.jsonl"
_FORMAT = 1
_CHUNK_BYTES = 1 << 20
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Finished:
    """One photograph of a finished case; ``reason`` and ``message`` of a refusal, else None."""

    verdict: str
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One case.

    Attributes:
        case: Keyed hash of the photographs' contents.
        options: Keyed hash of everything else that decides the output.
        names: The naming that ``stems`` follow.
        stems: One output name per photograph, without ending, relative to the output folder; with
            several identities the names of the first, then those of the second ...
        photos: One verdict per name; None while the case is being done.
        persons: With ``--distinct``: embedding of each new person, base64 of float16 [e].
        bundle: Digest of the bundle by whose embedder ``persons`` were measured.
        owner: Keyed hash of secret and case id: cases that share it share their person on purpose.
    """

    case: str
    options: str
    names: str
    stems: tuple[str, ...]
    photos: tuple[Finished, ...] | None = None
    persons: tuple[str, ...] = ()
    bundle: str | None = None
    owner: str | None = None


def content_digest(path: Path) -> bytes | None:
    """BLAKE2b-256 of a file's bytes; None if it cannot be read."""
    digest = hashlib.blake2b(digest_size=32)
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return None
    return digest.digest()


class Journal:
    """The journal of one output folder."""

    def __init__(self, path: Path, key: bytes, entries: Iterable[Entry]) -> None:
        """Hold what was read; use :meth:`open`."""
        self._path = path
        self._key = key
        self._entries: dict[str, Entry] = {}
        self._stems: dict[str, set[str]] = {}
        for entry in entries:
            self._remember(entry)

    @classmethod
    def open(cls, folder: Path) -> "Journal":
        """Read the journal of ``folder``, or begin one.

        Raises:
            OutputError: It is damaged, of another format, or cannot be written.
        """
        path = folder / JOURNAL_NAME
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            text = json.dumps({"vera_job": _FORMAT, "key": secrets.token_hex(32)}) + "\n"
            write_parts(path, [text], mode=_PRIVATE)
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(path) from error
        whole, _, torn = text.rpartition("\n")
        try:
            head, *lines = whole.split("\n")
            key = _key(head)
            entries = [_entry(line) for line in lines]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path) from error
        if torn:  # the next line would be glued to it
            write_parts(path, [whole, "\n"], mode=_PRIVATE)
        return cls(path, key, entries)

    def digest(self, *parts: bytes) -> str:
        """Keyed hash of ``parts``, 32 hexadecimal digits."""
        digest = hashlib.blake2b(key=self._key, digest_size=16)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    def case_key(self, contents: Sequence[bytes], occurrence: int) -> str:
        """By what a case is known here.

        Args:
            contents: :func:`content_digest` of each photograph, in order; empty if unreadable.
            occurrence: From 1; two cases of the same photographs are two cases, the second one is
                not "finished" by the first.
        """
        return self.digest(*contents, b"%d" % occurrence)

    def find(self, case: str) -> Entry | None:
        """The last entry of a case."""
        return self._entries.get(case)

    def finished(self) -> list[Entry]:
        """The last entry of each case that is finished."""
        return [entry for entry in self._entries.values() if entry.photos is not None]

    def stems(self) -> set[str]:
        """All output names that are taken."""
        return set().union(*self._stems.values())

    def stems_of(self, case: str) -> set[str]:
        """Names under which files of a case may lie: of its last finished run and all after it."""
        return set(self._stems.get(case, ()))

    def others(self, cases: Iterable[str]) -> int:
        """How many cases are in the journal beside ``cases``."""
        return len(self._entries.keys() - set(cases))

    def add(self, entry: Entry) -> None:
        """Append an entry and force it to disk.

        Raises:
            OutputError: It could not be written; a half line is dropped by the next run.
        """
        try:
            with self._path.open("ab") as file:
                file.write(json.dumps(asdict(entry)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(
                f"The journal '{self._path}' cannot be written ({error.strerror}); free some space "
                "or check its permissions, then run again."
            ) from error
        self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        if entry.photos is not None:  # finished: files under earlier names have been deleted
            self._stems[entry.case] = set()
        self._stems.setdefault(entry.case, set()).update(entry.stems)
        self._entries[entry.case] = entry


def _key(line: str) -> bytes:
    head = json.loads(line)
    if head["vera_job"] != _FORMAT:
        raise ValueError("another format")
    return bytes.fromhex(head["key"])


def _entry(line: str) -> Entry:
    fields = json.loads(line)
    photos = fields.pop("photos")
    stems = tuple(_inside(stem) for stem in fields.pop("stems"))
    finished = None if photos is None else tuple(Finished(**photo) for photo in photos)
    persons = tuple(fields.pop("persons", ()))
    if persons:
        from_text(persons)  # raises if it is none
    return Entry(**fields, stems=stems, photos=finished, persons=persons)


def _inside(stem: str) -> str:
    """Old outputs are deleted by these names: they must not lead out of the folder."""
    path = PurePosixPath(stem)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("leads out of the folder")
    return stem


def _damaged(path: Path) -> OutputError:
    return OutputError(
        f"The journal '{path}' is damaged or not VerA's; delete it (finished cases are then done "
        "again under new names) or choose another output folder."
    )


def case_seed(seed: int, contents: Sequence[bytes]) -> int:
    """The seed of one case of a folder, 63 bits.

    It depends on the job's seed and on the case's photographs, so that cases get different
    identities and the order, an interruption or a renamed folder change nothing. Names stay out of
    it: the seed is in the report, and a name could be found by trial.
    """
    digest = hashlib.blake2b(f"vera case seed {seed}".encode(), digest_size=8)
    for content in contents:
        digest.update(content)
    return int.from_bytes(digest.digest(), "little") >> 1
