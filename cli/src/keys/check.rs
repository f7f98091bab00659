//! `jwt-reissuer keys check`: whether gateways take a keyring, and what its keys do when.

use std::io::{Write as _, stdout};

use clap::Args;
use jwt_reissuer::keyring::Keyring;
use jwt_reissuer::sealed::SealingKeys;

use super::PublishAhead;
use crate::failure::Failure;
use crate::files::Place;
use crate::form;
use crate::gaps;
use crate::key_times::KeyTimes;

/// Says whether gateways take a keyring, and what each of its keys does when.
///
/// With --previous it also refuses a keyring that would break valid tokens if it took the place of that one: a key is withdrawn
/// while tokens of it are valid, or a key signs that was not published long enough before. Both are looked for now and at each
/// later moment of the timetable. A sealed keyring is opened with REISSUER_SEALING_KEY.
#[derive(Args)]
pub struct Check {
    /// The keyring; - is standard input
    #[arg(value_name = "NEW")]
    new: Place,
    /// The keyring that is in force until NEW takes its place
    #[arg(long, value_name = "OLD")]
    previous: Option<Place>,
    #[command(flatten)]
    ahead: PublishAhead,
    /// The keyring is for a gateway with "serve": ["documents"], which takes public keys only
    #[arg(long)]
    documents_only: bool,
}

impl Check {
    pub fn run(&self, now: u64) -> Result<(), Failure> {
        if self.new == Place::Standard && self.previous == Some(Place::Standard) {
            return Err(Failure::Unusable("NEW and OLD cannot both be standard input".into()));
        }
        let sealing_keys = form::sealing_keys()?;
        let new = self.keyring(&self.new, sealing_keys.as_ref(), now)?;
        let previous = self.previous.as_ref();
        let old = previous.map(|place| self.keyring(place, sealing_keys.as_ref(), now)).transpose()?;
        print(&new, now).map_err(|error| Failure::io("standard output", &error))?;
        let publish_ahead = self.ahead.publish_ahead;
        let gaps = old.map_or_else(Vec::new, |old| gaps::between(&old, &new, now, publish_ahead));
        if gaps.is_empty() {
            return Ok(());
        }
        let messages: Vec<String> = gaps.iter().map(|gap| gap.message(publish_ahead)).collect();
        Err(Failure::Refused(messages.join("\n")))
    }

    fn keyring(&self, place: &Place, sealing_keys: Option<&SealingKeys>, now: u64) -> Result<Keyring, Failure> {
        let source = place.source();
        let opened = form::open(&source, &place.read()?, sealing_keys)?;
        super::parse(&source, &opened.plain, !self.documents_only, self.ahead.publish_ahead, now)
    }
}

fn print(keyring: &Keyring, now: u64) -> std::io::Result<()> {
    let mut out = stdout().lock();
    for (place, (kid, key)) in (0..).map_while(|place| keyring.key(place).map(|key| (place, key))) {
        let times = KeyTimes::of(keyring.timetable(), place);
        writeln!(out, "key {kid:?} ({}) {}", key.algorithm(), times.described(now))?;
    }
    out.flush()
}
