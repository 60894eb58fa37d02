//! Requantising: the same weights in another number format.
#![allow(unsafe_code, reason = "the bindings have no safe function for this")]

use std::ffi::CString;
use std::fs;
use std::path::Path;

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use crate::llama::LlamaError;
use crate::model::check_magic;
use crate::vocabulary::backend;

/// Number formats that weights can be requantised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(non_camel_case_types, reason = "these are the formats' names")]
pub enum Quantisation {
    /// Four bits and a scale for 32 weights.
    Q4_0,
    /// Four bits, a scale and an offset for 32 weights.
    Q4_1,
    /// Eight bits and a scale for 32 weights.
    Q8_0,
}

impl Quantisation {
    /// The name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Quantisation::Q4_0 => "Q4_0",
            Quantisation::Q4_1 => "Q4_1",
            Quantisation::Q8_0 => "Q8_0",
        }
    }
}

/// Writes the model `from` to `to` with its weights in another format. `to` appears when it
/// is complete: the work is done in a file beside it.
///
/// # Errors
///
/// Where `from` is no model, or `to` cannot be written: a full disk, a read-only folder.
pub fn quantise(from: &Path, to: &Path, into: Quantisation) -> Result<(), LlamaError> {
    check_magic(from)?;
    let failed = || LlamaError::Quantise { from: from.to_owned(), to: to.to_owned() };
    let name = to.file_name().and_then(|name| name.to_str()).ok_or_else(failed)?;
    let partial = to.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let done = quantise_into(from, &partial, into)
        .and_then(|()| fs::File::open(&partial).and_then(|file| file.sync_all()).ok())
        .and_then(|()| fs::rename(&partial, to).ok());
    if done.is_none() {
        // Best effort: it may never have been made.
        let _ = fs::remove_file(&partial);
        return Err(failed());
    }
    Ok(())
}

fn quantise_into(from: &Path, to: &Path, into: Quantisation) -> Option<()> {
    backend();
    let from = CString::new(from.to_str()?).ok()?;
    let to = CString::new(to.to_str()?).ok()?;
    // SAFETY: the defaults are plain data, and both paths outlive the call.
    let code = unsafe {
        let mut params = sys::llama_model_quantize_default_params();
        params.allow_requantize = true;
        params.ftype = match into {
            Quantisation::Q4_0 => sys::LLAMA_FTYPE_MOSTLY_Q4_0,
            Quantisation::Q4_1 => sys::LLAMA_FTYPE_MOSTLY_Q4_1,
            Quantisation::Q8_0 => sys::LLAMA_FTYPE_MOSTLY_Q8_0,
        };
        sys::llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params)
    };
    (code == 0).then_some(())
}
