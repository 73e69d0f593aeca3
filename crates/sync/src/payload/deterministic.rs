//! Protobuf encoding with map entries in the order of their keys, so that equal messages give equal bytes: versions
//! are hashes of them. Maps of dynamic messages have no order of their own.

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage as _, Value};

pub(super) fn encode(message: &DynamicMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (field, value) in message.fields() {
        match value {
            Value::Message(inner) => put(&mut bytes, field.number(), &encode(inner)),
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                for (key, value) in entries {
                    if let Some(entry) = map_entry(&field, Value::from(key.clone()), value.clone()) {
                        put(&mut bytes, field.number(), &encode(&entry));
                    }
                }
            }
            Value::List(items) if matches!(field.kind(), Kind::Message(_)) => {
                for inner in items.iter().filter_map(Value::as_message) {
                    put(&mut bytes, field.number(), &encode(inner));
                }
            }
            scalar => {
                let mut single = DynamicMessage::new(message.descriptor());
                single.set_field(&field, scalar.clone());
                bytes.extend_from_slice(&single.encode_to_vec());
            }
        }
    }
    bytes
}

fn map_entry(field: &FieldDescriptor, key: Value, value: Value) -> Option<DynamicMessage> {
    let Kind::Message(descriptor) = field.kind() else {
        return None;
    };
    let (key_field, value_field) = (descriptor.map_entry_key_field(), descriptor.map_entry_value_field());
    let mut entry = DynamicMessage::new(descriptor);
    entry.set_field(&key_field, key);
    entry.set_field(&value_field, value);
    Some(entry)
}

fn put(bytes: &mut Vec<u8>, number: u32, body: &[u8]) {
    encode_key(number, WireType::LengthDelimited, bytes);
    encode_varint(body.len() as u64, bytes);
    bytes.extend_from_slice(body);
}
