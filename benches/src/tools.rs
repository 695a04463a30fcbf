//! Programs that others made, found in `PATH`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::error::BenchError;

/// A program, and the Debian package that holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
}

/// Drives H1.
pub(crate) const WRK: Tool = Tool {
    program: "wrk",
    package: "wrk",
};
/// Drives H2.
pub(crate) const H2LOAD: Tool = Tool {
    program: "h2load",
    package: "nghttp2-client",
};
/// The peer that ratios are made of.
pub(crate) const NGINX: Tool = Tool {
    program: "nginx",
    package: "nginx",
};
/// The fastest peer.
pub(crate) const H2O: Tool = Tool {
    program: "h2o",
    package: "h2o",
};

/// A peer that balances.
pub(crate) const HAPROXY: Tool = Tool {
    program: "haproxy",
    package: "haproxy",
};

/// A cache with tags, by its vmod xkey of the package `varnish-modules`.
pub(crate) const VARNISH: Tool = Tool {
    program: "varnishd",
    package: "varnish varnish-modules",
};

/// What others encode their files with.
pub(crate) const BROTLI: Tool = Tool {
    program: "brotli",
    package: "brotli",
};
/// The same, for clients without `br`.
pub(crate) const GZIP: Tool = Tool {
    program: "gzip",
    package: "gzip",
};

/// What others make pictures narrower with.
pub(crate) const VIPS: Tool = Tool {
    program: "vipsthumbnail",
    package: "libvips-tools",
};

impl Tool {
    /// Where it is. Servers are often in `sbin`, which is not in the `PATH` of everybody.
    pub(crate) fn find(self) -> Result<PathBuf, BenchError> {
        let path = env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        env::split_paths(&path)
            .chain(usual)
            .map(|folder| folder.join(self.program))
            .find(|file| file.is_file())
            .ok_or(BenchError::Missing {
                program: self.program,
                package: self.package,
            })
    }

    /// The first line of what it says of itself.
    pub(crate) fn version(self, flag: &str) -> String {
        let said = self.find().ok().and_then(|program| {
            let output = Command::new(program).arg(flag).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            Some(text.lines().next()?.trim().to_owned())
        });
        said.unwrap_or_else(|| self.program.to_owned())
    }
}
