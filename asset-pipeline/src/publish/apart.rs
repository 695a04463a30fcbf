//! Looks at pictures and makes their forms where that can break nothing but the picture: in a process of its own
//! with limits that the kernel holds, where the program has a command for it, else on a thread, where a panic is
//! caught and nothing more.
//!
//! The process reads the picture from its standard input and says what it found in a line for each form, with the
//! form's bytes behind it.

use std::io::{self, BufRead, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::images::make;
use crate::image::{Confined, Head, Recipe, Rendered, SOURCE_BYTES_MAX, Unfit, look};
use crate::manifest::{ImageFormat, Tier};

/// Of one picture, at the slowest: the largest, in all widths.
const CPU_S: u64 = 3600;
/// The judge keeps a few copies of the widest form in floating point.
const MEMORY_BYTES_MAX: u64 = 8 << 30;
/// Publishes run beside others' builds as others' builds run beside them.
const NICENESS: i32 = 0;
/// By the clock: where many share the cores.
const WITHIN: Duration = Duration::from_secs(4 * 3600);
/// What a process may say of why.
const REASON_BYTES_MAX: u64 = 4096;
/// A line before the bytes of a form.
const LINE_BYTES_MAX: u64 = 256;

/// Where pictures are decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Apart {
    /// On a thread: one that loops is never done.
    #[default]
    Thread,
    /// By this program, which calls [`serve`] for its command `picture`.
    Process(PathBuf),
}

/// What is to be done with one picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Job {
    Look,
    Make {
        recipes: Vec<(u32, ImageFormat, Tier)>,
        bytes_max: u64,
    },
}

/// The line before a form.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    quality: u8,
    score: f64,
    bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    width: u32,
    height: u32,
    animated: bool,
}

/// The forms of a picture, by recipe; none where that is not smaller.
pub(super) type Forms = Vec<(Recipe, Option<Rendered>)>;

