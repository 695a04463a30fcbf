//! `certificates`: what do ten thousand certificates cost?
//!
//! The store of the edge in this process: how long it takes to load a folder, what it holds in memory,
//! how long a look at files that did not change takes, and a lookup by name.

use std::hint::black_box;
use std::time::{Duration, Instant};

use certs::CertStore;
use serde::Serialize;

use crate::error::BenchError;
use crate::memory;

/// Lookups that are timed.
const LOOKUPS: usize = 1_000_000;
/// How often the folder is looked at while nothing changes.
const LOOKS: u32 = 10;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Certificates in the folder.
    pub count: usize,
    /// From the first file to a store that serves.
    pub load_ms: f64,
    /// Memory for each of them, in bytes.
    pub bytes_each: u64,
    /// A look that finds nothing new.
    pub look_ms: f64,
    /// Whether the certificate of a connection covers a host: two lookups by name.
    pub covers_ns: f64,
    /// Whether this was built without optimisation.
    pub debug: bool,
}

/// Makes `count` certificates and measures the store with them.
///
/// # Errors
/// When the folder cannot be written, or the store does not take them all.
pub fn measure(count: usize) -> Result<Report, BenchError> {
    let unwritable = || BenchError::io("the folder of the run cannot be written");
    let folder = tempfile::Builder::new()
        .prefix("bellwether-bench-")
        .tempdir()
        .map_err(unwritable())?;
    let host = |number: usize| format!("school-{number}.example");
    for number in 0..count {
        let names = [host(number), format!("*.{}", host(number))];
        let made = rcgen::generate_simple_self_signed(names)?;
        let put = |ending: &str, pem: String| {
            std::fs::write(folder.path().join(format!("{number}.{ending}")), pem)
        };
        put("crt", made.cert.pem()).map_err(unwritable())?;
        put("key", made.signing_key.serialize_pem()).map_err(unwritable())?;
    }
    let before = memory::resident(std::process::id());
    let began = Instant::now();
    let store = CertStore::open(folder.path())
        .map_err(|error| BenchError::io("the store")(std::io::Error::other(error)))?;
    let load = began.elapsed();
    let held = memory::resident(std::process::id()).saturating_sub(before);
    if store.list().len() != count {
        let problem = std::io::Error::other(format!("{} of {count} are live", store.list().len()));
        return Err(BenchError::io("the store")(problem));
    }
    // The files are young at first, and young files are read whenever they are looked at.
    std::thread::sleep(Duration::from_secs(3));
    store.look();
    let began = Instant::now();
    for _ in 0..LOOKS {
        black_box(store.look());
    }
    let look = began.elapsed() / LOOKS;
    let names: Vec<String> = (0..1000)
        .map(|number| host(number * count / 1000))
        .collect();
    let began = Instant::now();
    for lookup in 0..LOOKUPS {
        let name = &names[lookup % names.len()];
        black_box(store.covers(Some(name), name));
    }
    Ok(Report {
        count,
        load_ms: load.as_secs_f64() * 1e3,
        bytes_each: held / count.max(1) as u64,
        look_ms: look.as_secs_f64() * 1e3,
        covers_ns: began.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64,
        debug: cfg!(debug_assertions),
    })
}

impl Report {
    /// For people.
    pub fn table(&self) -> String {
        format!(
            "{} certificates{}\nload            {:>10.1} ms\nmemory of each  {:>10} bytes\nlook, no change {:>10.1} ms\ncovers(host)    {:>10.1} ns\n",
            self.count,
            if self.debug { "; a DEBUG build" } else { "" },
            self.load_ms,
            self.bytes_each,
            self.look_ms,
            self.covers_ns
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_certificates_are_measured() -> Result<(), BenchError> {
        let report = measure(5)?;
        assert!(report.load_ms > 0.0 && report.covers_ns > 0.0);
        assert!(report.table().starts_with("5 certificates"));
        Ok(())
    }
}
