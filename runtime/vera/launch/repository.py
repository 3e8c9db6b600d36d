"""The mark of a model repository of ours: what it was rendered for, and the sha256 of its files."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vera.contract import CONTRACT_VERSION
from vera.errors import BundleError
from vera.wire.tensors import PROTOCOL

MARK = "vera-repository.json"
_RENDER = "render it again with vera-export repository"


@dataclass(frozen=True, slots=True)
class RepositoryMark:
    """What a repository was rendered for.

    Attributes:
        backend: What runs its engines.
        device: ``"cpu"`` or ``"gpu"``.
        bundle: Digest of the bundle in it.
        files: sha256 of each file that is code or a network, by its path in the repository.
        plans: Files that are built where they are served, and must be there then.
        vera: Version of the package that rendered it.
        contract: Of its engines.
        protocol: Of its messages.
    """

    backend: str
    device: str
    bundle: str
    files: Mapping[str, str]
    plans: tuple[str, ...] = ()
    vera: str = ""
    contract: int = CONTRACT_VERSION
    protocol: int = PROTOCOL

    def to_json(self) -> str:
        """The text of the mark's file."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_mark(repository: Path) -> RepositoryMark:
    """The mark of a repository.

    Raises:
        BundleError: The folder is no repository of ours, or its mark is of another version.
    """
    try:
        told = json.loads((repository / MARK).read_text(encoding="utf-8"))
        mark = RepositoryMark(**{**told, "plans": tuple(told["plans"])})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"There is no model repository here: {MARK} is missing from the folder; make one with "
            "vera-export repository."
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BundleError(
            f"The model repository's {MARK} cannot be read ({type(error).__name__}); {_RENDER}."
        ) from error
    for name, wanted, got in (
        ("engine contract", CONTRACT_VERSION, mark.contract),
        ("protocol", PROTOCOL, mark.protocol),
    ):
        if got != wanted:
            raise BundleError(
                f"The model repository was rendered for another {name}: this package needs "
                f"{wanted}, the repository has {got}; {_RENDER} of this release."
            )
    return mark


def check_repository(repository: Path) -> RepositoryMark:
    """The mark of a repository whose code and networks are as they were rendered.

    ``config.pbtxt`` is not compared: an operator may tune it.

    Raises:
        BundleError: It is no repository of ours, of another version, changed, or not complete.
    """
    mark = read_mark(repository)
    known: dict[int, str] = {}  # hard links are read once
    for name, wanted in mark.files.items():
        try:
            found = hash_file(repository / name, known)
        except OSError as error:
            raise BundleError(
                f"The model repository's file {name} cannot be read ({error.strerror}); {_RENDER}."
            ) from error
        if found != wanted:
            raise BundleError(
                f"The model repository's file {name} was changed or damaged: its sha256 starts "
                f"with {found[:12]}, its mark says {wanted[:12]}; {_RENDER}."
            )
    missing = [name for name in mark.plans if not (repository / name).is_file()]
    if missing:
        raise BundleError(
            f"{len(mark.plans)} TensorRT plans belong to this model repository and {len(missing)} "
            f"are not built ({missing[0]}); run its build_plans.sh on this machine first."
        )
    return mark


def hash_file(path: Path, known: dict[int, str]) -> str:
    """sha256 of a file, hexadecimal; ``known`` has those that were read already, by inode."""
    inode = path.stat().st_ino
    if inode not in known:
        with path.open("rb") as stream:
            known[inode] = hashlib.file_digest(stream, "sha256").hexdigest()
    return known[inode]
