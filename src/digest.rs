//! The key of a transport: HMAC-SHA256 under a key that only this process knows.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Keyed, so that a digest in a log or in statistics is no oracle for a guessed password.
#[must_use]
pub fn keyed(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    // A key shorter than the hash's block is padded with zeros (RFC 2104), which `new` wants done already.
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}
