# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Models on the Hugging Face hub: parses their ids and downloads the files that ``convert`` reads.

Downloads are huggingface_hub's, into its cache: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, HF_TOKEN and a
login mean what they mean to it. Files that are complete are not fetched again, whoever fetched them.
"""

from __future__ import annotations

import errno
import glob
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nld_trt
from nld_trt import optional
from nld_trt.errors import InputError, NldError, OperationError
from nld_trt.files import check_space, read_json
from nld_trt.model.adapter import ADAPTER_FOLDER
from nld_trt.model.checkpoint import COMPANION_FILES, CONFIG_FILE
from nld_trt.model.quantized.config import QUANT_CONFIG_FILE
from nld_trt.model.shards import INDEX_FILE, WEIGHTS_FILE
from nld_trt.model.text.files import TEMPLATES_FOLDER

ADAPTER_WEIGHTS = f"{ADAPTER_FOLDER}/adapter_model.safetensors"
# The files that are downloaded first. The weights that they name follow.
SETTINGS = (CONFIG_FILE, QUANT_CONFIG_FILE, *COMPANION_FILES, f"{ADAPTER_FOLDER}/adapter_config.json")
_INDEX_SUFFIX = INDEX_FILE.removeprefix("model")

# The hub's rules for ids: two names of up to 96 of these characters, with none of --, .. or .git at the end.
_NAME = r"(?=[A-Za-z0-9_])[A-Za-z0-9_.-]{1,96}(?<=[A-Za-z0-9_])"
_ID = re.compile(rf"{_NAME}/{_NAME}")
_REVISION = re.compile(r"[^\s@/\\]+")
_ADDRESS = re.compile(r"(?:https?://[^/]+/|hf://(?:models/)?)(?P<id>[^/]+/[^/?#@]+)?.*")

# Called with the number of bytes that were received since the last call.
Received = Callable[[int], None]


@dataclass(frozen=True)
class HubModel:
    """A model repository with a branch, tag or commit; None stands for its main branch."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """Parse ``text``: ``OWNER/NAME`` or ``OWNER/NAME@REVISION``. Returns None for a path.

        What exists here is a path, and so is whatever is written as one: absolute, with ``./`` or ``~`` in front, or
        with more than one slash.

        Raises:
            InputError: ``text`` is an address, which is neither an id nor a path.
        """
        if address := _ADDRESS.fullmatch(text):
            raise InputError(
                f"{text} is an address; a model on the hub is named by its id",
                fix=f"Write {address['id'] or 'OWNER/NAME'}, or OWNER/NAME@REVISION.",
            )
        repository, at, revision = text.partition("@")
        if not _ID.fullmatch(repository) or any(part in repository for part in ("--", "..")):
            return None
        if repository.endswith(".git") or (at and not _REVISION.fullmatch(revision)) or Path(text).exists():
            return None
        return cls(repository, revision or None)

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class HubDownload:
    """The files of a model that are not yet downloaded.

    Attributes:
        model: the model, whose revision is a commit.
        folder: the snapshot in the cache, which has all files except ``names``.
        names: files that are not yet downloaded.
        size: bytes of these files.
    """

    model: HubModel
    folder: Path
    names: tuple[str, ...]
    size: int

    def fetch(self, received: Received = lambda count: None) -> Path:
        """Download the missing files. Returns the snapshot folder.

        A lost connection is resumed where it broke. After an interruption, another call resumes with the first file
        that is not complete.

        Raises:
            InputError: the hub refuses.
            OperationError: the hub or the disk failed.
        """
        if self.names:
            from huggingface_hub import is_offline_mode

            if is_offline_mode():
                raise _offline(self.model, "only in part in")
            _check_disk(self.size)
            _snapshot(self.model, self.names, received)
        return self.folder


def refuse_hub_id(text: str, then: str = "use DIR") -> None:
    """Raises InputError, with what to do ``then``, if ``text`` names a model on the hub where a folder is needed."""
    model = HubModel.parse(text)
    if model is not None:
        raise InputError(
            f"there is no folder {text} here; if it is a model on the Hugging Face hub, it must be converted first",
            fix=f"Run: nld-trt convert {text} -o DIR, then {then}.",
        )


def look_up(model: HubModel) -> HubDownload:
    """Find a model on the hub or in the cache, and fetch its small files: settings, tokenizer, templates, the index.

    Raises:
        InputError: there is no such model or revision, it is not for this user, it is not in the cache and
            HF_HUB_OFFLINE is set, or it has no safetensors weights.
        OperationError: the hub cannot be reached, or the disk failed.
    """
    folder = _snapshot(model, [CONFIG_FILE])
    model = replace(model, revision=folder.name)
    sizes = _listing(model)
    if sizes is None:
        # Offline, a cache of an earlier version has no list of files: the files in it are taken as complete.
        return HubDownload(model, folder, (), 0)
    if CONFIG_FILE not in sizes:
        raise InputError(
            f"{model.repository} on the hub is no checkpoint: it has no {CONFIG_FILE}", details=_holds(sizes)
        )
    _snapshot(model, _small(sizes))
    names = tuple(name for name in _large(model, folder, sizes) if not (folder / name).is_file())
    return HubDownload(model, folder, names, sum(sizes[name] for name in names))


def _small(names: Iterable[str]) -> list[str]:
    return [
        name
        for name in names
        if name in SETTINGS
        or (name.endswith(_INDEX_SUFFIX) and "/" not in name)
        or (name.endswith(".jinja") and name.count("/") == 1 and name.startswith(f"{TEMPLATES_FOLDER}/"))
    ]


def _large(model: HubModel, folder: Path, names: Iterable[str]) -> list[str]:
    """Choose the weights that ``convert`` reads: one file, those of an index, or those beside config.json."""
    beside = [name for name in names if "/" not in name]
    indexes = sorted(name for name in beside if name.endswith(_INDEX_SUFFIX))
    adapter = [name for name in names if name == ADAPTER_WEIGHTS]
    if WEIGHTS_FILE in beside:
        return [WEIGHTS_FILE, *adapter]
    if indexes:
        index = INDEX_FILE if INDEX_FILE in indexes else indexes[0]
        weight_map = read_json(folder / index).get("weight_map")
        shards = {str(shard) for shard in weight_map.values()} if isinstance(weight_map, Mapping) else set()
        absent = sorted(shards.difference(names))
        if absent:
            raise InputError(
                f"{model.repository} on the hub lacks {len(absent)} of the {len(shards)} files that {index} names",
                details=absent[:12],
                fix="Use another revision, as OWNER/NAME@REVISION, or tell the model's owner.",
            )
        return [*sorted(shards), *adapter]
    shards = {name for name in beside if name.endswith(".safetensors") and name != Path(ADAPTER_WEIGHTS).name}
    if not shards:
        raise InputError(
            f"{model.repository} on the hub has no weights in safetensors files, and no others are read",
            details=_holds(names),
            fix="Use a repository or revision that has *.safetensors.",
        )
    return [*sorted(shards), *adapter]


def _holds(names: Iterable[str]) -> list[str]:
    found = sorted(names)
    return [f"it holds: {', '.join(found[:12]) or 'nothing'}{', ...' if len(found) > 12 else ''}"]


def _snapshot(model: HubModel, names: Iterable[str], received: Received = lambda count: None) -> Path:
    """Download these files, unless they are in the cache. Returns the snapshot folder."""
    hub = optional.require("huggingface_hub", wanted_by=f"convert {model.repository}, which is no folder here,")
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(1) as beside:
            download = beside.submit(
                hub.snapshot_download,
                model.repository,
                revision=model.revision,
                allow_patterns=[glob.escape(name) for name in names],
                library_name="nld-trt",
                library_version=nld_trt.__version__,
                tqdm_class=_counter(received, stop),
            )
            try:
                folder = download.result()
            except BaseException:
                # The library waits until files in progress are complete, which must not delay Ctrl-C.
                stop.set()
                raise
    except Exception as error:
        explanation = _explained(error, model)
        if explanation is None:
            raise
        raise explanation from error
    return Path(folder)


def _listing(model: HubModel) -> dict[str, int] | None:
    """Returns the size in bytes of every file of a commit, or None if the cache does not have the sizes."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return {file.path: file.size for file in get_cached_repo_tree(model.repository, revision=model.revision)}
    except CachedRepoTreeNotFoundError:
        return None


