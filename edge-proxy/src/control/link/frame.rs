//! Messages on a byte stream: a length, and so many bytes of JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::PATIENCE;

/// The longest message: a snapshot of a hundred apps, or a thousand notes, is far below it.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Why a message was not read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FrameError {
    #[error("a message of {bytes} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong { bytes: usize },
    #[error("a message is not understood: {0}")]
    NotUnderstood(serde_json::Error),
    #[error("a message came out of turn")]
    OutOfTurn,
    #[error("the peer does not read or write in time")]
    Slow,
    #[error("the peer has gone: {0}")]
    Gone(#[from] io::Error),
}

/// Reads the next message. Not to be cancelled half-way.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<T, FrameError> {
    let bytes = from.read_u32().await? as usize;
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    // The buffer grows with what comes: a length alone takes no memory.
    let mut message = Vec::new();
    from.take(bytes as u64).read_to_end(&mut message).await?;
    if message.len() < bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    serde_json::from_slice(&message).map_err(FrameError::NotUnderstood)
}

/// A message as it is sent.
pub(super) fn framed(message: &impl Serialize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::NotUnderstood)?;
    let bytes = frame.len() - 4;
    let length = u32::try_from(bytes).ok();
    let length = length.filter(|_| bytes <= FRAME_BYTES_MAX);
    let length = length.ok_or(FrameError::TooLong { bytes })?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Sends a message to a peer that takes it in time.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), FrameError> {
    let frame = framed(message)?;
    match timeout(PATIENCE, to.write_all(&frame)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(FrameError::Slow),
    }
}
