//! An origin for unit tests: it answers what a script says, when it is let.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::pool::{Kept, Pool};
use crate::colour::Colour;
use crate::config::checked::{Probe, Service};
use crate::metrics::Metrics;

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// It may ask again.
    Keep,
    /// It ends.
    Close,
    /// Nothing more comes, and no end either.
    Hang,
}

/// The origin, and the pool of which it is the only member.
pub(crate) struct Scripted {
    pub(crate) pool: Arc<Pool>,
    asked: Arc<Mutex<Vec<String>>>,
    answers: watch::Sender<bool>,
}

impl Scripted {
    /// `script` makes the bytes of an answer from the header of a request.
    pub(crate) async fn start(
        script: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has a name");
        let (script, asked) = (Arc::new(script), Arc::<Mutex<Vec<String>>>::default());
        let answers = watch::Sender::new(true);
        let (noted, may_answer) = (Arc::clone(&asked), answers.subscribe());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, noted) = (Arc::clone(&script), Arc::clone(&noted));
                let mut may_answer = may_answer.clone();
                tokio::spawn(async move {
                    while let Some(header) = header(&mut stream).await {
                        noted.lock().push(header.clone());
                        // The test is over when this is closed.
                        if may_answer.wait_for(|open| *open).await.is_err() {
                            return;
                        }
                        let (answer, then) = script(&header);
                        let _gone = stream.write_all(&answer).await;
                        match then {
                            Then::Keep => {}
                            Then::Close => return,
                            Then::Hang => std::future::pending().await,
                        }
                    }
                });
            }
        });
        Self {
            pool: Arc::new(pool(address)),
            asked,
            answers,
        }
    }

    /// The headers of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn asked_times(&self, times: usize) {
        let asked = async {
            while self.asked.lock().len() < times {
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::time::timeout(Duration::from_secs(60), asked).await;
        outcome.expect("the origin is asked");
    }

    /// Lets it answer, or hold back what it would answer.
    pub(crate) fn answers(&self, yes: bool) {
        self.answers.send_replace(yes);
    }
}

/// Up to the empty line: requests of the edge's own have no body.
async fn header(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn pool(address: SocketAddr) -> Pool {
    let second = Duration::from_secs(1);
    let service = Service {
        paths: vec!["/".to_owned()],
        probe: Probe {
            path: "/up".to_owned(),
            interval: second,
            timeout: second,
            unhealthy_after: 2,
            healthy_after: 1,
        },
        secure: None,
    };
    let metrics = Metrics::new().upstream("learn", "web", Colour::Blue);
    let (colour, kept) = (Colour::Blue, Kept::default());
    Pool::new("learn", "web", colour, &service, &[address], metrics, kept)
}
