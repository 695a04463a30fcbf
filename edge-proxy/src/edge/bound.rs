//! All sockets of an edge, bound before anything else starts: an address in use is found out first.

use std::net::{SocketAddr, TcpListener};

use super::StartError;
use crate::config::checked::Listeners;
use crate::listener::{Sockets, Surface, tcp};
use crate::surface::{AdminTcp, Mutual};

/// Bound sockets by surface.
pub(super) struct Bound {
    pub(super) http: Vec<(TcpListener, Surface)>,
    pub(super) observe: Option<TcpListener>,
    pub(super) admin: Option<(TcpListener, Mutual)>,
}

impl Bound {
    pub(super) fn of(asked: &Listeners, sockets: &mut Sockets) -> Result<Self, StartError> {
        let mut listen = |address: SocketAddr| {
            let failed = |source| StartError::Listen {
                address: address.to_string(),
                source,
            };
            sockets.listen(address).map_err(failed)
        };
        let mut http = Vec::new();
        for (addresses, surface) in [
            (&asked.public, Surface::Public),
            (&asked.redirect, Surface::Redirect),
            (&asked.danger_plain, Surface::DangerPlain),
        ] {
            for address in addresses {
                let listener = listen(*address)?;
                tcp::set(&listener, &asked.tcp).map_err(|source| StartError::Listen {
                    address: address.to_string(),
                    source,
                })?;
                http.push((listener, surface));
            }
        }
        let observe = asked.observe.map(&mut listen).transpose()?;
        let admin = match &asked.admin_tcp {
            Some(apart) => Some((listen(apart.listen)?, apart.mutual.clone())),
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
