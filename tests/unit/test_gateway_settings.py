"""What a gateway refuses to start with, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from homing.errors import ConfigurationError
from homing_gateway.cli import gateway
from homing_gateway.settings import GatewaySettings, Tls, tls_from

ETCD = ("http://127.0.0.1:2379",)
TOKEN = "0123456789abcdef"
FILES = Tls(Path("c"), Path("k"), Path("a"))


def test_the_defaults_stay_on_this_machine() -> None:
    settings = GatewaySettings(ETCD)
    settings.check()
    assert (settings.listen, settings.grpc_listen) == ("127.0.0.1:8787", "127.0.0.1:8788")
    assert settings.metrics_listen == "127.0.0.1:9464"


@pytest.mark.parametrize("field", ["listen", "grpc_listen"])
@pytest.mark.parametrize("address", ["0.0.0.0:80", "[::]:80", "10.0.0.1:80", "example.org:80"])
def test_beyond_loopback_needs_a_token_and_tls(field: str, address: str) -> None:
    def check(**more: object) -> None:
        GatewaySettings(ETCD, **{field: address}, **more).check()

    with pytest.raises(ConfigurationError, match="HOMING_API_TOKEN"):
        check()
    with pytest.raises(ConfigurationError, match="HOMING_API_TOKEN"):
        check(insecure=True)
    with pytest.raises(ConfigurationError, match="at least 16"):
        check(insecure=True, api_token=TOKEN[:15])
    with pytest.raises(ConfigurationError, match="--insecure"):
        check(api_token=TOKEN)
    check(api_token=TOKEN, insecure=True)
    check(api_token=TOKEN, tls=FILES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"etcd": ()},
        {"slots": 0},
        {"slots": 1_000},
        {"slots": 131_072},
        {"listen": "8787"},
        {"listen": "127.0.0.1:99999"},
        {"metrics_listen": "x"},
        {"latency_target_ms": 0.0},
        {"api_token": "line\nbreak"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        GatewaySettings(**{"etcd": ETCD, **wrong}).check()


def test_tls_files_go_together(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    assert tls_from(None, None, None) is None
    assert tls_from(str(file), str(file), str(file)) == Tls(file, file, file)
    with pytest.raises(ConfigurationError, match="together"):
        tls_from(str(file), None, None)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        tls_from(str(file), str(file), str(tmp_path / "none"))


def test_the_command_says_what_to_do_instead_of_a_traceback() -> None:
    found = CliRunner().invoke(
        gateway, [], env={"HOMING_ETCD": "http://127.0.0.1:2379", "HOMING_LISTEN": "0.0.0.0:8787"}
    )
    assert found.exit_code == 1
    assert "HOMING_API_TOKEN" in found.output
    assert "Traceback" not in found.output
