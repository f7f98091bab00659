//! A defect for tests: nothing that the network sends can bring the shipped module down, so that what Envoy does then has
//! to be seen on a module that has a way.

const ASKS: &[u8] = b"x-jwt-reissuer-trap";

/// Takes the VM down for a request with this header.
#[inline(never)]
#[allow(clippy::panic, reason = "what this is for")]
pub(crate) fn if_asked(headers: &[(&[u8], &[u8])]) {
    if headers.iter().any(|(name, _)| *name == ASKS) {
        panic!("a request asked for it");
    }
}
