//! The share of a worker's time that signatures may take.
#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod scenario;

use std::time::Duration;

use jwt_reissuer::event::Event;
use jwt_reissuer::http::Response;
use jwt_reissuer::{Outcome, WaitsFor};
use scenario::{Counted, Scenario};
use serde_json::{Value, json};

const MILLISECOND: Duration = Duration::from_millis(1);
/// How long a signature takes in software.
const SIGNATURE: Duration = Duration::from_millis(10);

/// A worker in which signatures take so long, and nothing else any time.
struct Worker {
    scenario: Scenario,
    signature: Duration,
    tokens: u32,
    streams: u32,
    /// When each stream was answered, and how
    answered: Vec<(u32, Duration, Response)>,
}

impl Worker {
    fn new(edit: impl FnOnce(&mut Value)) -> Self {
        let mut worker = Self::cold(edit);
        worker.scenario.fetch_what_is_due();
        worker
    }

    fn cold(edit: impl FnOnce(&mut Value)) -> Self {
        let scenario = Scenario::with(Box::new(Counted::trusting()), edit);
        Self { scenario, signature: SIGNATURE, tokens: 0, streams: 0, answered: Vec::new() }
    }

    fn now(&self) -> Duration {
        self.scenario.now.monotonic
    }

    fn pass(&mut self, time: Duration) {
        self.scenario.now.monotonic += time;
    }

    /// A token that was not there before.
    fn token(&mut self, subject: &str) -> String {
        self.tokens += 1;
        let jti = self.tokens.to_string();
        self.scenario.unsigned(|claims| {
            claims["sub"] = format!("system:serviceaccount:payments:{subject}").into();
            claims["kubernetes.io"]["serviceaccount"]["name"] = subject.into();
            claims["jti"] = jti.into();
        })
    }

    /// Another subject each time.
    fn stranger(&mut self) -> String {
        let subject = format!("s{}", self.tokens);
        self.token(&subject)
    }

    /// A token comes in. Its status, if it is answered at once.
    fn come(&mut self, token: &str) -> Option<u16> {
        self.streams += 1;
        let (stream, now) = (self.streams, self.scenario.now);
        let request = self.scenario.request("POST", "/reissue", &[("authorization", &format!("Bearer {token}"))]);
        let reissuer = &mut self.scenario.reissuer;
        let status = match reissuer.handle(&request, now) {
            Outcome::Respond(response) => {
                let status = response.status;
                self.settle();
                self.answered.push((stream, self.now(), response));
                Some(status)
            }
            Outcome::Defer(waits_for) => {
                reissuer.wait(stream, request, waits_for, now).expect("the line is never too long");
                None
            }
            outcome => panic!("{outcome:?}"),
        };
        // As the host does: who comes lets the first in line have its turn.
        self.answer_waiting(1);
        status
    }

    fn answer_waiting(&mut self, signatures: usize) {
        let mut made = 0;
        for _ in 0..4 * signatures {
            let Some((stream, response)) = self.scenario.reissuer.poll_waiting(self.scenario.now) else { break };
            made += usize::from(self.scenario.reissuer.has_worked());
            self.settle();
            self.answered.push((stream, self.now(), response));
            if made >= signatures {
                break;
            }
        }
    }

    fn settle(&mut self) {
        if self.scenario.reissuer.has_worked() {
            self.pass(self.signature);
            self.scenario.reissuer.settle(self.scenario.now);
        }
    }

    /// As the host does when it is called: a slice of those that wait. How long it need not be called again.
    fn tick(&mut self) -> Duration {
        self.answer_waiting(4);
        self.scenario.reissuer.next_tick(self.scenario.now)
    }

    /// Until nobody waits any more.
    fn until_idle(&mut self) {
        let mut ticks = 0;
        while self.scenario.reissuer.waiting() > 0 {
            let next = self.tick();
            // An Envoy ticks every millisecond at most.
            self.pass(next.max(MILLISECOND));
            ticks += 1;
            assert!(ticks < 100_000, "{} wait for ever", self.scenario.reissuer.waiting());
        }
    }

    /// How many of so many tokens are answered with one, and how many are sent away, if they all come at once.
    fn crowd(&mut self, tokens: usize) -> (usize, usize) {
        self.answered.clear();
        for _ in 0..tokens {
            let token = self.stranger();
            self.come(&token);
        }
        self.until_idle();
        let with = |status| self.answered.iter().filter(|(_, _, response)| response.status == status).count();
        assert_eq!(with(200) + with(429), tokens);
        (with(200), with(429))
    }

