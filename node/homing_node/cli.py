"""`homing node` and `homing doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from homing.errors import HomingError
from homing.locations import read_jurisdictions
from homing.tuning import tune_process
from homing_node import limits
from homing_node.sandboxes.policy import SandboxPolicy
from homing_node.settings import NodeSettings, tls_from


@click.command()
@click.option("--app", envvar="HOMING_APP", required=True, type=click.Path(path_type=Path), help="Folder or .py file.")
@click.option("--node-id", envvar="HOMING_NODE_ID", required=True, help="Name of this node in the cluster.")
@click.option("--etcd", envvar="HOMING_ETCD", required=True, help="URLs of etcd, separated by commas.")
@click.option("--data-dir", envvar="HOMING_DATA_DIR", required=True, type=click.Path(path_type=Path), help="Its disk.")
@click.option("--cluster", envvar="HOMING_CLUSTER", default="homing", show_default=True)
@click.option("--zone", envvar="HOMING_ZONE", default="", help="Nodes of one zone fail together.")
@click.option("--listen", envvar="HOMING_LISTEN", default="127.0.0.1:0", show_default=True, help="gRPC host:port.")
@click.option("--advertise", envvar="HOMING_ADVERTISE", default="", help="host:port that others reach it at.")
@click.option("--metrics-listen", envvar="HOMING_METRICS_LISTEN", default="127.0.0.1:9465", show_default=True)
@click.option("--replicas", envvar="HOMING_REPLICAS", default=3, show_default=True, help="1, 3 or 5.")
@click.option("--slots", envvar="HOMING_SLOTS", default=1_024, show_default=True, help="Fixed for the cluster's life.")
@click.option(
    "--jurisdictions",
    envvar="HOMING_JURISDICTIONS",
    default="",
    help="What binds objects to zones: NAME=ZONE,ZONE;… They can be added to, never taken away.",
)
@click.option("--initial-nodes", envvar="HOMING_INITIAL_NODES", default=0, help="Wait for so many; default: replicas.")
@click.option("--workers", envvar="HOMING_WORKERS", default=0, help="Jailed processes; 0: one for each core.")
@click.option(
    "--replace-after-s",
    envvar="HOMING_REPLACE_AFTER_S",
    default=600.0,
    show_default=True,
    help="A node gone for so long is replaced.",
)
@click.option("--idle-s", envvar="HOMING_IDLE_S", default=10.0, show_default=True, help="Evict an idle object after.")
@click.option(
    "--object-calls-per-10s",
    envvar="HOMING_OBJECT_CALLS_PER_10S",
    default=0,
    show_default=True,
    help="Refuse calls of one object above this; 0: never.",
)
@click.option("--turn-cpu-s", envvar="HOMING_TURN_CPU_S", default=30.0, show_default=True, help="CPU limit of a turn.")
@click.option(
    "--disk-free-bytes-min",
    envvar="HOMING_DISK_FREE_BYTES_MIN",
    default=limits.disk_free_bytes_min,
    show_default=True,
    help="Leave the cluster below this.",
)
@click.option("--latency-target-ms", envvar="HOMING_LATENCY_TARGET_MS", default=15.0, show_default=True)
@click.option("--cache-dir", envvar="HOMING_CACHE_DIR", default=None, help="Where the files of jails are made ready.")
@click.option("--nsjail", envvar="HOMING_NSJAIL", default=None, help="Another nsjail, by absolute path.")
@click.option(
    "--sandbox-strict", envvar="HOMING_SANDBOX_STRICT", default="", help="Tenants whose runs get jails of their own."
)
@click.option(
    "--sandbox-without", envvar="HOMING_SANDBOX_WITHOUT", default="", help="Layers that may be lacking: uids,cgroups."
)
@click.option(
    "--sandbox-requirements",
    envvar="HOMING_SANDBOX_REQUIREMENTS",
    default=None,
    type=click.Path(path_type=Path),
    help="File like a requirements.txt: packages that code in sandboxes can import.",
)
@click.option(
    "--sandbox-imports",
    envvar="HOMING_SANDBOX_IMPORTS",
    default="",
    help="Modules of theirs, separated by commas; default: those at the top of each.",
)
@click.option("--tls-cert", envvar="HOMING_TLS_CERT", default=None)
@click.option("--tls-key", envvar="HOMING_TLS_KEY", default=None)
@click.option("--tls-ca", envvar="HOMING_TLS_CA", default=None)
@click.option("--insecure", envvar="HOMING_INSECURE", is_flag=True, help="Listen beyond this machine without TLS.")
@click.option(
    "--apply-migrations", envvar="HOMING_APPLY_MIGRATIONS", is_flag=True, help="Of D1 databases, at their first use."
)
@click.option(
    "--testing", envvar="HOMING_TESTING", is_flag=True, help="Let tests run code in objects; see homing.testing."
)
@click.option("--deploys-since-ms", envvar="HOMING_DEPLOYS_SINCE_MS", default=0, hidden=True)
@click.option("--log-level", envvar="HOMING_LOG_LEVEL", default="info", show_default=True)
@click.option("--log-style", envvar="HOMING_LOG_STYLE", default="json", type=click.Choice(["json", "pretty"]))
def node(**options: object) -> None:
    """Run one node: it owns slots, keeps their logs and runs object code in jails."""
    tune_process()
    from homing_node.node import run_node  # noqa: PLC0415 - grpc and RocksDB are slow to import; --help is not

    etcd = str(options.pop("etcd"))
    jurisdictions = str(options.pop("jurisdictions"))
    strict, without = (str(options.pop(name)) for name in ("sandbox_strict", "sandbox_without"))
    tls = tls_from(*(_text(options.pop(name)) for name in ("tls_cert", "tls_key", "tls_ca")))
    try:
        settings = NodeSettings(
            etcd=tuple(url.strip() for url in etcd.split(",") if url.strip()),
            tls=tls,
            sandboxes=SandboxPolicy.read(strict, without),
            jurisdictions=read_jurisdictions(jurisdictions),
            **options,  # pyright: ignore[reportArgumentType] - click has checked the types
        )
        settings.check()
        sys.exit(run_node(settings))
    except HomingError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)


@click.command()
@click.option(
    "--sandbox-without", envvar="HOMING_SANDBOX_WITHOUT", default="", help="Layers that may be lacking: uids,cgroups."
)
def doctor(sandbox_without: str) -> None:
    """Say whether this machine can build jails, and what is missing."""
    from homing_node.doctor import examine  # noqa: PLC0415 - starts a jail; only when asked

    try:
        findings = examine(sandboxes=SandboxPolicy.read("", sandbox_without))
    except HomingError as error:
        raise click.ClickException(error.message) from error
    for finding in findings:
        click.echo(f"{'ok ' if finding.ok else 'NO '} {finding.name}: {finding.detail}")
        if not finding.ok and finding.hint:
            click.echo(f"    {finding.hint}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
