//! A plugin that signs by the software in the core as often as a request says, and answers with the mean time of a signature: what
//! it costs where Envoy signs nothing, without the rest of a reissue.
//!
//! A line of its configuration is a name and a private key, PKCS#8 in hexadecimal digits, such as `rs256 3082…`.

#[allow(dead_code, reason = "of it all, what this plugin does not need")]
#[path = "../../../tests/plugin/abi.rs"]
mod abi;
#[path = "../../plugin/asked.rs"]
mod asked;
#[allow(dead_code, reason = "see above")]
#[path = "../../../wasm/envoy/src/hostcalls.rs"]
mod hostcalls;

use std::cell::RefCell;

use chacha20::rand_core::SeedableRng as _;
use jwt_reissuer::crypto::{Crypto as _, Rng, SigningKey, SoftwareCrypto};

/// What a token's header and claims come to.
const MESSAGE: [u8; 800] = [b'x'; 800];

/// A key, and what it is blinded by. A known seed is good enough: nobody keeps what is signed.
struct Signer(SigningKey, Rng);

thread_local! {
    static SIGNERS: RefCell<Vec<(String, Signer)>> = const { RefCell::new(Vec::new()) };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    asked::configured(size, signer).is_some_and(|signers| {
        SIGNERS.replace(signers);
        true
    })
}

fn signer(words: &[&str]) -> Option<Signer> {
    let [digits] = words else { return None };
    Some(Signer(SigningKey::from_pkcs8_der(&asked::bytes(digits)?).ok()?, Rng::from_seed([7; 32])))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context: u32, _count: usize, _end_of_stream: usize) -> u32 {
    SIGNERS.with_borrow_mut(|signers| {
        asked::answer(signers, |Signer(key, rng)| {
            SoftwareCrypto.sign(key, &MESSAGE, rng).map(|_| ()).map_err(|_| "no signature was made".to_owned())
        })
    })
}
