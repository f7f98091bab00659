//! A plugin that calls a function of Envoy's as often as a request says, and answers with the mean time of a call.
//!
//! A line of its configuration is a name, the name of the function, and its arguments in hexadecimal digits, such as
//! `sign-rs256 sign 0a06…`. Where Envoy has no such function, the answer says `status`.
//!
//! It calls by the sources that are shipped, so that what is measured is the call that a reissue makes, and nothing else.

#[allow(dead_code, reason = "of it all, what this plugin does not need")]
#[path = "../../../tests/plugin/abi.rs"]
mod abi;
#[path = "../../plugin/asked.rs"]
mod asked;
#[allow(dead_code, reason = "see above")]
#[path = "../../../wasm/envoy/src/hostcalls.rs"]
mod hostcalls;

use std::cell::RefCell;

use hostcalls::call_foreign_function;

/// How the protobuf message of a result begins that says `true`: field 1, a varint, 1
const SUCCESS: [u8; 2] = [0x08, 0x01];

struct Call {
    function: String,
    arguments: Vec<u8>,
}

thread_local! {
    static CALLS: RefCell<Vec<(String, Call)>> = const { RefCell::new(Vec::new()) };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    asked::configured(size, call).is_some_and(|calls| {
        CALLS.replace(calls);
        true
    })
}

fn call(words: &[&str]) -> Option<Call> {
    let [function, digits] = words else { return None };
    Some(Call { function: (*function).into(), arguments: asked::bytes(digits)? })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context: u32, _count: usize, _end_of_stream: usize) -> u32 {
    CALLS.with_borrow_mut(|calls| {
        asked::answer(calls, |each| match call_foreign_function(&each.function, &each.arguments) {
            Ok(result) if result.starts_with(&SUCCESS) => Ok(()),
            Ok(result) => Err(String::from_utf8_lossy(&result).into_owned()),
            Err(failed) => Err(format!("{}: status {failed}", each.function)),
        })
    })
}
