//! Headers that confs add to requests and responses.

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use meshspan_model::policy::values::HeaderNameValue;

/// Headers of `set`, which replace what is there, then those of `add`, which go beside it.
pub(super) fn added(set: Option<&[HeaderNameValue]>, add: Option<&[HeaderNameValue]>) -> Vec<HeaderValueOption> {
    let set = set.into_iter().flatten();
    let add = add.into_iter().flatten();
    set.map(|header| option(header, HeaderAppendAction::OverwriteIfExistsOrAdd))
        .chain(add.map(|header| option(header, HeaderAppendAction::AppendIfExistsOrAdd)))
        .collect()
}

fn option(header: &HeaderNameValue, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: header.name.clone(),
            // What is written is meant literally, and no reference to what Envoy knows.
            value: header.value.replace('%', "%%"),
            ..Default::default()
        }),
        append_action: action.into(),
        ..Default::default()
    }
}
