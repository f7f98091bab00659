//! A story: requests, answers to fetches, bodies, clients that go away, and clocks that step, in any order. The target is
//! the host, and keeps its own book of what was asked and what is owed.
#![no_main]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use arbitrary::Arbitrary;
use jwt_reissuer::crypto::{Crypto, SoftwareCrypto};
use jwt_reissuer::event::Event;
use jwt_reissuer::http::{Body, Connection, Request, Response, Route};
use jwt_reissuer::{Answer, Config, FetchId, MAX_WAITING, Now, Outcome, Reissuer, SourceKey, StreamId};
use jwt_reissuer_fuzz::issued::Allowed;
use jwt_reissuer_fuzz::pair;
use jwt_reissuer_fuzz::quick::{self, Quick};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NO_HEADERS: [(&[u8], &[u8]); 0] = [];
const START: u64 = 1_767_225_600;
const HOST: &str = "reissuer.example.com";
const ISSUERS: [&str; 2] = ["https://kubernetes.default.svc.cluster.local", "https://second.example.com"];
const KIDS: [&str; 2] = ["cluster-key", "next-key"];
const AUDIENCES: [&str; 2] = ["sts.amazonaws.com", "api://AzureADTokenExchange"];
const TTL: u64 = 3600;
const STALE_LIMIT: Duration = Duration::from_secs(1800);
/// Longer than anything that waits is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time-out of every fetch, and what it may take more before it is taken for lost.
const FETCH: Duration = Duration::from_millis(2250);
const MAX_EVENTS: usize = 256;

#[derive(Arbitrary, Debug)]
struct Story {
    /// Few are, and those are short: real signatures take nearly all of the time
    is_really_signed: Option<[bool; 3]>,
    keyring_is_given: bool,
    /// Begins with every key there: few searches come so far by themselves
    is_warm: bool,
    read_forms: bool,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Pass { milliseconds: u16 },
    PassLong { seconds: u16 },
    WallClock { minutes: i16 },
    Token { token: Token, path: Path, accept_json: bool, form: bool, gone: bool },
    Burst { token: Token },
    Get { jwks: bool },
    NotOurs,
    Fetch,
    Answer { which: u8, content: Content },
    Poll { times: u8 },
    Body { which: u8, second_token: bool, too_large: bool },
    Forget { which: u8 },
    Events,
    Settle,
}

#[derive(Arbitrary, Clone, Debug)]
struct Token {
    issuer: bool,
    next_kid: bool,
    /// Most have none
    fault: u8,
    iat: i8,
    minutes: u8,
    jti: Option<u8>,
    tags: bool,
}

impl Token {
    fn has_unknown_kid(&self) -> bool {
        self.fault == 1
    }

    fn is_for_somebody_else(&self) -> bool {
        self.fault == 2
    }