class _Stopped(Exception):
    """Raised inside a download to end it."""


def _counter(received: Received, stop: threading.Event) -> type[Any]:
    """Make a progress bar class without output, which reports bytes to ``received`` and ends downloads at ``stop``."""
    tqdm: Any = optional.require("huggingface_hub.utils").tqdm
    lock = threading.Lock()

    class Counter(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, name: str | None = None, **options: Any) -> None:
            # The library has two more bars, for bytes on the network and for files, which are not counted.
            self._counts = name == "huggingface_hub.snapshot_download"
            super().__init__(*arguments, name=name, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            if stop.is_set():
                raise _Stopped
            if self._counts and n:
                with lock:
                    received(int(n))
            return None

    return Counter


def _check_disk(size: int) -> None:
    from huggingface_hub import constants

    try:
        check_space(Path(constants.HF_HUB_CACHE), size)
    except OperationError as error:
        raise OperationError(
            f"no room to download the model: {error.what}",
            fix="Free some space, or set HF_HOME to a folder on another disk.",
        ) from None


def _explained(error: Exception, model: HubModel) -> NldError | None:
    """Returns the error for the user for a failure of the hub or the disk, and None for anything else."""
    from huggingface_hub import constants, errors

    hub, cache, token = constants.ENDPOINT, constants.HF_HUB_CACHE, "hf auth login, or set HF_TOKEN"
    again = "Run the same command again later: files that are complete are kept."
    page = f"{hub}/{model.repository}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        # The cause is what kept the library from reaching the hub; the missing cache entry only follows from it.
        if isinstance(error.__cause__, Exception) and not isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            return _explained(error.__cause__, model)
        missing = "only in part in" if isinstance(error, errors.IncompleteSnapshotError) else "not in"
        return _offline(model, missing)
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{model.repository} is gated: its owner grants access, and you do not have it or did not log in",
            fix=f"Ask for access on {page}, then: {token}.",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(
            f"there is no folder {model.repository} here, and {hub} has no model of that name that you may read",
            fix=f"Check the name. If the model is private: {token}.",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(
            f"{model.repository} has no revision {model.revision}",
            fix=f"Leave the revision out for the main branch, or choose one from {page}/tree/main.",
        )
    if isinstance(error, errors.DisabledRepoError):
        return InputError(f"{model.repository} was disabled on the hub: {page}")
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, model, token, again)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OperationError(
            f"the disk of the cache {cache} is full", fix=f"Free some space, or set HF_HOME to another disk. {again}"
        )
    if isinstance(error, PermissionError):
        return InputError(
            f"the cache {cache} cannot be written: {error.strerror} ({error.filename})",
            fix="Set HF_HOME to a folder of your own.",
        )
    # The library for Xet storage, which the hub keeps large files in, raises RuntimeError.
    if isinstance(error, OSError | RuntimeError) or type(error).__module__.startswith("httpx"):
        reason = str(error).strip() or type(error).__name__
        return OperationError(
            f"there is no folder {model} here, and it cannot be downloaded from {hub}: {reason}",
            fix=f"Check the network, HF_ENDPOINT and the proxy settings. {again}",
        )
    return None


def _offline(model: HubModel, where: str) -> InputError:
    from huggingface_hub import constants

    return InputError(
        f"there is no folder {model} here; as a model on the hub it is {where} the cache {constants.HF_HUB_CACHE}, and "
        "HF_HUB_OFFLINE forbids to download it",
        fix="Unset HF_HUB_OFFLINE and run it again, or copy the cache of a machine that has the model.",
    )


def _refused(error: Any, model: HubModel, token: str, again: str) -> NldError:
    """Returns the error for an answer of the hub that has no exception class."""
    status = error.response.status_code
    said = f": {error.server_message}" if error.server_message else ""
    if status in (401, 403):
        return InputError(
            f"the hub does not accept your token for {model.repository} (status {status}){said}",
            fix=f"Use a token that may read it: {token}.",
        )
    return OperationError(f"the hub answered with status {status} when asked for {model}{said}", fix=again)
