"""`homing gateway`."""

from __future__ import annotations

import click

from homing.errors import HomingError
from homing.locations import read_jurisdictions
from homing.tuning import tune_process
from homing_gateway.limits import RPC_BYTES_MAX
from homing_gateway.settings import GatewaySettings, tls_from


@click.command()
@click.option("--etcd", envvar="HOMING_ETCD", required=True, help="URLs of etcd, separated by commas.")
@click.option("--cluster", envvar="HOMING_CLUSTER", default="homing", show_default=True)
@click.option("--slots", envvar="HOMING_SLOTS", default=1_024, show_default=True, help="Fixed for the cluster's life.")
@click.option(
    "--jurisdictions",
    envvar="HOMING_JURISDICTIONS",
    default="",
    help="What binds objects to zones: NAME=ZONE,ZONE;… as the nodes have it.",
)
@click.option("--listen", envvar="HOMING_LISTEN", default="127.0.0.1:8787", show_default=True, help="HTTP host:port.")
@click.option("--grpc-listen", envvar="HOMING_GRPC_LISTEN", default="127.0.0.1:8788", show_default=True)
@click.option("--metrics-listen", envvar="HOMING_METRICS_LISTEN", default="127.0.0.1:9464", show_default=True)
@click.option(
    "--api-token", envvar="HOMING_API_TOKEN", default="", help="What callers must show; better set as a variable."
)
@click.option(
    "--rpc-bytes-max", envvar="HOMING_RPC_BYTES_MAX", default=RPC_BYTES_MAX, show_default=True, help="A call's body."
)
@click.option("--tls-cert", envvar="HOMING_TLS_CERT", default=None)
@click.option("--tls-key", envvar="HOMING_TLS_KEY", default=None)
@click.option("--tls-ca", envvar="HOMING_TLS_CA", default=None)
@click.option("--insecure", envvar="HOMING_INSECURE", is_flag=True, help="Listen beyond this machine without TLS.")
@click.option("--latency-target-ms", envvar="HOMING_LATENCY_TARGET_MS", default=15.0, show_default=True)
@click.option(
    "--testing", envvar="HOMING_TESTING", is_flag=True, help="Let tests run code in objects; see homing.testing."
)
@click.option("--deploys-since-ms", envvar="HOMING_DEPLOYS_SINCE_MS", default=0, hidden=True)
@click.option("--log-level", envvar="HOMING_LOG_LEVEL", default="info", show_default=True)
@click.option("--log-style", envvar="HOMING_LOG_STYLE", default="json", type=click.Choice(["json", "pretty"]))
def gateway(**options: object) -> None:
    """Run one gateway: HTTP and gRPC for callers, one stream to each node."""
    tune_process()
    from homing_gateway.server import run_gateway  # noqa: PLC0415 - grpc and uvicorn are slow to import; --help is not

    etcd = str(options.pop("etcd"))
    jurisdictions = str(options.pop("jurisdictions"))
    try:
        tls = tls_from(*(_text(options.pop(name)) for name in ("tls_cert", "tls_key", "tls_ca")))
        settings = GatewaySettings(
            etcd=tuple(url.strip() for url in etcd.split(",") if url.strip()),
            tls=tls,
            jurisdictions=read_jurisdictions(jurisdictions),
            **options,  # pyright: ignore[reportArgumentType] - click has checked the types
        )
        settings.check()
        run_gateway(settings)
    except HomingError as error:
        raise click.ClickException(f"{error.message} {error.hint}".strip()) from error


def _text(value: object) -> str | None:
    return None if value is None else str(value)
