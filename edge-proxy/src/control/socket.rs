//! The operator's unix socket: who may open it is decided by the file system.
//!
//! The file is readable by this account only before anyone can connect: a connection to a socket
//! that is bound but does not listen yet is refused. Two edges that start at once are kept apart by
//! the state file, which is opened before this.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 32;

/// Why the admin socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SocketError {
    #[error(
        "admin socket {} is answered by another process: stop that edge, or name another socket in `listeners.admin`",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "admin socket {}: there is a file of that name that is no socket; move it away",
        path.display()
    )]
    NotASocket { path: PathBuf },
    #[error("admin socket {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A bound socket; its file is removed when this is dropped, unless another process replaced it.
#[derive(Debug)]
pub struct AdminSocket {
    path: PathBuf,
    identity: Identity,
    listener: Option<UnixListener>,
}

impl AdminSocket {
    /// Binds the socket, replacing the file of a process that is gone. Needs a tokio runtime.
    ///
    /// # Errors
    /// When a living process answers there, or the path cannot be used.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(io)?;
        }
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(io)?;
        socket
            .bind(&SockAddr::unix(path).map_err(io)?)
            .map_err(io)?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io)?;
        socket.listen(BACKLOG).map_err(io)?;
        socket.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(socket.into()).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path).map_err(io)?,
            listener: Some(listener),
        })
    }

    /// One at which another process listens, and whose file is this process's to remove.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn of_another(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
            listener: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listener, once.
    pub(crate) fn listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("admin socket {}: {error}", self.path.display());
        }
    }
}

/// Which file it is, and since when: the number of a file that is gone is given to the next one.
type Identity = ((u64, u64), (i64, i64));

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    let since = (found.ctime(), found.ctime_nsec());
    Ok(((found.dev(), found.ino()), since))
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let path_owned = || path.to_owned();
    let io = |source| SocketError::Io {
        path: path_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io)
        }
        // It answers, its queue is full, or it is not ours to ask: either way somebody's.
        Ok(_) | Err(_) => Err(SocketError::InUse { path: path_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_ends_leaves_the_socket_of_the_next_one() {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path().join("desk.sock");
        let mut before = AdminSocket::bind(&path).expect("nobody has it");
        assert!(matches!(
            AdminSocket::bind(&path),
            Err(SocketError::InUse { .. })
        ));
        // It listens no more, and its file stays: the next one may get a file of the same number.
        drop(before.listener());
        let next = AdminSocket::bind(&path).expect("nobody answers there");
        drop(before);
        assert!(path.exists());
        drop(next);
        assert!(!path.exists());
    }
}
