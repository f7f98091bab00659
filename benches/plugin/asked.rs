//! How a plugin of benchmarks is told what it can do, and asked to do it.
//!
//! Its configuration has a line for each thing that takes time: its name, and what it takes, between spaces. `GET /name?100` has it
//! done a hundred times in a row, and is answered with the mean time of one in nanoseconds; with 500 where one did not end well.

use std::time::Instant;

use crate::hostcalls::{Buffer, Map, buffer, header, send_response};

/// `Action::Pause` of the ABI: the answer is already given
const PAUSE: u32 = 1;

/// What the configuration of this size has, by name; `None` where a line is none.
pub fn configured<T>(size: usize, read: fn(&[&str]) -> Option<T>) -> Option<Vec<(String, T)>> {
    let text = String::from_utf8(buffer(Buffer::PluginConfiguration, size).unwrap_or_default()).ok()?;
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
    let path = header(Map::RequestHeaders, ":path").ok().flatten().unwrap_or_default();
    match timed(&String::from_utf8_lossy(&path), all, once) {
        Ok(nanoseconds) => send_response(200, &[], nanoseconds.to_string().as_bytes()),
        Err(problem) => send_response(500, &[], problem.as_bytes()),
    };
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
