use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use plumbline::Digest;
use plumbline_http::{ApiKey, BaseUrl, Hub, HubError, ModelName, Progress, download};
use serde_json::{Value, json};

use crate::server::{Asked, Reply, Server, nowhere};

const TOKEN: &str = "hf_secret";

fn hub(url: &str) -> Hub {
    let token = ApiKey::first(&["HF_TOKEN".into()], |_| Some(TOKEN.into()));
    Hub {
        endpoint: BaseUrl::parse(url).expect("an address"),
        token: token.expect("plain ASCII"),
        silence_ms_max: 2_000,
        backoff_ms_base: 1,
    }
}

fn model() -> Vec<u8> {
    (0..100_000u32).flat_map(u32::to_le_bytes).collect()
}

/// A repository's listing: the hub's answer with the fields we read and some we do not.
fn listing(files: &[(&str, &[u8])]) -> Value {
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, content)| {
            let sha256 = Digest::of(content).to_string();
            let lfs =
                json!({"sha256": sha256, "size": content.len(), "pointerSize": 135});
            json!({"rfilename": name, "size": content.len(), "blobId": "b", "lfs": lfs})
        })
        .chain([json!({"rfilename": "README.md", "size": 3})])
        .collect();
    json!({"id": "o/r", "sha": "c0ffee", "private": false, "siblings": siblings})
}

fn is_listing(asked: &Asked) -> bool {
    asked.uri.path().starts_with("/api/models/")
}

fn range(asked: &Asked) -> Option<usize> {
    let range = asked.headers.get("range")?.to_str().expect("ASCII");
    let from = range.strip_prefix("bytes=").and_then(|rest| rest.strip_suffix('-'));
    Some(from.expect("bytes=N-").parse().expect("a number"))
}

async fn get(hub: &Hub, name: &str, cache: &Path) -> Result<PathBuf, HubError> {
    download(hub, &name.parse::<ModelName>().expect("a name"), cache, &|_| {}).await
}

/// Every file under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn the_preferred_file_is_downloaded_once() {
    let server = Server::start(|_, asked| match asked.uri.path() {
        "/api/models/o/r/revision/main" => {
            let files: [(&str, &[u8]); 3] = [
                ("m-Q8_0.gguf", b"eight"),
                ("m-Q4_0.gguf", &model()),
                ("../x.gguf", b"!"),
            ];
            Reply::json(200, &listing(&files))
        }
        "/o/r/resolve/c0ffee/m-Q4_0.gguf" => Reply::Full {
            status: 302,
            headers: vec![("location", "/cdn/blob?signed=1".into())],
            body: vec![],
        },
        "/cdn/blob" => Reply::Full { status: 200, headers: vec![], body: model() },
        path => Reply::text(404, path),
    })
    .await;
    let cache = tempfile::tempdir().expect("a folder");
    let seen = Mutex::new(vec![]);
    let name: ModelName = "o/r".parse().expect("a name");
    let report = |progress: Progress| seen.lock().expect("one thread").push(progress);
    let path = download(&hub(&server.url), &name, cache.path(), &report).await;
    let path = path.expect("the hub is well");
    assert_eq!(path, cache.path().join("o/r/m-Q4_0.gguf"));
    assert_eq!(fs::read(&path).expect("it is there"), model());
    assert_eq!(files(cache.path()), std::slice::from_ref(&path), "no part is left");
    let seen = seen.into_inner().expect("nobody panicked");
    assert!(seen.is_sorted_by_key(|progress| progress.bytes));
    let last = Progress { bytes: 400_000, bytes_total: 400_000 };
    assert_eq!(seen.last(), Some(&last));
    let sent = server.asked().remove(0);
    assert_eq!(sent.headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(sent.uri.query(), Some("blobs=true"));

    let asked = server.asked().len();
    let again = get(&hub(&server.url), "o/r:m-Q4_0.gguf", cache.path()).await;
    assert_eq!(again.expect("it is there"), path);
    assert_eq!(server.asked().len(), asked, "no need to ask");
}

#[tokio::test]
async fn a_broken_download_is_taken_up_where_it_stopped() {
    let server = Server::start(|_, asked| {
        if is_listing(asked) {
            return Reply::json(200, &listing(&[("m.gguf", &model())]));
        }
        let from = range(asked).unwrap_or(0);
        let body = model()[from..].to_vec();
        let status = if from == 0 { 200 } else { 206 };
        let headers = vec![("content-range", format!("bytes {from}-399999/400000"))];
        match from {
            300_000.. => Reply::Full { status, headers, body },
            _ => Reply::Cut { body, bytes: 150_000, headers, status },
        }
    })
    .await;
    let cache = tempfile::tempdir().expect("a folder");
    let path = get(&hub(&server.url), "o/r", cache.path()).await.expect("in three goes");
    assert_eq!(fs::read(path).expect("it is there"), model());
    let ranges: Vec<_> = server.asked().iter().skip(1).map(range).collect();
    assert_eq!(ranges, [None, Some(150_000), Some(300_000)]);
}

