//! `[listeners]`: every address once.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::Notes;
use crate::config::checked::Listeners;
use crate::config::mistake::At;
use crate::config::raw;
use crate::surface::{AdminTcp, Mutual, NotMutual};

/// The longest path that a unix socket can have on Linux.
const SOCKET_PATH_BYTES_MAX: usize = 107;

pub(super) fn check(
    typed: &raw::Listeners,
    state: Option<&Path>,
    notes: &mut Notes<'_>,
) -> Option<Listeners> {
    let table = At::top().key("listeners");
    let public = addresses(&table.key("public"), &typed.public, notes);
    let redirect = addresses(&table.key("redirect"), &typed.redirect, notes);
    let danger_plain = addresses(&table.key("danger_plain"), &typed.danger_plain, notes);
    let observe = match typed.observe.as_str() {
        "off" => None,
        text => address(&table.key("observe"), text, notes),
    };
    if typed.public.is_empty() && typed.danger_plain.is_empty() {
        notes.refuse(
            &table.key("public"),
            "nothing is served: write an address such as \"0.0.0.0:443\"",
        );
    }
    for (at, address) in &danger_plain {
        if !address.ip().is_loopback() {
            notes.refuse(
                at,
                format!("{address} is not loopback, and this listener has no TLS"),
            );
        }
    }
    let admin_tcp = match &typed.admin_tcp {
        Some(typed) => admin_tcp(&table.key("admin_tcp"), typed, notes).map(Some),
        None => Some(None),
    };
    let apart = admin_tcp
        .iter()
        .flatten()
        .map(|apart| (table.key("admin_tcp").key("listen"), apart.listen));
    let observed = observe
        .iter()
        .map(|address| (table.key("observe"), *address));
    let all: Vec<_> = [&public[..], &redirect, &danger_plain]
        .concat()
        .into_iter()
        .chain(observed)
        .chain(apart)
        .collect();
    for (index, (at, address)) in all.iter().enumerate() {
        if let Some((taken, _)) = all[..index]
            .iter()
            .find(|(_, other)| clash(*address, *other))
        {
            let place = notes.document.place(taken);
            notes.refuse(at, format!("{address} is taken by {taken} ({place})"));
        }
    }
    let proxy_protocol_from = networks(
        &table.key("proxy_protocol_from"),
        &typed.proxy_protocol_from,
        notes,
    );
    let forwarded_from = networks(&table.key("forwarded_from"), &typed.forwarded_from, notes);
    let only = |list: Vec<(At, SocketAddr)>| list.into_iter().map(|(_, address)| address).collect();
    Some(Listeners {
        proxy_protocol_from,
        forwarded_from,
        public: only(public),
        redirect: only(redirect),
        redirect_port: typed.redirect_port,
        danger_plain: only(danger_plain),
        admin_tcp: admin_tcp?,
        admin: admin(&table.key("admin"), typed.admin.as_deref(), state?, notes)?,
        observe,
        tcp: typed.tcp.checked(),
    })
}

fn admin(at: &At, typed: Option<&str>, state: &Path, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let socket = match typed {
        Some(typed) => notes.path(at, typed)?,
        None => state.join(raw::ADMIN_SOCKET),
    };
    let length = socket.as_os_str().len();
    if length > SOCKET_PATH_BYTES_MAX {
        notes.refuse(at, format!("the path `{}` is longer than the {SOCKET_PATH_BYTES_MAX} bytes that a unix socket can have", socket.display()));
        return None;
    }
    Some(socket)
}

/// None only when a mistake was noted.
fn admin_tcp(at: &At, typed: &raw::AdminTcp, notes: &mut Notes<'_>) -> Option<AdminTcp> {
    let listen = address(&at.key("listen"), &typed.listen, notes);
    let certificate = notes.path(&at.key("certificate"), &typed.certificate)?;
    let key = notes.path(&at.key("key"), &typed.key)?;
    let clients = notes.path(&at.key("clients"), &typed.clients)?;
    match Mutual::read(&certificate, &key, &clients) {
        Ok(mutual) => Some(AdminTcp {
            listen: listen?,
            mutual,
        }),
        Err(problem) => {
            let (key, shown, why) = match problem {
                NotMutual::Certificate(why) => ("certificate", &typed.certificate, why),
                NotMutual::Key(why) => ("key", &typed.key, why),
                NotMutual::Clients(why) => ("clients", &typed.clients, why),
            };
            notes.refuse(&at.key(key), format!("`{shown}` {why}"));
            None
        }
    }
}

fn addresses(at: &At, typed: &[String], notes: &mut Notes<'_>) -> Vec<(At, SocketAddr)> {
    let each = typed.iter().enumerate();
    each.filter_map(|(index, text)| {
        let at = at.index(index);
        address(&at, text, notes).map(|address| (at, address))
    })
    .collect()
}

fn networks(at: &At, typed: &[String], notes: &mut Notes<'_>) -> Vec<IpNet> {
    let each = typed.iter().enumerate();
    each.filter_map(|(index, text)| {
        let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let network = text.parse::<IpNet>().ok().or_else(one);
        if network.is_none() {
            notes.refuse(
                &at.index(index),
                format!("`{text}` is no network: write one such as 10.0.0.0/8 or fd00::/8"),
            );
        }
        network
    })
    .collect()
}

/// An address from its text.
pub(super) fn address(at: &At, text: &str, notes: &mut Notes<'_>) -> Option<SocketAddr> {
    let address = text.parse().ok();
    if address.is_none() {
        notes.refuse(
            at,
            format!("`{text}` is no address: write IP:PORT, such as 127.0.0.1:3000 or [::1]:3000"),
        );
    }
    address
}

/// Whether the second cannot be bound beside the first. IPv6 sockets take no IPv4 connections here,
/// and port 0 is a free port each time.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
