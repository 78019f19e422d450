//! What Slack takes by an incoming webhook, after its documentation of blocks: hume's messages have them always.

use serde_json::Value;

/// What Slack says against a payload, after its documentation of blocks and webhooks.
pub fn refusal(payload: &Value) -> Option<String> {
    let blocks = list(&payload["blocks"]);
    let wrong = |what: &str, of: &Value| Some(format!("{what}: {of}"));
    if blocks.is_empty() || blocks.len() > 50 {
        return wrong("1 to 50 blocks", payload);
    }
    if !within(&payload["text"], 4000) {
        return wrong("text of 1 to 4,000", payload);
    }
    for block in blocks {
        let is_good = match block["type"].as_str().unwrap_or_default() {
            "header" => block["text"]["type"] == "plain_text" && within(&block["text"]["text"], 150),
            "section" => {
                let text = block.get("text").is_none_or(|text| is_mrkdwn(text, 3000));
                let fields = block.get("fields").is_none_or(|fields| {
                    let fields = list(fields);
                    (1..=10).contains(&fields.len()) && fields.iter().all(|field| is_mrkdwn(field, 2000))
                });
                (block.get("text").is_some() || block.get("fields").is_some()) && text && fields
            }
            "context" => {
                let elements = list(&block["elements"]);
                (1..=10).contains(&elements.len()) && elements.iter().all(|element| is_mrkdwn(element, 3000))
            }
            _ => false,
        };
        if !is_good {
            return wrong("invalid_blocks", block);
        }
    }
    None
}

fn within(text: &Value, most: usize) -> bool {
    text.as_str().is_some_and(|text| !text.trim().is_empty() && text.encode_utf16().count() <= most)
}

/// Control sequences are ours alone, and every `&` is that of an entity.
fn is_mrkdwn(text: &Value, most: usize) -> bool {
    let written = text["text"].as_str().unwrap_or_default();
    let entities = ["amp;", "lt;", "gt;"];
    let is_escaped = !written.contains(['<', '>'])
        && written.split('&').skip(1).all(|rest| entities.iter().any(|entity| rest.starts_with(entity)));
    text["type"] == "mrkdwn" && text["verbatim"] == true && within(&text["text"], most) && is_escaped
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
