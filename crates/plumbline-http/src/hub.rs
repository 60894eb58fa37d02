//! Models from the Hugging Face hub.
//!
//! Two endpoints are all it takes: one lists a repository's files with sizes and hashes, one
//! gives a file's bytes. The `hf-hub` crate, which knows many more, has since 1.0 the Xet
//! transfer protocol as a fixed part: some 290 crates, a database and a second TLS provider
//! that takes minutes to build, for the one download that a newcomer makes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use plumbline::Digest;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;

use crate::client::{client, describe};
use crate::complaint::Complaint;
use crate::part::{Opened, Part};
use crate::{ApiKey, BaseUrl, KeyError, UrlError};

/// Where the hub is, unless `HF_ENDPOINT` says otherwise.
const ENDPOINT: &str = "https://huggingface.co";

/// Bytes of a repository's listing that are read.
const LISTING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Attempts in a row that may bring nothing new before a download is given up.
const IDLE_ATTEMPTS_MAX: u32 = 5;

/// Chunks that may wait for the disk.
const CHUNKS_MAX: usize = 64;

/// Quantisations in the order they are chosen where a name leaves it open: the first runs
/// fastest on a CPU, the others are what most repositories have.
const QUANTISATIONS: [&str; 3] = ["Q4_0", "Q8_0", "Q4_K_M"];

/// Where models come from.
#[derive(Debug, Clone)]
pub struct Hub {
    /// The hub's address.
    pub endpoint: BaseUrl,
    /// The token for private and gated repositories.
    pub token: Option<ApiKey>,
    /// How long a connection may be silent before it counts as broken.
    pub silence_ms_max: u64,
    /// The wait before a broken download is taken up again; it doubles with each attempt
    /// that brings nothing.
    pub backoff_ms_base: u64,
}

/// A model on the hub, as users name it: `OWNER/REPO`, `OWNER/REPO:FILE.gguf` or
/// `OWNER/REPO:QUANTISATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    owner: String,
    repo: String,
    choice: Choice,
}

/// Which of a repository's files is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    /// The only one, or the one of the preferred quantisation.
    Preferred,
    /// The one of this quantisation.
    Quantisation(String),
    /// This one.
    File(String),
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are on disk or on the way to it, earlier attempts included.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub bytes_total: u64,
}

/// Why a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name is none.
    #[error("a model on the hub is named OWNER/REPO or OWNER/REPO:FILE.gguf, not {0:?}")]
    Name(String),
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT: {0}")]
    Endpoint(UrlError),
    /// `HF_TOKEN` is no token.
    #[error(transparent)]
    Token(#[from] KeyError),
    /// The hub has no such repository, or does not say that it has.
    #[error("{endpoint} has no repository {repo}, or it is private: then set HF_TOKEN")]
    NoRepo {
        /// The hub.
        endpoint: String,
        /// `OWNER/REPO`.
        repo: String,
    },
    /// The repository has no such file.
    #[error("repository {repo} has no {wanted}; it has: {found}")]
    NoFile {
        /// `OWNER/REPO`.
        repo: String,
        /// What was looked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The repository asks for a token with the right to it.
    #[error(
        "repository {repo} is closed to us: {message}; accept its terms on the hub and \
         set HF_TOKEN"
    )]
    Denied {
        /// `OWNER/REPO`.
        repo: String,
        /// What the hub said.
        message: String,
    },
    /// The hub cannot be reached, or the connection broke again and again.
    #[error(
        "{endpoint} cannot be reached: {message}; name a GGUF file on disk, or set \
         HF_ENDPOINT to a mirror"
    )]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// What went wrong.
        message: String,
    },
    /// The hub answered with something that is no use.
    #[error("{endpoint}: {message}")]
    Refused {
        /// The hub.
        endpoint: String,
        /// What it said.
        message: String,
    },
    /// What came is not what the hub announced. It has been removed.
    #[error("{file} of {repo} came damaged: {message}; try again")]
    Damaged {
        /// `OWNER/REPO`.
        repo: String,
        /// The file.
        file: String,
        /// What is different.
        message: String,
    },
    /// Another process is downloading the same file.
    #[error("another process is downloading {}", .0.display())]
    Busy(PathBuf),
    /// The disk failed us.
    #[error("cannot write {}: {error}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    name: String,
    /// The revision that was listed.
    revision: String,
    bytes: u64,
    digest: Digest,
}