    fn reasons(&mut self) -> Vec<String> {
        let events = self.scenario.events();
        let reasons = events.iter().filter_map(|event| match event {
            Event::Rejected { rejection, .. } => Some(rejection.reason().to_string()),
            _ => None,
        });
        reasons.collect()
    }
}

fn percent(percent: u32) -> impl FnOnce(&mut Value) {
    move |config| config["limits"] = json!({ "worker_percent": percent })
}

#[test]
fn a_flood_has_its_share_of_the_time_in_small_pieces() {
    for (share, signature) in [(50, SIGNATURE), (50, MILLISECOND), (20, SIGNATURE), (5, MILLISECOND)] {
        let mut worker = Worker::new(percent(share));
        worker.signature = signature;
        // Forty connections, each of which asks again when it has its answer.
        let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
        let end = Duration::from_secs(4);
        let mut answers = 0;
        while worker.now() < end {
            while worker.scenario.reissuer.waiting() < 40 {
                let (token, before) = (worker.stranger(), worker.now());
                let sent_away = worker.come(&token) == Some(429);
                longest = longest.max(worker.now() - before);
                if sent_away {
                    break;
                }
            }
            let before = worker.now();
            let next = worker.tick();
            longest = longest.max(worker.now() - before);
            worker.pass(next.max(MILLISECOND));
            let issued = worker.answered.iter().filter(|(_, _, response)| response.status == 200).count();
            spent += worker.signature * u32::try_from(issued - answers).unwrap();
            answers = issued;
        }
        let percent = 100.0 * spent.as_secs_f64() / worker.now().as_secs_f64();
        assert!((percent - f64::from(share)).abs() < f64::from(share) / 7.0, "{share} {signature:?}: {percent} %");
        // The first have what was saved up while nobody came.
        let most = signature.max(Duration::from_millis(3) + signature);
        assert!(longest <= most, "{share} {signature:?}: nobody else has the worker for {longest:?}");
    }
}

#[test]
fn where_somebody_waits_there_is_one_signature_at_a_time_and_then_as_long_a_time_without() {
    for tick in [MILLISECOND, 4 * MILLISECOND, 10 * MILLISECOND] {
        let mut worker = Worker::new(|_| ());
        worker.signature = MILLISECOND * 7 / 10;
        for _ in 0..40 {
            let token = worker.stranger();
            worker.come(&token);
        }
        worker.answered.clear();
        let mut last = worker.now();
        while worker.scenario.reissuer.waiting() > 0 {
            worker.pass(tick);
            let began = worker.now();
            worker.tick();
            let took = worker.now() - began;
            assert!(took <= worker.signature, "{tick:?}: {took:?}");
            if took > Duration::ZERO {
                assert!(began - last >= worker.signature, "{tick:?}: {:?} after the last one", began - last);
                last = worker.now();
            }
        }
    }
}

#[test]
fn a_host_with_coarse_timers_lets_no_more_wait_than_it_answers_in_half_a_second() {
    let mut worker = Worker::new(|_| ());
    worker.signature = MILLISECOND / 2;
    for crowd in 0..3 {
        worker.answered.clear();
        let began = worker.now();
        for _ in 0..600 {
            let token = worker.stranger();
            worker.come(&token);
        }
        while worker.scenario.reissuer.waiting() > 0 {
            worker.pass(Duration::from_millis(10));
            worker.tick();
        }
        let last = worker.answered.iter().rfind(|(_, _, response)| response.status == 200).unwrap().1;
        // The first crowd shows what it is like.
        assert_eq!(last - began < Duration::from_millis(600), crowd > 0, "{crowd}: {:?}", last - began);
        worker.pass(Duration::from_secs(1));
    }
    // On a better day, or after a line that ended long ago, that is soon forgotten.
    worker.pass(Duration::from_secs(3600));
    let (issued, sent_away) = worker.crowd(40);
    assert_eq!((issued, sent_away), (40, 0));
    worker.pass(Duration::from_secs(1));
    assert!(worker.crowd(600).0 > 300);
}

#[test]
fn a_crowd_waits_for_its_turns_and_who_would_wait_too_long_is_told_to_come_again() {
    let mut worker = Worker::new(|_| ());
    let (issued, sent_away) = worker.crowd(100);
    // At half of the time, half a second is for 25 of them; the first has its answer at once.
    assert!((24..=28).contains(&issued) && sent_away > 0, "{issued} {sent_away}");
    let away = worker.answered.iter().find(|(_, _, response)| response.status == 429).unwrap();
    assert_eq!((away.2.get("retry-after"), away.2.get("content-type")), (Some("1"), Some("application/problem+json")));
    let streams: Vec<u32> =
        worker.answered.iter().filter(|(_, _, response)| response.status == 200).map(|(stream, ..)| *stream).collect();
    assert!(streams.is_sorted(), "in the order they came");
    assert!(worker.reasons().iter().all(|reason| reason == "over_budget"));
    // And afterwards as before.
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.crowd(10), (10, 0));
}

