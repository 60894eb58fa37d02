//! The weights and the attention cache: all that this crate asks of llama.cpp while it runs,
//! behind one owner. Tokens are pushed, decoded together, and answered with rows of logits.
//!
//! The bindings' own context type is not used: it borrows its model, so that the two cannot
//! move to the engine's thread as one, and it panics over a row that has no logits.
#![allow(unsafe_code, reason = "llama.cpp is a C library; every call of it is in here")]

use std::ffi::CString;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;

use llama_cpp_sys_2 as sys;

/// A loaded model with one context. Neither may be used from two threads at once, so the
/// owner is moved to the engine's thread and stays there.
pub(crate) struct Context {
    model: NonNull<sys::llama_model>,
    context: NonNull<sys::llama_context>,
    memory: sys::llama_memory_t,
    batch: sys::llama_batch,
    batch_tokens_max: u32,
    vocabulary_size: usize,
}

// SAFETY: nothing in llama.cpp's model or context is bound to the thread that made it. The
// type is not `Sync`, and all access goes through `&mut self` or a unique owner.
unsafe impl Send for Context {}

/// How large a context is to be, and where it computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Cells of the attention cache, shared by all sequences.
    pub(crate) cells: u32,
    /// Sequence ids: 0 to this, exclusively.
    pub(crate) sequences: u32,
    /// The most tokens of one batch.
    pub(crate) batch_tokens_max: u32,
    /// Layers computed on a GPU; `u32::MAX` for all.
    pub(crate) gpu_layers: u32,
    /// Threads that compute.
    pub(crate) threads: u32,
}

/// Why there is no context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// llama.cpp could not read the weights.
    Model,
    /// The weights were read, but there is no context of that extent for them.
    Context,
}

/// A batch that llama.cpp did not compute, with its return code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("llama_decode returned {0}")]
pub(crate) struct DecodeError(i32);

impl Context {
    /// Reads the weights and makes the context.
    pub(crate) fn load(path: &Path, extent: Extent) -> Result<Self, LoadError> {
        let path = path.to_str().and_then(|path| CString::new(path).ok());
        let path = path.ok_or(LoadError::Model)?;
        // SAFETY: the defaults are plain data; the path outlives the call; the pointers that
        // come back are checked, and freed in `drop` or right here.
        unsafe {
            let mut params = sys::llama_model_default_params();
            params.n_gpu_layers = i32::try_from(extent.gpu_layers).unwrap_or(i32::MAX);
            let model = sys::llama_model_load_from_file(path.as_ptr(), params);
            let model = NonNull::new(model).ok_or(LoadError::Model)?;
            let params = context_params(extent);
            let context = sys::llama_init_from_model(model.as_ptr(), params);
            let Some(context) = NonNull::new(context) else {
                sys::llama_model_free(model.as_ptr());
                return Err(LoadError::Context);
            };
            let vocabulary = sys::llama_model_get_vocab(model.as_ptr());
            let vocabulary_size = sys::llama_vocab_n_tokens(vocabulary);
            Ok(Self {
                model,
                context,
                memory: sys::llama_get_memory(context.as_ptr()),
                batch: sys::llama_batch_init(signed(extent.batch_tokens_max), 0, 1),
                batch_tokens_max: extent.batch_tokens_max,
                vocabulary_size: usize::try_from(vocabulary_size).unwrap_or(0),
            })
        }
    }

    /// How many tokens the model was trained to read at once.
    pub(crate) fn context_trained(&self) -> u32 {
        // SAFETY: reads a field of the live model.
        let tokens = unsafe { sys::llama_model_n_ctx_train(self.model.as_ptr()) };
        u32::try_from(tokens).unwrap_or(0)
    }

    /// How many more tokens the batch takes.
    pub(crate) fn room(&self) -> u32 {
        self.batch_tokens_max - self.len()
    }

