//! What must hold between settings that are sound by themselves. Decides nothing about single values (that is the
//! table's) and looks at no file that they name (that is for [`super::files`]).

use std::net::SocketAddr;

use super::Config;
use super::draft::Clash;
use super::namespace::{Namespace, Order};

/// Clashes outside the namespaces.
pub(super) fn settings(config: &Config) -> Vec<Clash> {
    let mut clashes = Vec::new();
    if config.client.bind.ip().is_unspecified() && config.client.advertise.is_none() {
        clashes.push(unreachable(&["client.advertise", "client.bind"], "clients", "\"fra-1.example.com:7400\""));
    }
    if config.peer.bind.ip().is_unspecified() && config.peer.advertise.is_none() {
        clashes.push(unreachable(&["peer.advertise", "peer.bind"], "other nodes", "\"192.0.2.10:7440\""));
    }
    if overlap(config.client.bind, config.peer.bind) {
        let message = format!(
            "client.bind and peer.bind are both {} over UDP; give each a port of its own, for example 7400 and 7440",
            config.peer.bind
        );
        clashes.push(Clash { keys: &["peer.bind", "client.bind"], message });
    }
    clashes
}

fn unreachable(keys: &'static [&'static str], who: &str, example: &str) -> Clash {
    let section = keys[0].split('.').next().unwrap_or_default();
    let message = format!(
        "{section}.bind listens on every address, so {who} cannot be told one; write advertise = {example} below [{section}]"
    );
    Clash { keys, message }
}

/// Whether two UDP sockets cannot be bound to `a` and `b` at once. Port 0 is any free one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_ip
}

/// Clashes within one namespace.
pub(super) fn namespace(namespace: &Namespace) -> Vec<Clash> {
    let mut clashes = Vec::new();
    let mut clash = |keys, message: String| clashes.push(Clash { keys, message });
    match (namespace.order, &namespace.home) {
        (Order::Global, None) => {
            let message = "\"global\" needs a region that orders for all; write home = \"fra\" beside it";
            clash(&["order", "home"], message.to_owned());
        }
        (Order::Region, Some(_)) => {
            let message = "only a global order has a home; write order = \"global\" beside it, or remove home";
            clash(&["home", "order"], message.to_owned());
        }
        (Order::Global, Some(home)) if !namespace.regions.is_empty() && !namespace.regions.contains(home) => {
            clash(&["home", "regions"], format!("\"{home}\" is not among the namespace's regions; add it to regions"));
        }
        _ => {}
    }
    if !namespace.log && namespace.order == Order::Global {
        clash(
            &["order", "log"],
            "volatile channels have no order to keep; write log = true, or remove order".to_owned(),
        );
    }
    if !namespace.log && namespace.conflate {
        clash(
            &["conflate", "log"],
            "volatile channels keep no values; write log = true, or remove conflate".to_owned(),
        );
    }
    clashes
}
