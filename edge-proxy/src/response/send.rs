//! Writes an answer to a pingora session.
//!
//! A body of up to [`CHUNK`] bytes leaves together with its header; an answer without a body ends
//! the stream on the header (RFC 9113: no empty DATA frame). Anything longer goes in chunks: the
//! session's write timeout is per chunk, so a slow client that still reads is not cut off and one
//! that stopped is, and it never holds more than one chunk in flight and one read ahead.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use pingora_core::protocols::http::HttpTask;
use pingora_core::{Error, ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use tokio::task::JoinHandle;

use super::represent::{Answer, Content, Cut};

/// How much is written at once, and read ahead from a file.
pub const CHUNK: usize = 128 << 10;

/// Above this a body is not copied into HTTP/1's gathered write.
const GATHER_MAX: usize = 16 << 10;

/// A header and the bytes that follow it.
#[derive(Debug)]
pub struct Reply {
    /// Status and fields.
    pub header: Box<ResponseHeader>,
    /// What follows.
    pub body: Body,
}

/// The bytes of an answer.
#[derive(Debug)]
pub enum Body {
    /// None: HEAD, 304 and the like.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// Read from a file while it is sent.
    File(FilePart),
    /// One after the other.
    Several(Vec<Body>),
}

/// A part of an open file.
#[derive(Debug)]
pub struct FilePart {
    /// Its bytes have been checked.
    pub file: Arc<File>,
    /// Which of them are sent.
    pub part: Range<u64>,
}

impl From<Answer<Bytes>> for Reply {
    fn from(answer: Answer<Bytes>) -> Self {
        Self {
            header: answer.header,
            body: answer.content.map_or(Body::Empty, Body::from),
        }
    }
}

impl From<Content<Bytes>> for Body {
    fn from(content: Content<Bytes>) -> Self {
        let Content { at, cut } = content;
        // In memory: every offset fits. A slice of everything is the same reference.
        Self::of(cut, |part| {
            Self::Bytes(at.slice(part.start as usize..part.end as usize))
        })
    }
}

impl Body {
    /// What of an open file is sent.
    pub fn of_file(file: Arc<File>, cut: Cut) -> Self {
        Self::of(cut, |part| {
            let file = Arc::clone(&file);
            Self::File(FilePart { file, part })
        })
    }

    fn of(cut: Cut, one: impl Fn(Range<u64>) -> Self) -> Self {
        match cut {
            Cut::Part(part) => one(part),
            Cut::Parts(parts) => {
                let framed = parts.pieces.into_iter();
                let mut bodies: Vec<Self> = framed
                    .flat_map(|(head, part)| [Self::Bytes(head), one(part)])
                    .collect();
                bodies.push(Self::Bytes(parts.end));
                Self::Several(bodies)
            }
        }
    }
}

/// Sends all of it.
///
/// # Errors
/// The client went away or stopped reading, or the file is shorter than it was; after the header
/// was sent the only way to say so is to end the stream.
pub async fn send(session: &mut Session, reply: Reply) -> Result<()> {
    let Reply { header, body } = reply;
    match body {
        Body::Empty => head(session, header, true).await,
        Body::Bytes(bytes) if bytes.is_empty() => head(session, header, true).await,
        Body::Bytes(bytes) => send_bytes(session, header, bytes).await,
        Body::File(part) => send_file(session, header, part).await,
        Body::Several(bodies) => send_several(session, header, bodies).await,
    }
}

/// The last of them is never empty: it ends the stream.
async fn send_several(
    session: &mut Session,
    header: Box<ResponseHeader>,
    bodies: Vec<Body>,
) -> Result<()> {
    head(session, header, bodies.is_empty()).await?;
    let last = bodies.len().saturating_sub(1);
    for (at, body) in bodies.into_iter().enumerate() {
        match body {
            Body::Bytes(bytes) => write_bytes(session, bytes, at == last).await?,
            Body::File(part) => {
                let mut chunks = Chunks::of(part);
                let mut ahead = chunks.read();
                while let Some(next) = ahead {
                    let chunk = landed(next).await?;
                    ahead = chunks.read();
                    let end = at == last && ahead.is_none();
                    write(session, vec![HttpTask::Body(Some(chunk), end)]).await?;
                }
            }
            Body::Empty | Body::Several(_) => {}
        }
    }
    Ok(())
}

async fn write_bytes(session: &mut Session, mut bytes: Bytes, last: bool) -> Result<()> {
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(CHUNK));
        let end = last && bytes.is_empty();
        write(session, vec![HttpTask::Body(Some(chunk), end)]).await?;
    }
    Ok(())
}

async fn head(session: &mut Session, header: Box<ResponseHeader>, end: bool) -> Result<()> {
    write(session, vec![HttpTask::Header(header, end)]).await
}

async fn send_bytes(
    session: &mut Session,
    header: Box<ResponseHeader>,
    bytes: Bytes,
) -> Result<()> {
    let gathered = if session.is_http2() {
        CHUNK
    } else {
        GATHER_MAX
    };
    if bytes.len() <= gathered {
        let tasks = vec![
            HttpTask::Header(header, false),
            HttpTask::Body(Some(bytes), true),
        ];
        return write(session, tasks).await;
    }
    head(session, header, false).await?;
    write_bytes(session, bytes, true).await
}

async fn send_file(
    session: &mut Session,
    header: Box<ResponseHeader>,
    part: FilePart,
) -> Result<()> {
    let mut chunks = Chunks::of(part);
    // The first read comes before the header: if it fails, there is still an error to send.
    let mut ahead = chunks.read();
    let Some(first) = ahead.take() else {
        return head(session, header, true).await;
    };
    let mut chunk = landed(first).await?;
    head(session, header, false).await?;
    loop {
        ahead = chunks.read();
        let end = ahead.is_none();
        write(session, vec![HttpTask::Body(Some(chunk), end)]).await?;
        let Some(next) = ahead else {
            return Ok(());
        };
        chunk = landed(next).await?;
    }
}

async fn write(session: &mut Session, tasks: Vec<HttpTask>) -> Result<()> {
    session.write_response_tasks(tasks).await.map(|_end| ())
}

/// What is still to be read.
struct Chunks(FilePart);

impl Chunks {
    fn of(part: FilePart) -> Self {
        Self(part)
    }

    /// Starts reading the next chunk, if there is one, where blocking harms nobody.
    fn read(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let Range { start, end } = self.0.part;
        if start >= end {
            return None;
        }
        let length = (end - start).min(CHUNK as u64);
        self.0.part.start += length;
        let file = Arc::clone(&self.0.file);
        Some(tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; length as usize];
            file.read_exact_at(&mut chunk, start)?;
            Ok(chunk.into())
        }))
    }
}

async fn landed(read: JoinHandle<io::Result<Bytes>>) -> Result<Bytes> {
    read.await
        .map_err(|_| Error::explain(ErrorType::InternalError, "a read task ended early"))?
        .or_err(ErrorType::FileReadError, "reading a mirrored file")
}

#[cfg(test)]
mod tests;