impl Hub {
    /// The hub as the environment has it: `HF_ENDPOINT` and `HF_TOKEN`.
    pub fn from_env() -> Result<Self, HubError> {
        let given = std::env::var("HF_ENDPOINT").unwrap_or_default();
        let endpoint = if given.is_empty() { ENDPOINT } else { &given };
        Ok(Self {
            endpoint: BaseUrl::parse(endpoint).map_err(HubError::Endpoint)?,
            token: ApiKey::from_env(&["HF_TOKEN".to_owned()])?,
            silence_ms_max: 60_000,
            backoff_ms_base: 500,
        })
    }
}

impl ModelName {
    /// `OWNER/REPO`.
    fn repo(&self) -> String {
        format!("{}/{}", self.owner, self.repo)
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || HubError::Name(text.chars().take(200).collect());
        let (path, choice) =
            text.split_once(':').map_or((text, None), |(p, c)| (p, Some(c)));
        let (owner, repo) = path.split_once('/').ok_or_else(error)?;
        let choice = match choice {
            None => Choice::Preferred,
            Some(file) if is_gguf(file) && is_safe(file) => Choice::File(file.to_owned()),
            Some(tag) if !is_gguf(tag) && is_word(tag) => {
                Choice::Quantisation(tag.to_owned())
            }
            Some(_) => return Err(error()),
        };
        if !is_word(owner) || !is_word(repo) {
            return Err(error());
        }
        Ok(Self { owner: owner.to_owned(), repo: repo.to_owned(), choice })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.repo)?;
        match &self.choice {
            Choice::Preferred => Ok(()),
            Choice::Quantisation(choice) | Choice::File(choice) => write!(f, ":{choice}"),
        }
    }
}

/// Brings a model into the folder `cache`, as `cache/OWNER/REPO/FILE`, and returns its path.
///
/// A file that is there already is not asked for again: to get a newer one, remove it. A
/// download that broke off is taken up where it stopped, by this call or by the next. The
/// file has its name only once all of it is on disk and has the hash that the hub announced.
/// Without a connection, a name that leaves the choice open means what is in the cache.
pub async fn download(
    hub: &Hub,
    model: &ModelName,
    cache: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<PathBuf, HubError> {
    let folder = cache.join(&model.owner).join(&model.repo);
    if let Choice::File(file) = &model.choice
        && folder.join(file).is_file()
    {
        return Ok(folder.join(file));
    }
    let silence = Duration::from_millis(hub.silence_ms_max);
    let client = client(&hub.endpoint, |it| it.read_timeout(silence));
    let client = client.map_err(|error| unreachable(hub, describe(error)))?;
    let listed = match list(hub, &client, model).await {
        Ok(files) => choose(model, files)?,
        Err(error @ HubError::Unreachable { .. }) => {
            let Some(file) = cached(model, &folder) else { return Err(error) };
            tracing::warn!(file = %file.display(), "the hub cannot be reached: {error}");
            return Ok(file);
        }
        Err(error) => return Err(error),
    };
    let place = folder.join(&listed.name);
    if !place.is_file() {
        fetch(hub, &client, model, &listed, &place, progress).await?;
    }
    Ok(place)
}

/// The GGUF files of a repository that the hub vouches for.
async fn list(
    hub: &Hub,
    client: &Client,
    model: &ModelName,
) -> Result<Vec<Listed>, HubError> {
    let mut url =
        hub.endpoint.join(&format!("api/models/{}/revision/main", model.repo()));
    url.set_query(Some("blobs=true"));
    let broken = |error| unreachable(hub, describe(error));
    let mut response = get(hub, client, url, 0).send().await.map_err(broken)?;
    check(hub, model, &mut response).await?;
    let body = read(&mut response, LISTING_BYTES_MAX).await.map_err(broken)?;
    let listing: Value = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("the list of files cannot be read: {error}");
        refused(hub, message)
    })?;
    let revision = listing.get("sha").and_then(Value::as_str).filter(|sha| is_word(sha));
    let revision = revision.unwrap_or("main");
    let files = listing.get("siblings").and_then(Value::as_array);
    let files = files.into_iter().flatten().filter_map(|file| {
        let name = file.get("rfilename")?.as_str().filter(|name| is_safe(name))?;
        Some(Listed {
            name: name.to_owned(),
            revision: revision.to_owned(),
            // What the hub cannot vouch for, such as a file outside its large storage, is
            // no model.
            bytes: file.pointer("/lfs/size")?.as_u64()?,
            digest: file.pointer("/lfs/sha256")?.as_str()?.parse().ok()?,
        })
    });
    Ok(files.filter(|file| is_gguf(&file.name)).collect())
}

