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

use jwt_reissuer::Outcome;
use jwt_reissuer::event::Event;
use scenario::{Scenario, Trusting};
use serde_json::{Value, json};

const SIGNATURE: Duration = Duration::from_millis(10);

/// A gateway in which each signature takes ten milliseconds, and nothing else any time.
struct Worker {
    scenario: Scenario,
    tokens: u32,
}

impl Worker {
    fn new(edit: impl FnOnce(&mut Value)) -> Self {
        let mut scenario = Scenario::with(Box::new(Trusting::default()), edit);
        scenario.fetch_what_is_due();
        Self { scenario, tokens: 0 }
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

    /// The status for a token that was not there before.
    fn fresh(&mut self, subject: &str) -> u16 {
        let token = self.token(subject);
        self.send(&token)
    }

    fn send(&mut self, token: &str) -> u16 {
        let status = self.scenario.status(token);
        self.settle();
        status
    }

    fn settle(&mut self) {
        if self.scenario.reissuer.has_worked() {
            self.pass(SIGNATURE);
            self.scenario.reissuer.settle(self.scenario.now);
        }
    }

    /// How many of so many tries, each of another subject, are answered with a token, in a second of so many milliseconds between
    /// two tries at least.
    fn issued_in_a_second(&mut self, pause: Duration) -> u32 {
        let (end, mut issued) = (self.scenario.now.monotonic + Duration::from_secs(1), 0);
        while self.scenario.now.monotonic < end {
            let subject = format!("s{}", self.tokens);
            issued += u32::from(self.fresh(&subject) == 200);
            self.pass(pause);
        }
        issued
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
fn a_flood_gets_a_burst_and_then_its_share_of_the_time() {
    for (share, in_a_second) in [(None, 50), (Some(50), 50), (Some(20), 20), (Some(5), 5)] {
        let mut worker = Worker::new(|config| {
            if let Some(share) = share {
                percent(share)(config);
            }
        });
        // 250 ms at once, and what is earned meanwhile.
        let burst = worker.issued_in_a_second(Duration::from_millis(1));
        let steady = (0..3).map(|_| worker.issued_in_a_second(Duration::from_millis(1))).sum::<u32>() / 3;
        assert!(steady.abs_diff(in_a_second) <= in_a_second / 10 + 1, "{share:?}: {steady}");
        assert!(burst.abs_diff(steady + 25) <= 3, "{share:?}: {burst} and {steady}");
        let reasons = worker.reasons();
        assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason == "over_budget"), "{share:?}");
    }
}

#[test]
fn who_comes_beyond_it_is_told_to_come_again_and_then_gets_a_token() {
    let mut worker = Worker::new(percent(1));
    let mut token = String::new();
    for number in 0..100 {
        token = worker.token(&format!("s{number}"));
        if worker.send(&token) != 200 {
            break;
        }
    }
    let answer = worker.scenario.reissue("/reissue", &token);
    assert_eq!((answer.status, answer.get("retry-after")), (429, Some("1")));
    assert_eq!(answer.get("content-type"), Some("application/problem+json"));
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.send(&token), 200);
    assert_eq!(worker.fresh("next"), 429);
}

#[test]
fn what_costs_no_signature_costs_no_budget_and_gets_its_answer_beyond_it() {
    let mut worker = Worker::new(percent(1));
    let known = worker.token("ledger");
    assert_eq!(worker.send(&known), 200);
    while worker.fresh(&format!("s{}", worker.tokens)) == 200 {}
    assert_eq!(worker.send(&known), 200, "what was issued before");
    assert_eq!(worker.send("x.y.z"), 401);
    let scenario = &mut worker.scenario;
    assert_eq!(scenario.send(scenario.request("GET", "/openid/v1/jwks", &[])).status, 200);
}

#[test]
fn a_bad_signature_is_paid_for_too() {
    let mut worker = Worker::new(|_| ());
    let token = worker.token("ledger");
    let (text, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{text}.{}", "A".repeat(signature.len()));
    // Each takes 10 ms, in which 5 are earned.
    let statuses: Vec<u16> = (0..60).map(|_| worker.send(&forged)).collect();
    assert_eq!((statuses[0], statuses[59]), (401, 429));
}

#[test]
fn a_subject_that_asks_too_often_leaves_something_to_the_others() {
    let mut worker = Worker::new(|_| ());
    let mut given = 0;
    while worker.fresh("greedy") == 200 {
        given += 1;
    }
    assert_eq!(worker.reasons().last().map(String::as_str), Some("subject_over_budget"));
    assert!((12..=30).contains(&given), "about half of a burst: {given}");
    // Others have the other half.
    for number in 0..10 {
        assert_eq!(worker.fresh(&format!("modest{number}")), 200);
    }
    assert_eq!(worker.fresh("greedy"), 429);
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.fresh("greedy"), 200);
}

#[test]
fn alone_it_has_nearly_all_of_the_budget() {
    let mut worker = Worker::new(|_| ());
    let end = worker.scenario.now.monotonic + Duration::from_secs(4);
    let mut issued = 0;
    while worker.scenario.now.monotonic < end {
        issued += u32::from(worker.fresh("greedy") == 200);
        worker.pass(Duration::from_millis(1));
    }
    assert!((180..=230).contains(&issued), "{issued} in four seconds, of 200 and a burst");
}

#[test]
fn at_a_hundred_percent_there_is_no_limit() {
    let mut worker = Worker::new(percent(100));
    assert_eq!(worker.issued_in_a_second(Duration::ZERO), 100);
    assert!((0..60).all(|_| worker.fresh("greedy") == 200));
}

#[test]
fn who_waited_for_keys_is_answered_at_the_pace_of_the_budget_and_never_sent_away() {
    // Cold: the keys come later.
    let scenario = Scenario::with(Box::new(Trusting::default()), |_| ());
    let mut worker = Worker { scenario, tokens: 0 };
    for stream in 0..200 {
        let token = worker.token("ledger");
        let bearer = format!("Bearer {token}");
        let scenario = &mut worker.scenario;
        let request = scenario.request("POST", "/reissue", &[("authorization", &bearer)]);
        let Outcome::Defer(key) = scenario.reissuer.handle(&request, scenario.now) else { panic!("warm") };
        scenario.reissuer.wait(stream, request, key, scenario.now).unwrap();
    }
    worker.scenario.fetch_what_is_due();
    let began = worker.scenario.now.monotonic;
    let mut statuses = Vec::new();
    while statuses.len() < 200 {
        while let Some((_, answer)) = worker.scenario.reissuer.poll_waiting(worker.scenario.now) {
            statuses.push(answer.status);
            worker.settle();
        }
        if statuses.len() < 200 {
            let next = worker.scenario.reissuer.next_tick(worker.scenario.now);
            assert!(next > Duration::ZERO && next < Duration::from_millis(50), "as soon as there is time: {next:?}");
            worker.pass(next);
        }
        assert!(worker.scenario.now.monotonic - began < Duration::from_secs(10), "{}", statuses.len());
    }
    assert!(statuses.iter().all(|status| *status == 200));
    // 2 s of signatures, of which 250 ms at once and the rest at half of the time.
    let took = worker.scenario.now.monotonic - began;
    assert!((Duration::from_millis(3300)..Duration::from_millis(3800)).contains(&took), "{took:?}");
}
