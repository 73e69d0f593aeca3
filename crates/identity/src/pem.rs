//! PEM text to DER and back, bounded in size.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::pem::Pem;

/// Largest PEM or DER document accepted, in bytes: far above any certificate bundle or key of ours.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// One block: its label (`CERTIFICATE`, `RSA PRIVATE KEY`, …) and its DER content.
pub(crate) struct Block {
    pub label: String,
    pub der: Vec<u8>,
}

/// Whether the bytes look like PEM text, as opposed to DER.
pub(crate) fn is_pem(data: &[u8]) -> bool {
    data.windows(11).any(|w| w == b"-----BEGIN ")
}

/// All blocks in order; text around them is ignored.
///
/// # Errors
/// A sentence saying why the text is not PEM.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<Block>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("{} bytes is more than the limit of {MAX_BYTES}", text.len()));
    }
    if !is_pem(text) {
        return Err("no \"-----BEGIN\" line found".to_owned());
    }
    Pem::iter_from_buffer(text)
        .map(|block| {
            let block = block.map_err(|e| e.to_string())?;
            Ok(Block {
                label: block.label,
                der: block.contents,
            })
        })
        .collect()
}

/// One block with lines of 64 characters (RFC 7468).
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    // Base64 is ASCII, so cutting between characters is cutting between bytes.
    for (i, c) in body.chars().enumerate() {
        if i > 0 && i % 64 == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn round_trip_of_several_blocks() {
        for length in [1usize, 47, 48, 49, 96, 500] {
            let der: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let text = format!("# comment\n{}{}", encode("CERTIFICATE", &der), encode("OTHER", b"x"));
            let blocks = decode(text.as_bytes()).unwrap();
            assert_eq!(blocks.len(), 2);
            assert_eq!((blocks[0].label.as_str(), &blocks[0].der), ("CERTIFICATE", &der));
            assert_eq!(
                (blocks[1].label.as_str(), blocks[1].der.as_slice()),
                ("OTHER", b"x".as_slice())
            );
            assert!(text.lines().all(|l| l.len() <= 64));
        }
    }

    #[test]
    fn bad_text_is_an_error() {
        assert!(decode(b"").is_err());
        assert!(decode(b"hello").is_err());
        assert!(decode(b"-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n").is_err());
        assert!(decode(b"-----BEGIN CERTIFICATE-----\nAAAA\n").is_err());
        assert!(decode(&vec![b'-'; MAX_BYTES + 1]).is_err());
    }
}
