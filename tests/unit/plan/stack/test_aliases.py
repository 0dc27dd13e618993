"""By which names services reach each other, and who shares a network namespace."""

from __future__ import annotations

from stromboli.compose.stack import Attachment, Link
from stromboli.plan.stack import namespaces
from stromboli.plan.stack.aliases import aliases, hidden_links
from tests.unit.plan.stack.stacks import service, stack


def on(**networks: tuple[str, ...]) -> dict[str, Attachment]:
    return {name: Attachment(f"networks.{name}", aliases) for name, aliases in networks.items()}


def test_a_service_is_known_by_its_name_its_container_s_and_its_aliases() -> None:
    services = stack(
        service("app"),
        service("database", container_name="shop_db", networks=on(back=("pg",), front=())),
    )
    assert aliases(services) == {
        "app": {"default": ("app",)},
        "database": {"back": ("database", "shop_db", "pg"), "front": ("database", "shop_db")},
    }


def test_a_hostname_is_a_name_too_unless_it_is_another_s() -> None:
    services = stack(service("kafka", hostname="broker"), service("app", hostname="kafka"))
    assert aliases(services) == {"kafka": {"default": ("kafka", "broker")}, "app": {"default": ("app",)}}
    apart = stack(service("kafka", networks=on(a=())), service("app", hostname="kafka", networks=on(b=())))
    assert aliases(apart)["app"] == {"b": ("app", "kafka")}


def test_links_name_the_service_on_the_networks_that_it_shares() -> None:
    services = stack(
        service("web", links=(Link("l", "postgres", "postgres"), Link("l", "postgres", "db")), networks=on(a=())),
        service("postgres", networks=on(a=(), b=())),
        service("other", networks=on(b=())),
    )
    assert aliases(services)["postgres"] == {"a": ("postgres", "db"), "b": ("postgres",)}
    assert list(hidden_links(services)) == []


def test_a_link_cannot_take_another_service_s_name() -> None:
    services = stack(service("web", links=(Link("services.web.links[0]", "db2", "db"),)), service("db"), service("db2"))
    assert aliases(services)["db2"] == {"default": ("db2",)}
    assert list(hidden_links(services)) == [
        "services.web.links[0]: db is the service db here, not db2: links have no names of their own on a network; "
        "call db2 by its name"
    ]


def test_capitals_make_no_difference() -> None:
    services = stack(service("DB"), service("app", hostname="db"))
    assert aliases(services)["app"] == {"default": ("app",)}


def test_which_networks_a_service_is_on() -> None:
    assert namespaces.networks(service("a")) == ("default",)
    assert namespaces.networks(service("a", networks=on(x=(), y=("z",)))) == ("x", "y")
    assert namespaces.networks(service("a", network_mode="bridge")) == ("default",)
    for mode in ("none", "host", "service:db"):
        assert namespaces.networks(service("a", network_mode=mode)) == ()


def test_a_shared_namespace_has_everybody_in_it() -> None:
    services = stack(
        service("app", network_mode="service:side"),
        service("side", network_mode="service:db"),
        service("db"),
        service("cache"),
        service("alone", network_mode="none"),
    )
    assert namespaces.shared(services) == {"app": "db", "side": "db", "db": "db"}
    assert namespaces.shared(stack(service("db"))) == {}
    assert aliases(services)["app"] == {}
    assert aliases(services)["db"] == {"default": ("db",)}
