//! How a plugin of benchmarks is told what it can do, and asked to do it.
//!
//! Its configuration has a line for each thing that takes time: its name, and what it takes, between spaces. `GET /name?100` has it
//! done a hundred times in a row, and is answered with the mean time of one in nanoseconds; with 500 where one did not end well.

use std::ptr::null;
use std::time::Instant;

use crate::abi::{buffer, header};

/// The map with the headers of a request, and the buffer with the configuration of a plugin
const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
/// Of gRPC: none is given
const NO_STATUS: i32 = -1;
/// `Action::Pause` of the ABI: the answer is already given
const PAUSE: u32 = 1;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// What the configuration of this size has, by name; `None` where a line is none.
pub fn configured<T>(size: usize, read: fn(&[&str]) -> Option<T>) -> Option<Vec<(String, T)>> {
    let text = String::from_utf8(buffer(PLUGIN_CONFIGURATION, size).unwrap_or_default()).ok()?;
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), read(&words.collect::<Vec<_>>())?))
        })
        .collect()
}

pub fn bytes(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

/// Answers a request by doing what it names.
pub fn answer<T>(all: &mut [(String, T)], once: fn(&mut T) -> Result<(), String>) -> u32 {
    let path = header(REQUEST_HEADERS, ":path").unwrap_or_default();
    match timed(&String::from_utf8_lossy(&path), all, once) {
        Ok(nanoseconds) => respond(200, &nanoseconds.to_string()),
        Err(problem) => respond(500, &problem),
    }
    PAUSE
}

fn timed<T>(path: &str, all: &mut [(String, T)], once: fn(&mut T) -> Result<(), String>) -> Result<u128, String> {
    let (wanted, times) = path.trim_start_matches('/').split_once('?').ok_or("no `?` in the path")?;
    let times: u32 = times.parse().map_err(|_| "no number behind the `?`")?;
    let (_, each) = all.iter_mut().find(|(name, _)| name == wanted).ok_or("nothing of that name")?;
    let began = Instant::now();
    for _ in 0..times {
        once(each)?;
    }
    Ok(began.elapsed().as_nanos() / u128::from(times.max(1)))
}

fn respond(status: u32, body: &str) {
    // SAFETY: the body outlives the call; what is not given has the length 0
    unsafe { proxy_send_local_response(status, null(), 0, body.as_ptr(), body.len(), null(), 0, NO_STATUS) };
}
