//! All sockets of an edge, bound before anything else starts: an address in use is found out first.

use std::net::{SocketAddr, TcpListener};

use super::StartError;
use crate::config::checked::{Listeners, Tcp};
use crate::listener::{Sockets, Surface, tcp};
use crate::surface::{AdminTcp, Mutual};

/// The name of the monitors' socket.
pub(crate) const OBSERVE: &str = "observe";

/// The name of the socket for operators on another machine.
pub(crate) const ADMIN: &str = "admin";

/// The name of the socket for the platform's events.
pub(crate) const EVENTS: &str = "events";

/// The sockets that requests come in by, each with a name of its own.
pub(crate) fn named(asked: &Listeners) -> impl Iterator<Item = (String, SocketAddr, Surface)> {
    let surfaces = [
        ("public", &asked.public, Surface::Public),
        ("redirect", &asked.redirect, Surface::Redirect),
        ("plain", &asked.danger_plain, Surface::DangerPlain),
    ];
    surfaces.into_iter().flat_map(|(name, addresses, surface)| {
        let numbered = addresses.iter().enumerate();
        numbered.map(move |(number, address)| (format!("{name}-{number}"), *address, surface))
    })
}

/// Gives a client listener its options; those of sockets that were passed in too.
pub(crate) fn optioned(
    listener: &TcpListener,
    address: SocketAddr,
    options: &Tcp,
) -> Result<(), StartError> {
    tcp::set(listener, options).map_err(|source| StartError::Listen {
        address: address.to_string(),
        source,
    })
}

/// Bound sockets by surface.
pub(super) struct Bound {
    pub(super) http: Vec<(TcpListener, Surface)>,
    pub(super) observe: Option<TcpListener>,
    pub(super) admin: Option<(TcpListener, Mutual)>,
}

impl Bound {
    /// Monitors and operators are answered by the process that the operator started: `whole` is false in a worker.
    pub(super) fn of(
        asked: &Listeners,
        sockets: &mut Sockets,
        whole: bool,
    ) -> Result<Self, StartError> {
        let mut listen = |name: &str, address: SocketAddr| {
            let failed = |source| StartError::Listen {
                address: address.to_string(),
                source,
            };
            sockets.listen(name, address).map_err(failed)
        };
        let mut http = Vec::new();
        for (name, address, surface) in named(asked) {
            let listener = listen(&name, address)?;
            // A worker's are its supervisor's: an upgrade that fails has changed nothing of them.
            if whole {
                optioned(&listener, address, &asked.tcp)?;
            }
            http.push((listener, surface));
        }
        let observe = asked.observe.filter(|_| whole);
        let observe = observe.map(|at| listen(OBSERVE, at)).transpose()?;
        let admin = asked.admin_tcp.as_ref().filter(|_| whole);
        let admin = match admin {
            Some(apart) => Some((listen(ADMIN, apart.listen)?, apart.mutual.clone())),
            None => None,
        };
        Ok(Self {
            http,
            observe,
            admin,
        })
    }

    /// The addresses as they are, with the ports that the system gave for 0.
    pub(super) fn listeners(&self, asked: &Listeners) -> Listeners {
        let at = |wanted| {
            let of_surface = self.http.iter().filter(|(_, surface)| *surface == wanted);
            of_surface
                .filter_map(|(listener, _)| listener.local_addr().ok())
                .collect::<Vec<_>>()
        };
        let public = at(Surface::Public);
        let given = public.first().map_or(asked.redirect_port, SocketAddr::port);
        Listeners {
            redirect: at(Surface::Redirect),
            danger_plain: at(Surface::DangerPlain),
            observe: self
                .observe
                .as_ref()
                .and_then(|listener| listener.local_addr().ok()),
            // A port that the system chose cannot have been named in the config.
            redirect_port: if asked.redirect_port == 0 {
                given
            } else {
                asked.redirect_port
            },
            admin: asked.admin.clone(),
            admin_tcp: self.admin.as_ref().and_then(|(listener, mutual)| {
                Some(AdminTcp {
                    listen: listener.local_addr().ok()?,
                    mutual: mutual.clone(),
                })
            }),
            tcp: asked.tcp.clone(),
            proxy_protocol_from: asked.proxy_protocol_from.clone(),
            forwarded_from: asked.forwarded_from.clone(),
            public,
        }
    }
}