    fn is_by_another_key(&self) -> bool {
        self.fault == 3
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Path {
    Reissue,
    Token,
    Second,
    NotAllowed,
    Twice,
}

#[derive(Arbitrary, Debug)]
enum Content {
    Good,
    Next,
    Bytes(Vec<u8>),
    Status(u16),
    Failed,
}

/// The host, and its book.
struct Host {
    is_really_signed: bool,
    reissuer: Reissuer,
    now: Now,
    owed: BTreeMap<StreamId, Owed>,
    streams: StreamId,
    /// Every fetch that was ever begun, the latest last; with when, and whether it was answered
    fetches: Vec<(FetchId, Duration, bool)>,
    /// The kid of the set in use, and when it came
    jwks: [Option<(&'static str, Duration)>; 2],
    keyring: Option<&'static pair::Pair>,
    /// What was issued for which token, by its jti
    issued: HashMap<String, (String, String)>,
    answers_401: HashSet<Vec<u8>>,
}

#[derive(Clone)]
struct Owed {
    sent: Sent,
    body: bool,
}

/// What a request was.
#[derive(Clone)]
enum Sent {
    Token { text: String, token: Token, path: Path },
    Document,
}

fuzz_target!(|story: Story| {
    let mut host = Host::new(&story);
    if story.is_warm {
        host.fetch();
        for which in 0..3 {
            host.answer(which, &Content::Good);
        }
    }
    let most = if host.is_really_signed { 12 } else { 200 };
    for step in story.steps.iter().take(most) {
        host.perform(step);
        assert_eq!(host.reissuer.waiting(), host.owed.len(), "{step:?}");
        assert!(host.reissuer.waiting() <= MAX_WAITING);
        assert!(host.reissuer.next_tick(host.now) <= Duration::from_secs(1));
    }
    host.now.monotonic += PATIENCE;
    host.settle();
    assert!(host.owed.is_empty(), "{} requests have no answer", host.owed.len());
});

impl Host {
    fn new(story: &Story) -> Self {
        let from = match story.keyring_is_given {
            true => json!({ "dangerous_inline": pair::ours().pem }),
            false => json!({ "envoy_cluster": "signing_keys" }),
        };
        let trusted = [0, 1].map(|index| {
            json!({
                "name": format!("issuer-{index}"), "issuer": ISSUERS[index], "audiences": ["jwt-reissuer"],
                "jwks": { "envoy_cluster": "kubernetes", "authority": "kubernetes.default.svc", "stale_limit": "30m" },
            })
        });
        let config = json!({
            "issuer": format!("https://{HOST}"), "audiences": AUDIENCES, "ttl": "1h",
            "read_forms": story.read_forms, "signing_keys": { "from": from }, "trusted_issuers": trusted,
        });
        let config = Config::from_json(config.to_string().as_bytes(), &|_| None).expect("a good configuration");
        let is_really_signed = story.is_really_signed == Some([true; 3]);
        let crypto: Box<dyn Crypto> = if is_really_signed { Box::new(SoftwareCrypto) } else { Box::new(Quick) };
        let now = Now { unix: START, monotonic: Duration::from_secs(5) };
        let reissuer = Reissuer::new(config, crypto, [9; 32], now).expect("a good key");
        Self {
            reissuer,
            now,
            owed: BTreeMap::new(),
            streams: 0,
            fetches: Vec::new(),
            is_really_signed,
            jwks: [None; 2],
            keyring: story.keyring_is_given.then(pair::ours),
            issued: HashMap::new(),
            answers_401: HashSet::new(),
        }
    }

    fn perform(&mut self, step: &Step) {
        match step {
            Step::Pass { milliseconds } => self.now.monotonic += Duration::from_millis(u64::from(*milliseconds)),
            Step::PassLong { seconds } => {
                self.now.unix += u64::from(*seconds);
                self.now.monotonic += Duration::from_secs(u64::from(*seconds));
            }
            Step::WallClock { minutes } => {
                self.now.unix = self.now.unix.saturating_add_signed(i64::from(*minutes) * 60)
            }
            Step::Token { token, path, accept_json, form, gone } => {
                let text = self.text_of(token);
                let stream = self.send_token(token, text, *path, *accept_json, *form);
                if *gone {
                    self.forget(stream);
                }
            }
            Step::Burst { token } => {
                let text = self.text_of(token);
                for _ in 0..if self.is_really_signed { 3 } else { 30 } {
                    self.send_token(token, text.clone(), Path::Reissue, false, false);
                }
            }
            Step::Get { jwks } => {
                let path = if *jwks { "/openid/v1/jwks" } else { "/.well-known/openid-configuration" };
                let route = Route::of(self.reissuer.routes(), b"GET", HOST.as_bytes(), path.as_bytes());
                self.send(Request::new(route, Connection::TLS, NO_HEADERS, Body::None), Sent::Document);
            }
            Step::NotOurs => {
                let route = Route::of(self.reissuer.routes(), b"POST", b"app.example.com", b"/reissue");
                let request = Request::new(route, Connection::TLS, NO_HEADERS, Body::None);
                assert_eq!(self.reissuer.handle(&request, self.now), Outcome::Pass);
            }
            Step::Fetch => self.fetch(),
            Step::Answer { which, content } => self.answer(*which, content),
            Step::Poll { times } => {
                for _ in 0..*times {
                    self.poll();
                }
            }
            Step::Body { which, second_token, too_large } => self.body(*which, *second_token, *too_large),
            Step::Forget { which } => {
                if let Some(stream) = self.owed.keys().nth(usize::from(*which)).copied() {
                    self.forget(stream);
                }
            }
            Step::Events => {
                self.events();
            }
            Step::Settle => self.settle(),
        }
    }

    /// All that is due now is done, and then nothing is due at once.
    fn settle(&mut self) {
        self.fetch();
        let most = 10 + 2 * self.owed.len();
        for _ in 0..most {
            if self.reissuer.next_tick(self.now) > Duration::ZERO {
                return;
            }
            self.poll();
        }
        panic!("something is due for ever");
    }

    fn send_token(&mut self, token: &Token, text: String, path: Path, accept_json: bool, form: bool) -> StreamId {
        let target = match path {
            Path::Reissue => "/reissue".to_string(),
            Path::Token => "/token".to_string(),
            Path::Second => format!("/reissue?audience={}", AUDIENCES[1].replace(':', "%3A")),
            Path::NotAllowed => "/reissue?audience=other".to_string(),
            Path::Twice => "/token?audience=a&audience=b".to_string(),
        };
        let route = Route::of(self.reissuer.routes(), b"POST", HOST.as_bytes(), target.as_bytes());
        let mut headers = vec![(b"authorization".to_vec(), format!("Bearer {text}").into_bytes())];
        if accept_json {
            headers.push((b"accept".to_vec(), b"application/json".to_vec()));
        }
        if form {
            headers.push((b"content-type".to_vec(), b"application/x-www-form-urlencoded".to_vec()));
        }
        let body = if form { Body::Unread } else { Body::None };
        self.send(Request::new(route, Connection::TLS, headers, body), Sent::Token { text, token: token.clone(), path })
    }

    fn text_of(&self, token: &Token) -> String {
        let iat = self.now.unix.saturating_add_signed(i64::from(token.iat) * 10);
        let kid = if token.has_unknown_kid() { "unknown" } else { KIDS[usize::from(token.next_kid)] };
        let mut claims = json!({
            "iss": ISSUERS[usize::from(token.issuer)], "sub": "system:serviceaccount:payments:ledger",
            "aud": [if token.is_for_somebody_else() { "other" } else { "jwt-reissuer" }],
            "iat": iat, "nbf": iat, "exp": iat + u64::from(token.minutes) * 60,
            "kubernetes.io": { "namespace": "payments", "serviceaccount": { "name": "ledger", "uid": "u" } },
        });
        if let Some(jti) = token.jti {
            claims["jti"] = json!(format!("subject-{jti}"));
        }
        if token.tags {
            claims["https://aws.amazon.com/tags"] = json!({ "principal_tags": { "admin": ["true"] } });
        }
        let header = json!({ "alg": "ES256", "kid": kid });
        let signer = if token.is_by_another_key() { pair::ours() } else { pair::api_server() };
        let crypto: &dyn Crypto = if self.is_really_signed { &SoftwareCrypto } else { &Quick };
        signer.sign_by(crypto, header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    fn send(&mut self, request: Request, sent: Sent) -> StreamId {
        self.streams += 1;
        let stream = self.streams;
        let (refused, body) = match self.reissuer.handle(&request, self.now) {
            Outcome::Respond(response) => (Err(response), false),
            Outcome::Pass => panic!("a request of ours passes"),
            Outcome::NeedBody { limit } => {
                assert!(limit > 0 && request.body == Body::Unread);
                (self.reissuer.await_body(stream, request, self.now), true)
            }
            Outcome::Defer(key) => (self.reissuer.wait(stream, request, key, self.now), false),
        };
        match refused {
            Err(response) => self.check(&sent, &response),
            Ok(()) => assert!(self.owed.insert(stream, Owed { sent, body }).is_none()),
        }
        stream
    }

    fn forget(&mut self, stream: StreamId) {
        let owed = self.owed.remove(&stream);
        assert_eq!(self.reissuer.take(stream).is_some(), owed.is_some());
        assert!(self.reissuer.take(stream).is_none(), "taken twice");
    }

    fn body(&mut self, which: u8, second_token: bool, too_large: bool) {
        let waits = self.owed.iter().filter(|(_, owed)| owed.body).nth(usize::from(which));
        let Some((stream, owed)) = waits.map(|(stream, owed)| (*stream, owed.clone())) else { return };
        self.owed.remove(&stream);
        let mut request = self.reissuer.take(stream).expect("it waits for its body");
        request.body = match (too_large, second_token) {
            (true, _) => Body::TooLarge,
            (false, true) => Body::Read(b"subject_token=x".to_vec()),
            (false, false) => Body::Read(b"a=b".to_vec()),
        };
        match self.reissuer.handle(&request, self.now) {
            Outcome::Respond(response) => {
                assert!(response.status != 200 || !(too_large || second_token), "a second token is passed over");
                self.check(&owed.sent, &response);
            }
            Outcome::Defer(key) => match self.reissuer.wait(stream, request, key, self.now) {
                Ok(()) => drop(self.owed.insert(stream, Owed { sent: owed.sent, body: false })),
                Err(response) => self.check(&owed.sent, &response),
            },
            outcome => panic!("{outcome:?} of a request that was read"),
        }
    }

    fn poll(&mut self) {
        if let Some((stream, response)) = self.reissuer.poll_waiting(self.now) {
            let owed = self.owed.remove(&stream).expect("nobody is answered twice, or for nothing");
            assert!(!owed.body || response.status != 200, "answered without its body");
            self.check(&owed.sent, &response);
        }
    }

    fn fetch(&mut self) {
        for count in 0.. {
            let Some(fetch) = self.reissuer.poll_fetch(self.now) else { break };
            assert!(count < 3, "a source is fetched twice at once");
            let mut earlier = self.fetches.iter().filter(|(id, _, answered)| id.key == fetch.id.key && !answered);
            let lost = |begun: &Duration| self.now.monotonic >= *begun + FETCH;
            assert!(earlier.all(|(_, begun, _)| lost(begun)), "two fetches of {:?} in flight", fetch.id.key);
            self.fetches.push((fetch.id, self.now.monotonic, false));
        }
        assert!(self.reissuer.poll_fetch(self.now).is_none());
    }

    fn answer(&mut self, which: u8, content: &Content) {
        let Some(place) = self.fetches.len().checked_sub(1 + usize::from(which)) else { return };
        let (id, _, answered) = self.fetches[place];
        self.fetches[place].2 = true;
        let kid = if matches!(content, Content::Next) { KIDS[1] } else { KIDS[0] };
        let ours = if matches!(content, Content::Next) { pair::ours_next() } else { pair::ours() };
        let good = match id.key {
            SourceKey::Keyring => ours.pem.clone().into_bytes(),
            SourceKey::Jwks(_) => pair::api_server().jwks(kid).into_bytes(),
        };
        let answer = match content {
            Content::Good | Content::Next => Answer::Response { status: 200, date: None, body: &good },
            Content::Bytes(bytes) => Answer::Response { status: 200, date: None, body: bytes },
            Content::Status(200) => return,
            Content::Status(status) => Answer::Response { status: *status, date: None, body: &good },
            Content::Failed => Answer::Failed("no connection"),
        };
        self.events();
        self.reissuer.handle_fetched(id, answer, self.now);
        let events = self.events();
        assert!(!answered || events.is_empty(), "{events:?}");
        for event in events.iter().skip(1) {
            // Another key may take the place of one whose tokens live.
            let gap = matches!(event, Event::KeyringGap { .. });
            assert!(gap && matches!(events.first(), Some(Event::KeyringLoaded { .. })), "{events:?}");
        }
        match events.first() {
            Some(Event::IssuerKeysFetched { kids, .. }) => {
                let SourceKey::Jwks(index) = id.key else { panic!("keys of nobody") };
                let known = KIDS.into_iter().find(|known| kids.iter().any(|kid| kid == known));
                self.jwks[index] = Some((known.unwrap_or("none"), self.now.monotonic));
            }
            Some(Event::KeyringLoaded { .. } | Event::KeyringUnchanged { .. }) => self.keyring = Some(ours),
            _ => {}
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let events: Vec<Event> = std::iter::from_fn(|| self.reissuer.poll_event()).collect();
        assert!(events.len() <= MAX_EVENTS);
        assert!(!events.contains(&Event::SigningLatched), "the signer is well");
        events
    }

    fn check(&mut self, sent: &Sent, response: &Response) {
        let Sent::Token { text, token, path } = sent else {
            assert!([200, 503].contains(&response.status), "{response:?}");
            return;
        };
        let signature = text.rsplit('.').next().expect("a signature").as_bytes();
        assert!(!response.body.windows(signature.len()).any(|window| window == signature), "a caller's token is shown");
        if response.status == 401 {
            self.answers_401.insert(response.body.to_vec());
            assert!(self.answers_401.len() <= 1, "two bodies for what is wrong with a token");
        }
        assert_eq!(response.status == 200, response.get("content-type").is_some_and(|kind| !kind.contains("problem")));
        if response.status != 200 {
            return;
        }
        assert!(!(1..=3).contains(&token.fault), "{token:?}");
        assert!(!matches!(path, Path::NotAllowed | Path::Twice), "{path:?}");
        let (kid, came) = self.jwks[usize::from(token.issuer)].expect("keys that came");
        assert_eq!(kid, KIDS[usize::from(token.next_kid)], "a key that is not in the set");
        assert!(self.now.monotonic < came + STALE_LIMIT, "keys that are too old");

        let issued = match response.get("content-type") {
            Some("application/json") => {
                let object: Value = serde_json::from_slice(&response.body).expect("JSON");
                object["access_token"].as_str().expect("a token").to_string()
            }
            _ => String::from_utf8(response.body.to_vec()).expect("text"),
        };
        let ours = self.keyring.expect("a keyring that came");
        let served: Value = serde_json::from_slice(&self.served()).expect("a JWKS");
        assert_eq!(served["keys"][0]["kid"], ours.key.public().thumbprint());
        let issuer = format!("https://{HOST}");
        let audience = AUDIENCES[usize::from(matches!(path, Path::Second))];
        let allowed =
            Allowed { issuer: &issuer, audiences: &[audience], copied: &["kubernetes.io"], set: &[], ttl: TTL };
        let jti = if self.is_really_signed {
            allowed.check(&issued, text, &served, self.now.unix)
        } else {
            assert!(quick::is_signed_by(&issued, &ours.key.public().thumbprint()), "a signature of another key");
            allowed.check_content(&issued, text, &served, self.now.unix)
        };
        let first = self.issued.entry(jti).or_insert_with(|| (issued.clone(), text.clone()));
        assert_eq!(*first, (issued, text.clone()), "a jti twice, and not the same for the same");
    }

    /// The JWKS document at this moment.
    fn served(&mut self) -> Vec<u8> {
        let route = Route::of(self.reissuer.routes(), b"GET", HOST.as_bytes(), b"/openid/v1/jwks");
        match self.reissuer.handle(&Request::new(route, Connection::TLS, NO_HEADERS, Body::None), self.now) {
            Outcome::Respond(response) if response.status == 200 => response.body.to_vec(),
            outcome => panic!("{outcome:?}: what was signed cannot be verified"),
        }
    }
}