/// Why a process did nothing.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error("the limits of this process cannot be set: {0}")]
    Limits(#[from] rustix::io::Errno),
    #[error("the picture cannot be read, or its forms not written: {0}")]
    Pipe(#[from] io::Error),
    #[error("this is no job: {0}")]
    Job(#[from] serde_json::Error),
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Does one job, as the command line says it. For a process that does nothing else: it limits itself.
///
/// # Errors
/// The picture is none, or beyond the limits.
pub fn serve(job: &str) -> Result<(), ServeError> {
    let job: Job = serde_json::from_str(job)?;
    let confined = Confined {
        cpu_s: CPU_S,
        memory_bytes: MEMORY_BYTES_MAX,
        niceness: NICENESS,
    };
    confined.begin()?;
    let mut bytes = Vec::new();
    io::stdin()
        .take(SOURCE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    let mut out = io::stdout().lock();
    match job {
        Job::Look => {
            let Head {
                width,
                height,
                animated,
            } = look(&bytes)?;
            let seen = Seen {
                width,
                height,
                animated,
            };
            serde_json::to_writer(&mut out, &seen)?;
        }
        Job::Make { recipes, bytes_max } => {
            let recipes: Vec<Recipe> = recipes.into_iter().map(recipe).collect();
            let mut limits = Ok(());
            let made = make(&bytes, &recipes, bytes_max, || limits = confined.decoded())?;
            limits?;
            for (_, rendered) in made {
                let found = rendered.as_ref().map(|rendered| Found {
                    quality: rendered.quality,
                    score: rendered.score,
                    bytes: rendered.bytes.len(),
                });
                serde_json::to_writer(&mut out, &found)?;
                out.write_all(b"\n")?;
                out.write_all(
                    rendered
                        .as_ref()
                        .map_or(&[][..], |rendered| &rendered.bytes),
                )?;
            }
        }
    }
    Ok(out.flush()?)
}

fn recipe((width, format, tier): (u32, ImageFormat, Tier)) -> Recipe {
    Recipe {
        width,
        format,
        tier,
    }
}

impl Apart {
    /// What its head says; else why it is published as it is.
    pub(super) async fn look(&self, bytes: &Bytes) -> Result<Head, String> {
        let program = match self {
            Self::Thread => return on_a_thread(bytes.clone(), look).await,
            Self::Process(program) => program,
        };
        let said = process(program, &Job::Look, bytes, LINE_BYTES_MAX).await?;
        let seen: Seen = serde_json::from_slice(&said).map_err(|_| confused())?;
        Ok(Head {
            width: seen.width,
            height: seen.height,
            animated: seen.animated,
        })
    }

    /// Makes what is missing; else why it is published as it is.
    pub(super) async fn make(
        &self,
        bytes: &Bytes,
        missing: Vec<Recipe>,
        bytes_max: u64,
    ) -> Result<Forms, String> {
        let program = match self {
            Self::Thread => {
                let made = move |bytes: &[u8]| make(bytes, &missing, bytes_max, || ());
                return on_a_thread(bytes.clone(), made).await;
            }
            Self::Process(program) => program,
        };
        let recipes = missing
            .iter()
            .map(|recipe| (recipe.width, recipe.format, recipe.tier));
        let job = Job::Make {
            recipes: recipes.collect(),
            bytes_max,
        };
        // Each form is smaller than the picture.
        let most = missing.len() as u64 * (bytes_max + LINE_BYTES_MAX);
        let said = process(program, &job, bytes, most).await?;
        forms(&said, missing).ok_or_else(confused)
    }
}

/// Reads what a process said.
fn forms(mut said: &[u8], missing: Vec<Recipe>) -> Option<Forms> {
    let mut forms = Forms::with_capacity(missing.len());
    for recipe in missing {
        let mut line = Vec::new();
        said.read_until(b'\n', &mut line).ok()?;
        let found: Option<Found> = serde_json::from_slice(&line).ok()?;
        let rendered = match found {
            None => None,
            Some(found) => {
                let (bytes, rest) = said.split_at_checked(found.bytes)?;
                said = rest;
                Some(Rendered {
                    bytes: bytes.to_vec(),
                    quality: found.quality,
                    score: found.score,
                })
            }
        };
        forms.push((recipe, rendered));
    }
    said.is_empty().then_some(forms)
}

fn confused() -> String {
    "what was made of it cannot be read".to_owned()
}

/// What a process says, in at most so many bytes.
async fn process(program: &Path, job: &Job, bytes: &Bytes, most: u64) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("no process for it can be started: {error}");
    let job = serde_json::to_string(job).map_err(|_| confused())?;
    let mut child = Command::new(program)
        .args(["picture", &job])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(confused());
    };
    let told = async move {
        // A process that ends early breaks the pipe; what it says counts.
        let _broken = stdin.write_all(bytes).await;
    };
    let (mut said, mut why) = (Vec::new(), Vec::new());
    let (mut stdout, mut stderr) = (stdout.take(most), stderr.take(REASON_BYTES_MAX));
    let all = async {
        let ((), said, _) = tokio::join!(
            told,
            stdout.read_to_end(&mut said),
            stderr.read_to_end(&mut why)
        );
        said?;
        child.wait().await
    };
    let status = timeout(WITHIN, all).await.map_err(|_| too_much())?;
    let status = status.map_err(|error| format!("its process was lost: {error}"))?;
    match status.success() {
        true => Ok(said),
        false => Err(reason(status, &why)),
    }
}

fn too_much() -> String {
    "it takes more time or memory than a picture may".to_owned()
}

/// Why a process ended badly, for people.
fn reason(status: ExitStatus, why: &[u8]) -> String {
    let said = String::from_utf8_lossy(why);
    let told = said.lines().find_map(|line| line.strip_prefix("error: "));
    match (status.code(), told) {
        (Some(1), Some(told)) => told.to_owned(),
        (Some(_), _) => gave_up(),
        (None, _) => too_much(),
    }
}

fn gave_up() -> String {
    "the decoder or an encoder gave up on it".to_owned()
}

/// Runs what may panic on bytes that somebody made up.
async fn on_a_thread<T: Send + 'static>(
    bytes: Bytes,
    work: impl FnOnce(&[u8]) -> Result<T, Unfit> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(move || work(&bytes)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(gave_up()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_pictures_error() {
        let refused = on_a_thread(Bytes::new(), |_| -> Result<(), Unfit> {
            panic!("a decoder met what it did not expect")
        });
        assert!(refused.await.is_err());
        assert!(on_a_thread(Bytes::new(), |_| Ok(1)).await.is_ok());
    }

    #[tokio::test]
    async fn whatever_becomes_of_a_process_is_the_pictures_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        let recipe = recipe((640, ImageFormat::Webp, Tier::Full));
        let good = r#"printf '{"quality":60,"score":75.5,"bytes":3}\nabc'"#;
        for (script, expected) in [
            (good, Ok(Some((b"abc".to_vec(), 60, 75.5)))),
            ("echo null", Ok(None)),
            (
                "cat >/dev/null; echo null; echo null",
                Err("cannot be read"),
            ),
            (
                r#"printf '{"quality":60,"score":75.5,"bytes":9}\nabc'"#,
                Err("cannot be read"),
            ),
            ("true", Err("cannot be read")),
            (
                "echo 'error: it is a drawing' >&2; exit 1",
                Err("it is a drawing"),
            ),
            ("echo 'thread main panicked' >&2; exit 101", Err("gave up")),
            ("kill -s XCPU $$", Err("more time or memory")),
            ("kill -9 $$", Err("more time or memory")),
        ] {
            fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&program, mode).expect("a program");
            let apart = Apart::Process(program.clone());
            let picture = Bytes::from(vec![7; 1 << 20]);
            let made = apart.make(&picture, vec![recipe], 1 << 20).await;
            let made = made.map(|forms| {
                let form = forms.into_iter().next().and_then(|(_, form)| form);
                form.map(|form| (form.bytes, form.quality, form.score))
            });
            match expected {
                Ok(expected) => assert_eq!(made, Ok(expected), "{script}"),
                Err(word) => assert!(made.is_err_and(|why| why.contains(word)), "{script}"),
            }
        }
        let nowhere = Apart::Process(folder.path().join("nowhere"));
        assert!(nowhere.look(&Bytes::new()).await.is_err());
    }
}
