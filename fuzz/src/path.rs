//! Whether the path of an error leads to a member of the input.

use serde_json::Value;

/// Whether `path`, as `trusted_issuers[0].jwks.path`, leads to something that is in `json`, or to one of `missing` in an
/// object that is. A name may itself hold dots and brackets.
pub fn leads_somewhere(json: &Value, path: &str, missing: &[&str]) -> bool {
    if path.is_empty() {
        return true;
    }
    let name = path.strip_prefix('.').unwrap_or(path);
    match json {
        Value::Object(members) => {
            missing.contains(&name)
                || members.iter().any(|(member, value)| {
                    let plain = name.strip_prefix(member.as_str());
                    let quoted = format!("[{member:?}]");
                    // A name may begin with a dot itself, where nothing stands before it.
                    [plain, path.strip_prefix(quoted.as_str()), path.strip_prefix(member.as_str())]
                        .into_iter()
                        .flatten()
                        .any(|rest| leads_somewhere(value, rest, missing))
                })
        }
        Value::Array(items) => {
            let Some((index, rest)) = path.strip_prefix('[').and_then(|path| path.split_once(']')) else {
                return false;
            };
            let item = index.parse().ok().and_then(|index: usize| items.get(index));
            item.is_some_and(|item| leads_somewhere(item, rest, missing))
        }
        _ => false,
    }
}
