//! A plugin that calls a function of Envoy's as often as a request says, and answers with the mean time of a call.
//!
//! Its configuration has a line for each path: the path, the name of the function, and its arguments in hexadecimal digits,
//! such as `sign-rs256 sign 0a06…`. `GET /sign-rs256?100` calls it a hundred times and answers with nanoseconds, or with 500
//! where Envoy has no such function or one call did not end well.
//!
//! Raw calls by the proxy-wasm ABI 0.2.1, so that nothing is measured but the call.

#[path = "../../../tests/plugin/abi.rs"]
mod abi;
mod hostcalls;

use std::cell::RefCell;
use std::time::Instant;

use hostcalls::{configuration, foreign_function, path, respond};

/// How the protobuf message of a result begins that says `true`: field 1, a varint, 1
const SUCCESS: [u8; 2] = [0x08, 0x01];
/// `Action::Pause` of the ABI: the answer is already given
const PAUSE: u32 = 1;

struct Measurable {
    path: String,
    function: String,
    arguments: Vec<u8>,
}

thread_local! {
    static MEASURABLE: RefCell<Vec<Measurable>> = const { RefCell::new(Vec::new()) };
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root: u32, size: usize) -> bool {
    let text = String::from_utf8(configuration(size)).unwrap_or_default();
    let lines: Option<Vec<_>> = text.lines().map(measurable).collect();
    lines.is_some_and(|lines| {
        MEASURABLE.replace(lines);
        true
    })
}

fn measurable(line: &str) -> Option<Measurable> {
    let mut words = line.split(' ');
    let (path, function, digits) = (words.next()?, words.next()?, words.next()?);
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    Some(Measurable { path: path.into(), function: function.into(), arguments: bytes.collect::<Option<_>>()? })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context: u32, _count: usize, _end_of_stream: usize) -> u32 {
    match asked(&String::from_utf8_lossy(&path())) {
        Ok(nanoseconds) => respond(200, &nanoseconds.to_string()),
        Err(problem) => respond(500, &problem),
    }
    PAUSE
}

/// Nanoseconds a call.
fn asked(path: &str) -> Result<u128, String> {
    let (name, times) = path.trim_start_matches('/').split_once('?').ok_or("no `?` in the path")?;
    let times: u32 = times.parse().map_err(|_| "no number behind the `?`")?;
    MEASURABLE.with_borrow(|all| {
        let each = all.iter().find(|each| each.path == name).ok_or("nothing of that name")?;
        let began = Instant::now();
        for _ in 0..times {
            match foreign_function(&each.function, &each.arguments) {
                Ok(result) if result.starts_with(&SUCCESS) => {}
                Ok(result) => return Err(String::from_utf8_lossy(&result).into_owned()),
                Err(status) => return Err(format!("{}: status {status}", each.function)),
            }
        }
        Ok(began.elapsed().as_nanos() / u128::from(times.max(1)))
    })
}