/// The file that a name means.
fn choose(model: &ModelName, files: Vec<Listed>) -> Result<Listed, HubError> {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let chosen = pick(&model.choice, &names).map(str::to_owned);
    let wanted = match &model.choice {
        Choice::Preferred => "GGUF file that can be loaded by itself".to_owned(),
        Choice::Quantisation(tag) => format!("GGUF file of quantisation {tag}"),
        Choice::File(file) => format!("file {file} that can be loaded by itself"),
    };
    let mut found: Vec<&str> = names.iter().copied().take(20).collect();
    if found.is_empty() {
        found.push("no GGUF file");
    }
    let error = HubError::NoFile { repo: model.repo(), wanted, found: found.join(", ") };
    let mut files = files.into_iter();
    chosen.and_then(|name| files.find(|file| file.name == name)).ok_or(error)
}

/// The name that is meant among these; of several that fit, the first in their order.
fn pick<'a>(choice: &Choice, names: &[&'a str]) -> Option<&'a str> {
    let whole: Vec<&str> = names.iter().copied().filter(|name| is_whole(name)).collect();
    let of = |tag: &str| whole.iter().copied().find(|name| has_quantisation(name, tag));
    match choice {
        Choice::File(file) => whole.iter().copied().find(|name| name == file),
        Choice::Quantisation(tag) => of(tag),
        Choice::Preferred => {
            QUANTISATIONS.iter().find_map(|tag| of(tag)).or(whole.first().copied())
        }
    }
}

/// What a name means among the files that were downloaded before.
fn cached(model: &ModelName, folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_gguf(name)).collect();
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    pick(&model.choice, &names).map(|name| folder.join(name))
}

