//! What the filter exports, with contexts and sizes as Envoy gives them.

// Has it linked: nothing of it is named here but its exports.
use jwt_reissuer_envoy as _;

use super::Action;

unsafe extern "C" {
    safe fn proxy_on_context_create(context: u32, root: u32);
    safe fn proxy_on_configure(root: u32, size: usize) -> bool;
    safe fn proxy_on_tick(root: u32);
    safe fn proxy_on_request_headers(context: u32, headers: usize, end_of_stream: bool) -> u32;
    safe fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> u32;
    safe fn proxy_on_request_trailers(context: u32, trailers: usize) -> u32;
    safe fn proxy_on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize, trailers: usize);
    safe fn proxy_on_delete(context: u32);
}

pub fn on_context_create(context: u32, root: u32) {
    proxy_on_context_create(context, root);
}

pub fn on_configure(root: u32, size: usize) -> bool {
    proxy_on_configure(root, size)
}

pub fn on_tick(root: u32) {
    proxy_on_tick(root);
}

pub fn on_request_headers(context: u32, headers: usize, end_of_stream: bool) -> Action {
    action(proxy_on_request_headers(context, headers, end_of_stream))
}

pub fn on_request_body(context: u32, size: usize, end_of_stream: bool) -> Action {
    action(proxy_on_request_body(context, size, end_of_stream))
}

pub fn on_request_trailers(context: u32, trailers: usize) -> Action {
    action(proxy_on_request_trailers(context, trailers))
}

pub fn on_http_call_response(root: u32, token: u32, headers: usize, body_size: usize) {
    proxy_on_http_call_response(root, token, headers, body_size, 0);
}

pub fn on_delete(context: u32) {
    proxy_on_delete(context);
}

fn action(number: u32) -> Action {
    match number {
        0 => Action::Continue,
        1 => Action::Pause,
        _ => panic!("{number} is no action"),
    }
}
