//! Model files: where they are, and whether they are what they should be.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use plumbline::Digest;
use sha2::{Digest as _, Sha256};

use crate::llama::LlamaError;
use crate::quantise::{Quantisation, quantise};

/// The default model as it is published: SmolLM2-135M-Instruct, Apache-2.0.
pub const DEFAULT_MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// SHA-256 of [`DEFAULT_MODEL`].
pub const DEFAULT_MODEL_SHA256: &str =
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// What the default model is requantised to: README.md has the measurements.
pub const DEFAULT_QUANTISATION: Quantisation = Quantisation::Q8_0;

/// The file that `llama:SPEC` names: `default`, or a path.
///
/// `default` is looked for in `cache/models`. When it is asked for the first time, the file
/// as published is checked and requantised beside itself, which takes a second. What the
/// result digests to is kept with it: a copy that has been damaged since is made anew.
///
/// Anything that is no file is [`LlamaError::MissingModel`]; whoever can fetch models by
/// other names does so before.
pub fn resolve(spec: &str, cache: &Path) -> Result<PathBuf, LlamaError> {
    if spec != "default" {
        let path = PathBuf::from(spec);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(LlamaError::MissingModel { path })
        };
    }
    let published = cache.join("models").join(DEFAULT_MODEL);
    let name = DEFAULT_MODEL.replace("Q4_1", DEFAULT_QUANTISATION.name());
    let path = published.with_file_name(name);
    let seal = path.with_extension("gguf.sha256");
    if path.is_file() {
        let sealed = fs::read_to_string(&seal).ok();
        if sealed.as_deref() == Some(digest_of(&path)?.to_string().as_str()) {
            return Ok(path);
        }
        tracing::warn!(path = %path.display(), "not what was written: made anew");
    }
    if !published.is_file() {
        return Err(LlamaError::MissingModel { path: published });
    }
    let digest = digest_of(&published)?;
    if digest.to_string() != DEFAULT_MODEL_SHA256 {
        let expected = DEFAULT_MODEL_SHA256.to_owned();
        return Err(LlamaError::WrongHash { path: published, expected, found: digest });
    }
    quantise(&published, &path, DEFAULT_QUANTISATION)?;
    // Written last: without it the file is made anew, never believed.
    fs::write(&seal, digest_of(&path)?.to_string())
        .map_err(|source| LlamaError::Read { path: seal, source })?;
    Ok(path)
}

/// The SHA-256 of a file's bytes.
pub(crate) fn digest_of(path: &Path) -> Result<Digest, LlamaError> {
    let unreadable = |source| LlamaError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        hasher.update(&buffer[..length]);
    }
    let digits: String =
        hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.parse().expect("64 hexadecimal digits"))
}

/// Refuses what is no GGUF file before llama.cpp sees it.
pub(crate) fn check_magic(path: &Path) -> Result<(), LlamaError> {
    if !path.is_file() {
        return Err(LlamaError::MissingModel { path: path.to_owned() });
    }
    let unreadable = |source| LlamaError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut magic = Vec::new();
    file.take(4).read_to_end(&mut magic).map_err(unreadable)?;
    if magic == b"GGUF" {
        Ok(())
    } else {
        Err(LlamaError::NoGguf { path: path.to_owned() })
    }
}