/// Downloads one file to its place.
async fn fetch(
    hub: &Hub,
    client: &Client,
    model: &ModelName,
    listed: &Listed,
    place: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), HubError> {
    let disk = |error| HubError::Disk { path: place.to_owned(), error };
    let (path, digest) = (place.to_owned(), listed.digest);
    let mut part =
        match blocking(move || Part::open(&path, &digest)).await.map_err(disk)? {
            Opened::Part(part) => part,
            Opened::Busy => return Err(HubError::Busy(place.to_owned())),
            Opened::Done => return Ok(()),
        };
    let mut idle_attempts = 0;
    let mut furthest = part.bytes();
    while part.bytes() != listed.bytes {
        let (grown, broken) = stream(hub, client, model, listed, part, progress).await?;
        part = grown.map_err(disk)?;
        let Some(words) = broken else { continue };
        // A server that begins again each time must get further than ever before.
        idle_attempts = if part.bytes() > furthest { 0 } else { idle_attempts + 1 };
        furthest = furthest.max(part.bytes());
        if idle_attempts == IDLE_ATTEMPTS_MAX {
            return Err(unreachable(hub, words));
        }
        tracing::debug!(bytes = part.bytes(), "the download broke off: {words}");
        let wait = hub.backoff_ms_base.saturating_mul(1 << idle_attempts);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    match blocking(move || part.finish(&digest)).await.map_err(disk)? {
        Ok(()) => Ok(()),
        Err(found) => {
            let message = format!("its SHA-256 is {found}, not {digest}");
            Err(damaged(model, listed, message))
        }
    }
}

/// The part after one request, and why that ended early if it did.
type Grown = (std::io::Result<Part>, Option<String>);

/// Asks for the rest of a part once, and appends what comes.
async fn stream(
    hub: &Hub,
    client: &Client,
    model: &ModelName,
    listed: &Listed,
    mut part: Part,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Grown, HubError> {
    let path = format!("{}/resolve/{}/{}", model.repo(), listed.revision, listed.name);
    // Longer than announced: no beginning of this file.
    let from = if part.bytes() > listed.bytes { 0 } else { part.bytes() };
    let response = get(hub, client, hub.endpoint.join(&path), from).send().await;
    let mut response = match response {
        Ok(response) => response,
        Err(error) => return Ok((Ok(part), Some(describe(error)))),
    };
    if may_pass(response.status()) {
        return Ok((Ok(part), Some(response.status().to_string())));
    }
    let resumes = from > 0 && resumes_at(&response, from);
    let is_partial = response.status() == StatusCode::PARTIAL_CONTENT;
    if response.status() == StatusCode::RANGE_NOT_SATISFIABLE || (is_partial && !resumes)
    {
        let restarted = part.restart().map(|()| part);
        return Ok((restarted, Some("the server gives another range".to_owned())));
    }
    check(hub, model, &mut response).await?;
    let mut bytes = if resumes { from } else { 0 };

    let (chunks, received) = tokio::sync::mpsc::channel(CHUNKS_MAX);
    let writer = tokio::task::spawn_blocking(move || {
        if !resumes {
            part.restart()?;
        }
        part.append(received)?;
        Ok(part)
    });
    let mut too_long = false;
    let broken = loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => {
                let missing = listed.bytes - bytes;
                break (missing > 0).then(|| format!("{missing} bytes are missing"));
            }
            Err(error) => break Some(describe(error)),
        };
        bytes += chunk.len() as u64;
        too_long = bytes > listed.bytes;
        if too_long {
            break None;
        }
        progress(Progress { bytes, bytes_total: listed.bytes });
        // The writer hangs up only when the disk failed it; it says so below.
        if chunks.send(chunk).await.is_err() {
            break None;
        }
    };
    drop(chunks);
    let part: std::io::Result<Part> = writer.await.expect("writing does not panic");
    if too_long && let Ok(part) = part {
        let message = format!("it is longer than {} bytes", listed.bytes);
        return Err(match part.discard() {
            Ok(()) => damaged(model, listed, message),
            Err(error) => HubError::Disk { path: listed.name.clone().into(), error },
        });
    }
    Ok((part, broken))
}

/// A request for what follows the first `from` bytes.
fn get(hub: &Hub, client: &Client, url: Url, from: u64) -> reqwest::RequestBuilder {
    let mut request = client.get(url);
    // A hub behind a user name is a mirror with its own idea of who we are.
    if let Some(token) = &hub.token
        && !hub.endpoint.names_user()
    {
        request = request.header(AUTHORIZATION, token.bearer());
    }
    if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request }
}

/// Turns a refusal into an error.
async fn check(
    hub: &Hub,
    model: &ModelName,
    response: &mut Response,
) -> Result<(), HubError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    // The hub answers 401 where a repository does not exist, so as not to tell which
    // private ones do; its own code says which case it is.
    let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok());
    let code = code.unwrap_or_default().to_owned();
    let body = read(response, 64 * 1024).await.unwrap_or_default();
    let body = hub.endpoint.redact(&String::from_utf8_lossy(&body));
    let body =
        hub.token.as_ref().map_or_else(|| body.clone(), |token| token.redact(&body));
    let message = format!("{status}: {}", Complaint::read(&body).excerpt());
    let repo = model.repo();
    Err(match (status.as_u16(), code.as_str()) {
        (_, "RepoNotFound") | (404, _) => {
            HubError::NoRepo { endpoint: hub.endpoint.to_string(), repo }
        }
        (401 | 403, _) => HubError::Denied { repo, message },
        _ if may_pass(status) => unreachable(hub, message),
        _ => refused(hub, message),
    })
}

