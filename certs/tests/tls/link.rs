//! A client and a server with the wire between them in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use certs::{CertStore, ServerOptions, Tickets, server_config};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection,
};

use crate::paper::Authority;

/// Two ends that finished their handshake.
pub(crate) struct Link {
    pub(crate) client: ClientConnection,
    pub(crate) server: ServerConnection,
    /// What the server sent for it.
    pub(crate) server_bytes: usize,
}

/// What the client was told, when there was no handshake.
pub(crate) struct Refused {
    pub(crate) client: Error,
}

pub(crate) fn server(store: &Arc<CertStore>) -> Arc<ServerConfig> {
    server_config(Arc::clone(store), Tickets::new(), ServerOptions::default())
}

pub(crate) fn client(authority: &Authority) -> ClientConfig {
    client_with(
        authority,
        aws_lc_rs::default_provider(),
        &[&rustls::version::TLS13, &rustls::version::TLS12],
    )
}

pub(crate) fn client_with(
    authority: &Authority,
    provider: CryptoProvider,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(authority.root.clone())
        .expect("the root is a certificate");
    ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("the provider serves these versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A handshake and, in TLS 1.3, the tickets after it.
pub(crate) fn connect(
    client: &ClientConfig,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<Link, Refused> {
    let mut link = Link::begin(client, server, name);
    link.settle()?;
    Ok(link)
}

impl Link {
    pub(crate) fn begin(client: &ClientConfig, server: &Arc<ServerConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name to ask for");
        Self {
            client: ClientConnection::new(Arc::new(client.clone()), name).expect("a client starts"),
            server: ServerConnection::new(Arc::clone(server)).expect("a server starts"),
            server_bytes: 0,
        }
    }

    /// Carries bytes both ways until neither side has any.
    pub(crate) fn settle(&mut self) -> Result<(), Refused> {
        while self.client.wants_write() || self.server.wants_write() {
            let mut wire = Vec::new();
            while self.client.wants_write() {
                self.client
                    .write_tls(&mut wire)
                    .expect("memory takes bytes");
            }
            let mut read = wire.as_slice();
            while !read.is_empty() && self.server.read_tls(&mut read).is_ok_and(|n| n > 0) {
                // An error is answered with an alert, which the client reads below.
                let _ = self.server.process_new_packets();
            }
            let mut wire = Vec::new();
            while self.server.wants_write() {
                self.server
                    .write_tls(&mut wire)
                    .expect("memory takes bytes");
            }
            self.server_bytes += wire.len();
            let mut read = wire.as_slice();
            while !read.is_empty() {
                self.client.read_tls(&mut read).expect("memory gives bytes");
                self.client
                    .process_new_packets()
                    .map_err(|client| Refused { client })?;
            }
        }
        Ok(())
    }

    /// Says `words` from the server and returns what the client heard.
    pub(crate) fn say(&mut self, words: &str) -> String {
        self.server
            .writer()
            .write_all(words.as_bytes())
            .expect("the server takes words");
        assert!(self.settle().is_ok(), "the connection is alive");
        let mut heard = vec![0; words.len()];
        self.client
            .reader()
            .read_exact(&mut heard)
            .expect("the client hears them");
        String::from_utf8(heard).expect("words are text")
    }

    /// The certificate that the client was shown.
    pub(crate) fn leaf(&self) -> &CertificateDer<'_> {
        self.client
            .peer_certificates()
            .and_then(|chain| chain.first())
            .expect("the server showed a certificate")
    }
}
