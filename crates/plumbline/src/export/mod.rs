//! Exporters: recorded steps become lines of a published format. One file a format; pure.

pub mod agent_process_bench;
pub mod openai_chat;
