"""A PostgreSQL that goes away in the middle and comes back: a clear error, nothing lost, and the next run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from children import until
from refusals import CATALOG, refused
from samples import save_pictures

from provenance import AuditRequest, IngestRequest, Workspace, run_audit, run_ingest
from provenance.errors import CatalogError
from provenance.keeping.reconcile import reconcile
from provenance.records import Generator
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from children import Children

    from provenance.ingest import Progress

pytestmark = pytest.mark.postgres
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A throw-away PostgreSQL server."""

    binaries: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories='' "
            "-c fsync=off -c shared_buffers=16MB -c max_connections=20"
        )
        self.run("pg_ctl", "-D", "data", "-l", "server.log", "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        """At once, as in a crash: open connections are cut."""
        self.run("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def crash(self) -> None:
        """The same, without waiting for the program that stops it."""
        os.kill(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
        until(lambda: not self.is_running, "the server's end")

    @property
    def is_running(self) -> bool:
        return (self.folder / "data" / "postmaster.pid").exists()

    def run(self, program: str, *words: str) -> None:
        """As user postgres where we are root: the server refuses to run as root."""
        command = [str(self.binaries / program), *words]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(self.folder)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        assert done.returncode == 0, f"{program} failed"


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    found = [Path(at).parent for at in (shutil.which("pg_ctl"),) if at]
    found += sorted((path for pattern in FOLDERS for path in Path("/").glob(pattern.lstrip("/"))), key=_version)
    binaries = next((path for path in reversed(found) if (path / "initdb").exists()), None)
    if binaries is None:
        message = "PostgreSQL's server is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tmp_path_factory.mktemp("cluster"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = Cluster(binaries, folder, port)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        for above in folder.parents:  # the server's user has to get there
            if not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
    cluster.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    cluster.start()
    yield cluster
    if cluster.is_running:
        cluster.stop()


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(digits) for digits in "".join(c if c.isdigit() else " " for c in str(folder)).split())


@pytest.fixture
def opened(workspace: Path, cluster: Cluster) -> Iterator[Workspace]:
    with Workspace.open(workspace, catalog_url=cluster.url) as opened:
        opened.upgrade_catalog()
        yield opened


def once(action: Callable[[], None]) -> Callable[[Progress], None]:
    """Does something after the first batch."""
    done: list[bool] = []

    def on_progress(_step: Progress) -> None:
        if not done:
            done.append(True)
            action()

    return on_progress


def test_database_that_goes_away_and_comes_back(opened: Workspace, cluster: Cluster, cohort: Path) -> None:
    """One workspace object lives through it: in an ingest, before an audit, and in a restart between two batches."""
    backbone = opened.load_backbone()
    used = IngestRequest((cohort / "used",), "used", DatasetKind.SET, Membership.USED)
    with pytest.raises(CatalogError) as caught:
        run_ingest(opened, used, backbone, once(cluster.stop))
    assert caught.value.message.startswith(f"the catalog postgresql://postgres@127.0.0.1:{cluster.port}")
    assert caught.value.hint
    with pytest.raises(CatalogError):
        run_ingest(opened, used, backbone)
    cluster.start()
    report = run_ingest(opened, used, backbone)
    assert report.image_count == 24
    assert 0 < report.counts["known"] < 24
    release = IngestRequest((cohort / "generated",), "release", DatasetKind.RELEASE, generator=Generator("toy"))
    run_ingest(opened, release, backbone)
    cluster.stop()
    with pytest.raises(CatalogError):
        run_audit(opened, AuditRequest("release"))
    cluster.start()
    first = run_audit(opened, AuditRequest("release"))
    assert [audit.audit_id for audit in opened.catalog.audits()] == [first.audit.audit_id]
    found = reconcile(opened, repair=False)
    assert (found.left, found.findings) == (0, ())


def test_commands_say_that_the_database_is_away_and_go_on_when_it_is_back(
    children: Children, opened: Workspace, cluster: Cluster, tmp_path: Path
) -> None:
    root, url = opened.root, {"PROVENANCE_CATALOG_URL": cluster.url}
    many = save_pictures(tmp_path / "many", range(150))
    words = ("-w", root, "ingest", many, "--set", "used", "--membership", "used")
    opened.close()
    child = children.start(*words, environment=url)
    until(lambda: list((root / "index").glob("collections/*/collection.json")), "the first collection")
    cluster.crash()
    refused(child.ended(), CATALOG, "127.0.0.1")
    refused(children.run(*words, environment=url), CATALOG, "127.0.0.1", "check that")
    cluster.start()
    assert children.run(*words, environment=url).code == 0
    found = reconcile(opened, repair=False)
    assert (found.left, [check.stored for check in found.collections]) == (0, [150])