#[tokio::test]
async fn a_later_call_goes_on_and_a_server_may_begin_again() {
    let server = Server::start(|before, asked| {
        if is_listing(asked) {
            return Reply::json(200, &listing(&[("m.gguf", &model())]));
        }
        match before {
            1 => Reply::Cut { body: model(), bytes: 9_000, headers: vec![], status: 200 },
            2..7 => Reply::text(503, "busy"),
            // It ignores the range.
            _ => Reply::Full { status: 200, headers: vec![], body: model() },
        }
    })
    .await;
    let cache = tempfile::tempdir().expect("a folder");
    let error = get(&hub(&server.url), "o/r", cache.path()).await.expect_err("busy");
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("503"), "{error}");
    let left = files(cache.path());
    assert_eq!(left.len(), 1);
    assert_eq!(fs::metadata(&left[0]).expect("it is there").len(), 9_000);
    let path = get(&hub(&server.url), "o/r", cache.path()).await.expect("it is well");
    assert_eq!(fs::read(path).expect("it is there"), model());
    assert_eq!(server.asked().last().and_then(range), Some(9_000));
}

#[tokio::test]
async fn damaged_files_never_get_their_name() {
    for (content, part) in
        [(b"lies!".to_vec(), "SHA-256"), (b"longer".to_vec(), "longer")]
    {
        let server = Server::start(move |_, asked| {
            if is_listing(asked) {
                return Reply::json(200, &listing(&[("m.gguf", b"truth")]));
            }
            Reply::Full { status: 200, headers: vec![], body: content.clone() }
        })
        .await;
        let cache = tempfile::tempdir().expect("a folder");
        let error = get(&hub(&server.url), "o/r", cache.path()).await.expect_err("lies");
        assert!(matches!(error, HubError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(files(cache.path()), Vec::<PathBuf>::new(), "nothing is left");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let server = Server::start(|_, asked| match asked.uri.path() {
        "/api/models/o/closed/revision/main" => Reply::Full {
            status: 403,
            headers: vec![("x-error-code", "GatedRepo".into())],
            body: format!("{{\"error\": \"ask first, {TOKEN}\"}}").into_bytes(),
        },
        "/api/models/o/private/revision/main" => Reply::Full {
            status: 401,
            headers: vec![("x-error-code", "RepoNotFound".into())],
            body: vec![],
        },
        "/api/models/o/r/revision/main" => {
            Reply::json(200, &listing(&[("m-Q2_K.gguf", b"two")]))
        }
        "/api/models/o/garbage/revision/main" => Reply::text(200, "<html>"),
        _ => Reply::text(404, "no"),
    })
    .await;
    let cases = [
        ("o/nothing", "no repository o/nothing"),
        ("o/private", "no repository o/private"),
        ("o/closed", "ask first"),
        ("o/r:other.gguf", "no file other.gguf"),
        ("o/r:other.gguf", "m-Q2_K.gguf"),
        ("o/r:Q8_0", "quantisation Q8_0"),
        ("o/garbage", "cannot be read"),
    ];
    let cache = tempfile::tempdir().expect("a folder");
    for (name, part) in cases {
        let error = get(&hub(&server.url), name, cache.path()).await.expect_err(name);
        assert!(error.to_string().contains(part), "{name}: {error}");
        assert!(!format!("{error} {error:?}").contains(TOKEN), "{error}");
    }
    assert_eq!(files(cache.path()), Vec::<PathBuf>::new(), "nothing half-written");
}

#[tokio::test]
async fn without_a_connection_the_cache_serves() {
    let cache = tempfile::tempdir().expect("a folder");
    let hub = hub(&nowhere().await);
    let error = get(&hub, "o/r", cache.path()).await.expect_err("nobody is there");
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
    let folder = cache.path().join("o/r");
    fs::create_dir_all(&folder).expect("a folder");
    for name in ["m-Q8_0.gguf", "m-Q4_0.gguf", "m-Q4_0.gguf.0123.part"] {
        fs::write(folder.join(name), name).expect("a file");
    }
    let path = get(&hub, "o/r", cache.path()).await.expect("it is in the cache");
    assert_eq!(path, folder.join("m-Q4_0.gguf"));
}

#[tokio::test]
async fn a_file_that_another_process_downloads_is_left_to_it() {
    let server = Server::start(|_, asked| {
        if is_listing(asked) {
            return Reply::json(200, &listing(&[("m.gguf", b"truth")]));
        }
        Reply::text(200, "truth")
    })
    .await;
    let cache = tempfile::tempdir().expect("a folder");
    let folder = cache.path().join("o/r");
    fs::create_dir_all(&folder).expect("a folder");
    let part = format!("m.gguf.{}.part", Digest::of(b"truth").short());
    let other = fs::File::create(folder.join(part)).expect("a file");
    other.lock().expect("nobody else has it");
    let error = get(&hub(&server.url), "o/r", cache.path()).await.expect_err("locked");
    assert!(matches!(error, HubError::Busy(_)), "{error}");
    drop(other);
    get(&hub(&server.url), "o/r", cache.path()).await.expect("now it is ours");
}