    /// How many tokens the batch holds.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.batch.n_tokens).expect("the length is never negative")
    }

    /// Empties the batch.
    pub(crate) fn clear(&mut self) {
        self.batch.n_tokens = 0;
    }

    /// Adds a token to the batch; with `Row::Wanted`, [`logits`](Self::logits) answers for
    /// its row after [`decode`](Self::decode). Returns the row.
    pub(crate) fn push(
        &mut self,
        token: u32,
        position: u32,
        sequence: u32,
        row: Row,
    ) -> u32 {
        assert!(self.room() > 0, "the engine fills a batch no further than it goes");
        let index = self.len() as usize;
        // SAFETY: the arrays of the batch have `batch_tokens_max` places, with room for one
        // sequence id each, and `index` is below that.
        unsafe {
            *self.batch.token.add(index) = signed(token);
            *self.batch.pos.add(index) = signed(position);
            *self.batch.n_seq_id.add(index) = 1;
            **self.batch.seq_id.add(index) = signed(sequence);
            *self.batch.logits.add(index) = i8::from(row == Row::Wanted);
        }
        self.batch.n_tokens += 1;
        index as u32
    }

    /// Computes the batch.
    pub(crate) fn decode(&mut self) -> Result<(), DecodeError> {
        // SAFETY: context and batch are alive and ours alone.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), self.batch) };
        if code == 0 { Ok(()) } else { Err(DecodeError(code)) }
    }

    /// The logits of a row of the last batch, one for each token of the vocabulary; `None`
    /// if the row was pushed without wanting them.
    pub(crate) fn logits(&self, row: u32) -> Option<&[f32]> {
        // SAFETY: llama.cpp checks the row and answers null for one it has no logits of; a
        // row is as long as the vocabulary and stays until the next decode, which needs
        // `&mut self`.
        unsafe {
            let logits = sys::llama_get_logits_ith(self.context.as_ptr(), signed(row));
            (!logits.is_null())
                .then(|| slice::from_raw_parts(logits, self.vocabulary_size))
        }
    }

    /// Makes the first `length` tokens of one sequence the beginning of another, empty one.
    /// They share the cells.
    pub(crate) fn fork(&mut self, from: u32, to: u32, length: u32) {
        let (from, to, length) = (signed(from), signed(to), signed(length));
        // SAFETY: the memory belongs to the live context; llama.cpp checks the ids.
        unsafe { sys::llama_memory_seq_cp(self.memory, from, to, 0, length) }
    }

    /// Drops the tokens of a sequence from a position on.
    pub(crate) fn truncate(&mut self, sequence: u32, length: u32) {
        let (sequence, length) = (signed(sequence), signed(length));
        // SAFETY: as in `fork`. Removing a tail cannot fail in an attention cache.
        unsafe {
            sys::llama_memory_seq_rm(self.memory, sequence, length, -1);
        }
    }
}

/// Whether a token's logits are read after the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// They are.
    Wanted,
    /// They are not, and are not computed.
    Unwanted,
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: all three were made in `load` and are freed once, the context before the
        // model that it refers to.
        unsafe {
            sys::llama_batch_free(self.batch);
            sys::llama_free(self.context.as_ptr());
            sys::llama_model_free(self.model.as_ptr());
        }
    }
}

fn context_params(extent: Extent) -> sys::llama_context_params {
    // SAFETY: returns plain data.
    let mut params = unsafe { sys::llama_context_default_params() };
    params.n_ctx = extent.cells;
    params.n_batch = extent.batch_tokens_max;
    params.n_ubatch = extent.batch_tokens_max;
    params.n_seq_max = extent.sequences;
    params.n_threads = signed(extent.threads);
    params.n_threads_batch = signed(extent.threads);
    // One pool of cells for all sequences: a prefix that many share is held once, and
    // forking costs no copy.
    params.kv_unified = true;
    // Sliding-window models would otherwise forget the middle of a prefix that is reused.
    params.swa_full = true;
    params.no_perf = true;
    params
}

/// llama.cpp counts in `i32`; ours are far below its end.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