/// The first `bytes_max` bytes of a body: more is cut, and then is no JSON.
async fn read(
    response: &mut Response,
    bytes_max: usize,
) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < bytes_max
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(bytes_max - body.len())]);
    }
    Ok(body)
}

/// Whether a reply goes on where we asked it to; some servers begin again.
fn resumes_at(response: &Response, from: u64) -> bool {
    let range =
        response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("reading and writing do not panic")
}

fn unreachable(hub: &Hub, message: String) -> HubError {
    HubError::Unreachable { endpoint: hub.endpoint.to_string(), message }
}

fn refused(hub: &Hub, message: String) -> HubError {
    HubError::Refused { endpoint: hub.endpoint.to_string(), message }
}

fn damaged(model: &ModelName, listed: &Listed, message: String) -> HubError {
    HubError::Damaged { repo: model.repo(), file: listed.name.clone(), message }
}

/// Whether a text can be an owner, a repository or a quantisation.
fn is_word(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty()
        && text.len() <= 96
        && text.chars().all(fits)
        && !text.starts_with('.')
}

/// Whether a file's name, which a server may have sent, stays inside its folder on every
/// system, and means the same in a URL.
fn is_safe(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || " ._-+=,()[]".contains(c);
    let component =
        |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(fits);
    name.len() <= 200 && name.split('/').all(component)
}

fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether a file is a model by itself: neither one part of several, nor the image encoder
/// or the statistics that go with a model.
fn is_whole(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    // `-00001-of-00003.gguf`
    let is_number =
        |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let is_split = lower
        .strip_suffix(".gguf")
        .and_then(|stem| stem.rsplit_once("-of-"))
        .is_some_and(|(_, total)| is_number(total));
    !is_split && !lower.contains("mmproj") && !lower.ends_with("imatrix.gguf")
}

/// Whether a file's name says that it is of a quantisation: `Q4_0` is not `Q4_0_8_8`, and
/// `Q4_K_M` not `IQ4_K_M`.
fn has_quantisation(name: &str, tag: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let tag = tag.to_ascii_lowercase();
    let joins = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.match_indices(&tag).any(|(at, _)| {
        let before = name[..at].chars().next_back();
        let after = name[at + tag.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for name in ["o/r", "o/r.x:Q4_K_M", "o/r-GGUF:dir/m-q8_0.gguf"] {
            let model: ModelName = name.parse().expect(name);
            assert_eq!(model.to_string(), name);
        }
        let wrong = ["", "o", "o/", "/r", "o/r/x", "../r", "o/..", "o/r:", "o/r:a b"];
        let hostile =
            ["o/r:../x.gguf", "o/r:/x.gguf", "o/r:a//x.gguf", "o/r:%2e%2e/x.gguf"];
        for name in wrong.into_iter().chain(hostile) {
            assert!(name.parse::<ModelName>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_preferred_file_is_picked() {
        let names = [
            "m-IQ4_K_M.gguf",
            "m-Q4_0_8_8.gguf",
            "m-q8_0.gguf",
            "mmproj-Q4_0.gguf",
            "big/m-Q4_0-00001-of-00002.gguf",
            "m.Q4_K_M.gguf",
        ];
        let preferred = pick(&Choice::Preferred, &names);
        assert_eq!(preferred, Some("m-q8_0.gguf"), "there is no whole Q4_0");
        let tag = Choice::Quantisation("q4_k_m".into());
        assert_eq!(pick(&tag, &names), Some("m.Q4_K_M.gguf"));
        let part = Choice::File(names[4].into());
        assert_eq!(pick(&part, &names), None, "half a model");
        assert_eq!(pick(&Choice::Preferred, &["only-F16.gguf"]), Some("only-F16.gguf"));
        assert_eq!(pick(&Choice::Preferred, &["best-of-n.gguf"]), Some("best-of-n.gguf"));
        assert_eq!(pick(&Choice::Preferred, &[]), None);
    }
}
