//! The rustls configuration of a public listener.

use std::sync::Arc;

use rustls::compress::{
    BROTLI_COMPRESSOR, CertCompressor, CompressionCache, CompressionFailed, CompressionLevel,
};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateCompressionAlgorithm, ServerConfig};

use crate::store::CertStore;
use crate::tickets::Tickets;

/// Compressed chains kept, at about 6 KiB each. rustls keeps four, which is the hosts of two schools.
const COMPRESSED_CHAINS_MAX: usize = 256;

/// What TLS allows (RFC 8446, 5.1).
const RECORD_BYTES_MAX: u16 = 16_384;
const RECORD_BYTES_MIN: u16 = 512;
/// rustls counts a record's own header in.
const RECORD_HEADER_BYTES: u16 = 5;

/// What may differ between listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerOptions {
    /// Offer HTTP/2 before HTTP/1.1.
    pub http2: bool,
    /// The plaintext of one record at most: 512 to 16,384.
    pub record_bytes: u16,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            http2: true,
            record_bytes: RECORD_BYTES_MAX,
        }
    }
}

/// The configuration for certificates that `store` picks and sessions that `tickets` resumes.
///
/// TLS 1.3 and 1.2 with aws-lc-rs, X25519MLKEM768 first, ALPN, compressed certificates (RFC 8879), no 0-RTT and no
/// state per session: what a client resumes, it brings. Certificates change inside the store, so the configuration stays.
pub fn server_config(
    store: Arc<CertStore>,
    tickets: Arc<Tickets>,
    options: ServerOptions,
) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has suites and groups for both versions")
        .with_no_client_auth()
        .with_cert_resolver(store);
    config.alpn_protocols = match options.http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    let record = options
        .record_bytes
        .clamp(RECORD_BYTES_MIN, RECORD_BYTES_MAX);
    config.max_fragment_size = Some(usize::from(record + RECORD_HEADER_BYTES));
    config.ticketer = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.cert_compressors = vec![&QuickBrotli];
    config.cert_compression_cache = Arc::new(CompressionCache::new(COMPRESSED_CHAINS_MAX));
    Arc::new(config)
}

/// Named here and not taken from the process default: another crate may have installed one without ML-KEM. The groups
/// are listed because their order in the default depends on a feature flag.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

/// Brotli 4 instead of the 11 that rustls takes for what it caches: 11 costs 18 ms in the first handshake of a chain, and
/// in every handshake once clients ask for more hosts than are cached, which a scanner can. 4 costs 0.2 ms and gives up
/// 6 % of the chain.
#[derive(Debug)]
struct QuickBrotli;

impl CertCompressor for QuickBrotli {
    fn compress(&self, chain: Vec<u8>, _: CompressionLevel) -> Result<Vec<u8>, CompressionFailed> {
        BROTLI_COMPRESSOR.compress(chain, CompressionLevel::Interactive)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        BROTLI_COMPRESSOR.algorithm()
    }
}
