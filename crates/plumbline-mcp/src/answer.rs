//! What a server's answer is to a model.

use plumbline::{Fault, Limits, Observation};
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, ResourceContents};
use serde_json::Value;

/// An answer as an observation.
pub(crate) fn observation(result: CallToolResult, limits: &Limits) -> Observation {
    let texts: Vec<String> = result.content.iter().map(text).collect();
    let mut text = texts.join("\n");
    let data = result.structured_content.unwrap_or(Value::Null);
    if text.is_empty() && !data.is_null() {
        text = data.to_string();
    }
    let bytes = text.len() + data.to_string().len();
    let bytes_max = limits.output_bytes_max;
    if bytes > bytes_max {
        let message = format!("the answer has {bytes} bytes; at most {bytes_max}");
        return Observation::excess(message);
    }
    match result.is_error {
        Some(true) => Observation::fault(Fault::Trap, text),
        _ => Observation::Output { text, data },
    }
}

/// A refusal in the protocol's own terms as an observation.
pub(crate) fn refusal(error: &ErrorData) -> Observation {
    let fault = match error.code {
        ErrorCode::INVALID_PARAMS => Fault::BadArgs,
        _ => Fault::Trap,
    };
    Observation::fault(fault, error.message.clone())
}

/// A part of an answer in words. What is no text is named.
fn text(block: &ContentBlock) -> String {
    let bytes = |base64: &str| base64.len() / 4 * 3;
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => {
            format!("[{}, about {} bytes]", image.mime_type, bytes(&image.data))
        }
        ContentBlock::Audio(audio) => {
            format!("[{}, about {} bytes]", audio.mime_type, bytes(&audio.data))
        }
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => {
                format!("{uri}:\n{text}")
            }
            ResourceContents::BlobResourceContents { uri, blob, .. } => {
                format!("[{uri}, about {} bytes]", bytes(blob))
            }
            _ => "[a resource]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[{}]", link.uri),
        _ => "[a part of another kind]".to_owned(),
    }
}