#[test]
fn how_many_may_wait_follows_from_what_signatures_take() {
    for (signature, expected) in [(MILLISECOND / 2, 300..=360), (MILLISECOND, 200..=300), (SIGNATURE, 15..=30)] {
        let mut worker = Worker::new(|_| ());
        worker.signature = signature;
        // What they take is known from those before.
        worker.crowd(20);
        worker.pass(Duration::from_secs(1));
        let (issued, _) = worker.crowd(900);
        assert!(expected.contains(&issued), "{signature:?}: {issued}");
    }
}

#[test]
fn what_costs_no_signature_waits_for_nobody() {
    let mut worker = Worker::new(percent(10));
    let known = worker.token("ledger");
    assert_eq!(worker.come(&known), Some(200));
    let another = worker.stranger();
    assert_eq!(worker.come(&another), None, "it has to wait");
    assert_eq!(worker.come(&known), Some(200), "what was issued before");
    assert_eq!(worker.come("x.y.z"), Some(401));
    let scenario = &mut worker.scenario;
    assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).status, 200);
}

#[test]
fn a_bad_signature_is_paid_for_too() {
    let mut worker = Worker::new(|_| ());
    let token = worker.token("ledger");
    let (text, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{text}.{}", "A".repeat(signature.len()));
    assert_eq!(worker.come(&forged), Some(401));
    let honest = worker.stranger();
    assert_eq!(worker.come(&honest), None);
    worker.until_idle();
    assert_eq!(worker.answered.last().unwrap().2.status, 200);
}

#[test]
fn a_subject_that_asks_too_often_leaves_room_for_the_others() {
    let mut worker = Worker::new(|_| ());
    // It asks for as much as it can, for most of a second.
    while worker.now() < Duration::from_millis(700) {
        loop {
            let token = worker.token("greedy");
            if worker.come(&token) == Some(429) {
                break;
            }
        }
        let next = worker.tick();
        worker.pass(next.max(MILLISECOND));
    }
    assert_eq!(worker.reasons().last().map(String::as_str), Some("subject_over_budget"));
    assert!((8..=14).contains(&worker.scenario.reissuer.waiting()), "half of the line is its own at most");
    for number in 0..5 {
        let token = worker.token(&format!("modest{number}"));
        assert_ne!(worker.come(&token), Some(429), "there is room for {number}");
    }
    let token = worker.token("greedy");
    assert_eq!(worker.come(&token), Some(429));
    worker.until_idle();
    worker.pass(Duration::from_secs(1));
    let token = worker.token("greedy");
    assert_eq!(worker.come(&token), Some(200));
}

#[test]
fn a_subject_whose_name_is_only_claimed_is_not_charged() {
    let mut worker = Worker::new(|_| ());
    let token = worker.token("victim");
    let (text, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{text}.{}", "A".repeat(signature.len()));
    for _ in 0..60 {
        worker.come(&forged);
        let next = worker.tick();
        worker.pass(next);
    }
    worker.until_idle();
    worker.reasons();
    // Others fill more than half of the line: a subject that had had its part would be sent away.
    for _ in 0..18 {
        let token = worker.stranger();
        worker.come(&token);
    }
    let honest = worker.token("victim");
    assert_ne!(worker.come(&honest), Some(429));
}

#[test]
fn at_a_hundred_percent_nobody_waits() {
    let mut worker = Worker::new(percent(100));
    for _ in 0..200 {
        let token = worker.token("greedy");
        assert_eq!(worker.come(&token), Some(200));
    }
}

#[test]
fn who_waited_for_keys_is_answered_at_the_pace_of_the_budget_and_never_sent_away() {
    let mut worker = Worker::cold(|_| ());
    for _ in 0..200 {
        let token = worker.token("ledger");
        assert_eq!(worker.come(&token), None);
    }
    worker.scenario.fetch_what_is_due();
    worker.until_idle();
    assert!(worker.answered.iter().all(|(_, _, response)| response.status == 200));
    // 2 s of signatures at half of the time.
    let took = worker.answered.last().unwrap().1;
    assert!((Duration::from_millis(3900)..Duration::from_millis(4400)).contains(&took), "{took:?}");
}

#[test]
fn who_goes_away_takes_no_turn() {
    let mut worker = Worker::new(|_| ());
    for _ in 0..20 {
        let token = worker.stranger();
        worker.come(&token);
    }
    let waiting = worker.scenario.reissuer.waiting();
    for stream in 2..=20 {
        worker.scenario.reissuer.take(stream);
    }
    assert!(waiting >= 19 && worker.scenario.reissuer.waiting() == 0);
    worker.pass(SIGNATURE);
    let token = worker.stranger();
    let request = worker.scenario.request("POST", "/reissue", &[("authorization", &format!("Bearer {token}"))]);
    let outcome = worker.scenario.reissuer.handle(&request, worker.scenario.now);
    assert!(!matches!(outcome, Outcome::Defer(WaitsFor::Turn)));
}

#[test]
fn what_a_subject_has_had_is_forgotten_after_a_second() {
    let mut worker = Worker::new(|_| ());
    for _ in 0..20 {
        let token = worker.token("greedy");
        worker.come(&token);
    }
    worker.until_idle();
    worker.pass(Duration::from_millis(1100));
    for _ in 0..18 {
        let token = worker.stranger();
        worker.come(&token);
    }
    let token = worker.token("greedy");
    assert_ne!(worker.come(&token), Some(429));
}

#[test]
fn another_issuer_may_have_a_subject_of_the_same_name() {
    let mut worker = Worker::new(|config| {
        let mut other = config["trusted_issuers"][0].clone();
        other["name"] = "lab".into();
        other["issuer"] = "https://lab.example.com".into();
        config["trusted_issuers"].as_array_mut().unwrap().push(other);
    });
    // The lab's fills more than half of the line, and has had its part.
    while worker.now() < Duration::from_millis(700) {
        loop {
            worker.tokens += 1;
            let jti = worker.tokens.to_string();
            let token = worker.scenario.unsigned(|claims| {
                claims["iss"] = "https://lab.example.com".into();
                claims["jti"] = jti.into();
            });
            if worker.come(&token) == Some(429) {
                break;
            }
        }
        let next = worker.tick();
        worker.pass(next.max(MILLISECOND));
    }
    for _ in 0..5 {
        let token = worker.stranger();
        worker.come(&token);
    }
    let token = worker.token("ledger");
    assert_ne!(worker.come(&token), Some(429), "{:?}", worker.reasons().last());
}

#[test]
fn who_is_sent_away_is_told_how_long() {
    // At one percent a signature of 10 ms is earned in a second.
    let mut worker = Worker::new(percent(1));
    let (first, second) = (worker.stranger(), worker.stranger());
    assert_eq!((worker.come(&first), worker.come(&second)), (Some(200), Some(429)));
    let retry_after = worker.answered.last().unwrap().2.get("retry-after").map(str::to_owned);
    assert_eq!(retry_after.as_deref(), Some("1"));
    worker.signature = Duration::from_millis(60);
    worker.pass(Duration::from_secs(1));
    let (first, second) = (worker.stranger(), worker.stranger());
    assert_eq!((worker.come(&first), worker.come(&second)), (Some(200), Some(429)));
    assert_eq!(worker.answered.last().unwrap().2.get("retry-after"), Some("6"));
}

#[test]
fn a_machine_that_stood_still_does_not_shut_the_signer() {
    let mut worker = Worker::new(|_| ());
    worker.signature = Duration::from_secs(60);
    let (first, second) = (worker.stranger(), worker.stranger());
    assert_eq!(worker.come(&first), Some(200));
    worker.signature = SIGNATURE;
    worker.pass(Duration::from_millis(200));
    assert_eq!(worker.come(&second), Some(200));
}

#[test]
fn what_needs_no_signature_waits_for_none() {
    let mut worker = Worker::new(|config| {
        config["signing_keys"]["from"] = json!({ "envoy_cluster": "signing_keys" });
        config["read_forms"] = true.into();
    });
    // The line is long, and there is no time left.
    for _ in 0..20 {
        let token = worker.stranger();
        worker.come(&token);
    }
    let line = worker.scenario.reissuer.waiting();
    let form = worker.scenario.request("POST", "/token", &[("authorization", "Bearer x")]);
    worker.scenario.reissuer.await_body(1000, form, worker.scenario.now).unwrap();
    let document = worker.scenario.request("GET", "/openid/v1/jwks", &[]);
    let key = jwt_reissuer::SourceKey::Keyring;
    worker.scenario.reissuer.wait(1001, document, key, worker.scenario.now).unwrap();
    assert_eq!(worker.scenario.reissuer.next_tick(worker.scenario.now), Duration::ZERO);
    let (stream, answer) = worker.scenario.reissuer.poll_waiting(worker.scenario.now).expect("the document");
    assert_eq!((stream, answer.status), (1001, 200));
    assert_eq!(worker.scenario.reissuer.poll_waiting(worker.scenario.now), None);
    // A body that does not come is not waited for longer because others have their turn.
    worker.pass(Duration::from_secs(11));
    let all: Vec<u32> = std::iter::from_fn(|| {
        let answered = worker.scenario.reissuer.poll_waiting(worker.scenario.now);
        worker.settle();
        answered
    })
    .map(|(stream, _)| stream)
    .collect();
    assert!(all.contains(&1000) && all.len() == line + 1, "{all:?}");
}

/// Requests come, each at its time, and ticks beside them, for so long.
fn open_loop(worker: &mut Worker, between_arrivals: Duration, tick: Duration, lasting: Duration) {
    let end = worker.now() + lasting;
    let (mut next_arrival, mut next_tick) = (worker.now(), worker.now());
    while worker.now() < end {
        worker.scenario.now.monotonic = next_arrival.min(next_tick).max(worker.now());
        if next_tick <= next_arrival {
            worker.tick();
            next_tick = worker.now() + tick;
        } else {
            let token = worker.stranger();
            worker.come(&token);
            next_arrival += between_arrivals;
        }
        worker.scenario.events();
    }
}

#[test]
fn more_than_can_be_signed_gets_nearly_all_of_the_share_however_coarse_the_ticks() {
    let micros = Duration::from_micros;
    for tick in [1, 4, 10].map(Duration::from_millis) {
        for (signature, between_arrivals) in [(200, 400), (200, 200), (700, 1400), (700, 700), (700, 300), (8000, 4000)]
        {
            let mut worker = Worker::new(|_| ());
            worker.signature = micros(signature);
            open_loop(&mut worker, micros(between_arrivals), tick, Duration::from_secs(2));
            let issued = worker.answered.iter().filter(|(.., response)| response.status == 200).count();
            let percent = worker.signature.as_secs_f64() * issued as f64 / worker.now().as_secs_f64() * 100.0;
            let seen = format!("{signature} us, one in {between_arrivals} us, ticks of {tick:?}: {percent:.0} %");
            assert!((35.0..=51.0).contains(&percent), "{seen}");
        }
    }
}

#[test]
fn nobody_waits_for_longer_than_half_a_second_when_no_more_come_either() {
    for tick in [1, 4, 10].map(Duration::from_millis) {
        let mut worker = Worker::new(|_| ());
        worker.signature = MILLISECOND * 7 / 10;
        let mut came = Vec::new();
        for _ in 0..2000 {
            came.push(worker.now());
            let token = worker.stranger();
            worker.come(&token);
            worker.pass(MILLISECOND / 10);
        }
        while worker.scenario.reissuer.waiting() > 0 {
            worker.pass(tick);
            worker.tick();
        }
        let waited = |stream: u32, until: Duration| until - came[stream as usize - 1];
        let longest = worker.answered.iter().map(|(stream, at, _)| waited(*stream, *at)).max().unwrap();
        // And as long as it takes to say so to all of them, a few on each tick.
        assert!(longest < Duration::from_millis(500) + 25 * tick, "{tick:?}: {longest:?}");
    }
}

#[test]
fn a_subject_that_asks_too_often_is_the_one_that_is_sent_away_however_coarse_the_ticks() {
    for tick in [1, 4, 10].map(Duration::from_millis) {
        let mut worker = Worker::new(|_| ());
        worker.signature = MILLISECOND * 7 / 10;
        while worker.now() < Duration::from_millis(2700) {
            loop {
                let token = worker.token("greedy");
                if worker.come(&token) == Some(429) {
                    break;
                }
            }
            worker.tick();
            worker.pass(tick);
        }
        let reasons = worker.reasons();
        let its_own = reasons.iter().filter(|reason| *reason == "subject_over_budget").count();
        assert!(its_own * 2 > reasons.len(), "{tick:?}: {its_own} of {}", reasons.len());
        let modest = worker.token("modest");
        assert_ne!(worker.come(&modest), Some(429), "{tick:?}");
    }
}

#[test]
fn a_changed_configuration_goes_on_with_what_was_spent() {
    let mut worker = Worker::new(|_| ());
    let first = worker.stranger();
    assert_eq!(worker.come(&first), Some(200));
    let mut after = Worker::new(|config| config["ttl"] = "1h".into());
    after.scenario.now = worker.scenario.now;
    after.scenario.reissuer.inherit(&worker.scenario.reissuer, worker.scenario.now);
    let second = after.stranger();
    assert_eq!(after.come(&second), None);
}
